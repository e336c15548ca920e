"""The awkward values of `scripts/awkward.py`, which the filters of `filters.py` ask for again.

Rows and filters draw from the same small pools, so that a random filter matches some rows and not
others, and every value meets every operator.
"""

from datetime import datetime, timedelta, timezone

INTS = [0, 1, -1, 2, 3, 7, -7, 10, 255, 400, -400, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63)]

SMALL = [0, 1, 2, 3, -2, 5]

FLOATS = [
    0.0, -0.0, 0.1, 0.5, -0.5, 1.0, 1.5, -1.5, 2.0, 2.5, 3.0, 400.0, 1e-300, 1e300, -1e300, 5e-324,
    2.0**53, 2.0**63, -(2.0**63), 0.1 + 0.2, float("inf"), float("-inf"), float("nan"),
]  # fmt: skip

STRINGS = [
    "", " ", "a", "A", "b", "ab", "aB", "AB", "abc", "a b", "a%b", "a_b", "a*b", "a?b", "a[b]c", "a]b", "100%", "%",
    "_", "__", "[", "*", "it's", 'say "hi"', "`tick`", "back\\slash", "\\u0041", "line\nbreak", "end\n", "\n",
    "tab\there", "nul\0inside", "nul", "nul\0", "\0", "\u00e9t\u00e9", "\u00c9T\u00c9", "\u00c9t\u00e9",
    "e\u0301te\u0301", "stra\u00dfe", "STRASSE", "\u0130stanbul", "\u0131", "\u65e5\u672c", "\U0001f600",
    "x\U0001f600y", "\ufeffbom", "\ud7ff\uffff", "null", "true", "1", "01", "1.0", "-1", "1e3", "2024-01-02",
    "golden-retriever", "pug", "Pug", "a/b", "/", "//", "z" * 300,
]  # fmt: skip

LABELS = ["pug", "Pug", "beagle", "golden-retriever", "\u00e9pagneul", "\u00c9PAGNEUL", ""]

PATHS = [
    "a.jpg", "b.JPG", "A.jpg", "images/a.jpg", "images/A.jpg", "images/cat/1.png", "images/cat/2.png",
    "images/dog/1.png", "images/dog/cocker_spaniel_1.jpg", "images/dog/cocker%spaniel.jpg",
    "deep/er/and/deeper/x.txt", "x.tar.gz", "dir.d/x.tar.gz", "dir.d/noext", "noext", ".hidden", "dir/.hidden",
    "dir/.hidden.txt", "dot.", "dir/two..dots", "...x", "50%.txt", "a_b.txt", "a*b.txt", "[x].txt", "dir/[x]/y.txt",
    "sp ace/f ile.txt", "\u00c9t\u00e9/\u00e9t\u00e9.JPG", "\u00e9t\u00e9/\u00c9T\u00c9.jpg",
    "\u65e5\u672c/\u65e5\u672c.png", "\U0001f600.gif", "q'uo\"te.txt", "new\nline.txt", "back\\slash.txt", "x/y/z",
    "x/y/x/y.y", "-rf", "a.b/c", "jpg", "gz.gz", "dir/...x", "a...b", "dir/a..", "dir/..x", ".a.", "a//b..c",
    "dir/.../x",
]  # fmt: skip

TIMES = [
    datetime(2024, 1, 2, 3, 4, 5),
    datetime(2024, 1, 2, 3, 4, 5, 123456),
    datetime(2024, 1, 2, 3, 4, 5, 100000),
    datetime(2024, 1, 2),
    datetime(2024, 1, 1, 23, 59, 59, 999999),
    datetime(2024, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))),
    datetime(2024, 2, 29, 12),
    datetime(1970, 1, 1),
    datetime(1969, 12, 31, 23, 59, 59, 5),
    datetime(1900, 1, 1),
    datetime(1, 1, 1),
    datetime(999, 6, 7, 8),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
]

INT_LISTS = [[], [0], [1], [1, 2, 3], [3, 2, 1], [-1, 0, 1], [2**53, 2**53 + 1], [2**63 - 1], [7] * 20]

STRING_LISTS = [
    [], [""], ["a"], ["a", "b"], ["A", "a"], ["\u00e9"], ["a b", "c,d", '"q"', "back\\slash", "sl/ash"],
    ["null"], ["1", "2"], ["nul\0x"], ["\U0001f600", "line\nbreak"],
]  # fmt: skip

# Multiples of a quarter: whatever order a sum is taken in, a distance is the same to the last bit.
ZEROS = [0.0] * 8

VECTORS = [
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.5] * 8,
    [-0.25, 0.25, 0.5, -0.5, 1.0, -1.0, 1.25, 2.0],
    [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
]

# No infinity, which the JSON functions of older SQLite reject, and no NUL, at which they end a string.
DICTS = [
    {},
    {"k": 1, "s": "a"},
    {"k": 1.0, "s": "A"},
    {"k": 2**53 + 1, "s": ""},
    {"k": -5, "flag": True},
    {"k": 0.5, "flag": False},
    {"k": 0.1 + 0.2, "s": "0.3"},
    {"k": "1", "s": "pug"},
    {"k": "text", "s": "\u00e9t\u00e9"},
    {"k": None, "s": None, "flag": None},
    {"k": True, "s": "a b"},
    {"k": [1, 2, 3], "s": "x"},
    {"k": {"in": 7}, "deep": {"er": {"x": 1.5, "s": "pug"}}},
    {"deep": {"er": {"x": -3, "s": "say \"hi\""}}, "list": [10, "b", None]},
    {"a b": 3, "k": 1e300, "list": []},
    {"k": 2**63 - 1, "s": "line\nbreak"},
    {"k": "back\\slash/\U0001f600", "s": "tab\there"},
    {"k": [], "s": ["a"], "flag": 0, "list": [[1], {"x": "a"}]},
]
