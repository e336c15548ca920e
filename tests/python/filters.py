r"""Random filters in two languages: the text that dcfs reads, and the Python that DataChain takes.

`generate(seed, count)` yields pairs `(text for dcfs, source of an expression for DataChain)`. The
source is to be evaluated with `C`, `func`, `sa` (sqlalchemy), `sql` (datachain.sql.functions) and
`datetime` in sight; as text, it can be pasted from a failure into a Python prompt.

Both come from one tree of nodes. A value in DataChain is an expression of SQLAlchemy; those of
`datachain.func` are objects of another kind (`Func`), which know only comparisons and arithmetic,
so a call is a `Func` where it stands alone left of a comparison, and `sql.…`, which is what the
`Func` becomes, below other operators.

What one of the two cannot say is not generated. In DataChain 0.62 these raise:

- `C.between(a, b)` (TypeError): `>=` and `<=` stand for it;
- `~C("b")` on a bare boolean column (no column `b__negation_clause`): `C("b") == False`;
- `C("m") == None` on an Optional model (no such column): `func.isnone("m")`;
- `func.f(…) == "text"` takes the text for a column's name: `func.literal("text")`;
- `func.length` of a string (it reads JSON): `func.string.length`;
- `func.greatest` and `func.least` over columns of several types: `sql.conditional.greatest`;
- an integer outside 64 bits (OverflowError), a bad pattern of `regexp`, distances of vectors of
  different lengths, division by zero, `abs` of the smallest integer. The last two depend on rows:
  such filters are generated, and left out when DataChain raises.

Others mean in DataChain what nobody wants, and are not generated either: below `&`, `C + C` of
strings is a sum of numbers; beside a `Func`, `&` is bitwise; a datetime is compared with a `date` or
a string as text, by which midnight comes after its day.

Not in the language of dcfs, and so not here: `//`, bitwise operators, hashes, `cast`, `case`,
`is_distinct_from`, array slices and joins, `regexp_replace`, comparisons of an integer column with
a string, the flag `(?a)`, `\N{name}` and octal `\101` of regular expressions.

Different in dcfs, and so not here: the cosine distance to a vector of zeros is no number (0 in
DataChain); JSON beside a column keeps its type (SQLite gives it the column's: `"1"` equals 1); of
the letters that Python's `(?i)` takes for `i`, only `i` and `I` are; `\B` holds in an empty string,
as in Python from 3.14 on.
"""

import contextlib
import random
import re
from datetime import timedelta, timezone

import pools
from filter_nodes import (
    Absent, Arithmetic, Between, Call, Column, Compare, Concat, Flag, In, IsNull, Item, Json, Literal, Logic, Match,
    Negative, Not, PathPart, Pen, Plain, Rand, Time, Vector,
)  # fmt: skip

LONGEST = 1000
"""Limit in bytes of a text as the name of a directory; Linux allows 1024."""

INTS = ["n", "small", "order", "info.width", "file.size", "sys__id"]
MAYBE_INTS = ["maybe", "info.maybe", "box.left", "box.info.width", "mask.size"]
FLOATS = ["f", "info.score"]
MAYBE_FLOATS = ["maybe_f", "box.ratio", "box.info.score"]
STRINGS = ["s", "label", "like", "info.label", "file.path"]
MAYBE_STRINGS = ["maybe_s", "info.note", "box.title", "box.info.label", "mask.path"]
BOOLS = ["b", "maybe_b", "info.sure", "box.info.sure"]
TIMES = ["t", "maybe_t", "info.taken", "info.seen", "box.info.taken"]
INT_LISTS = ["ints", "maybe_ints", "info.numbers", "box.info.numbers"]
MODELS = ["mask", "box", "box.info"]
FILES = ["file", "mask"]
OPTIONAL = [*MAYBE_INTS, *MAYBE_FLOATS, *MAYBE_STRINGS, *BOOLS, *TIMES, *INT_LISTS]

JSON_PATHS = [
    ["k"], ["k"], ["s"], ["flag"], ["deep"], ["deep", "er", "x"], ["deep", "er", "s"], ["a b"], ["list", 0],
    ["list", 1], ["no"],
]  # fmt: skip

REGEXPS = [
    "", "^$", ".", "^.$", "^.{2,3}$", "^[a-z]+$", r"\w+\s\w+", r"^\W*$", r"[^\x00-\x7f]", "(?i)^a", "(?i)\u00e9t\u00e9",
    "(?i)STRASSE", r"\u00e9", "(?s)^.+$", "(?m)^break$", r"end\Z", "end$", r"(.)\1", r"^(?:a|b)", r"\.jpe?g$",
    r"(?i)\.jpg$", r"/[^/]+$", r"^[^/]*$", r"\.tar\.(gz|bz2)$", r"(?P<q>.)(?P=q)", r"^(?=.*a)(?=.*b)", "z{300}",
    "^z{299}$", r"\A.\Z", r"(?x) a \  b  # c", r"(a)?(?(1)b|c)", "a*+b", "a++a",
]  # fmt: skip

REGEXP_PIECES = [
    ".", r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", "[a-z]", "[A-Z0-9]", "[^b]", r"[\w.]", "[]a]", "[^]a]", "[a&&b]",
    "[[a]", r"[^\W\d]", r"[\]\[]", "[-a]", r"[a\-z]", "[\u00e0-\u00ff]", "(?:a|b)", "(a|bc)", "a", "b", "A", "g",
    "\u00e9", "\u00c9", "e\u0301", "/", r"\.", "-", " ", r"\n", "_", "%", r"\x41", r"\u00e9", r"\0", r"\\", r"\[", "]",
    "}", "1", "\u65e5", "\U0001f600", r"\/", r"\-", r"\ ", "#",
]  # fmt: skip

REGEXP_PLACES = [r"\b", "^", "$", r"\A", r"\Z", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "|", "(?#note)"]

REGEXP_FLAGS = ["(?i)", "(?s)", "(?m)", "(?im)", "(?x)", "(?u)"]

REPEATS = ["", "", "", "?", "??", "{2}", "{1,2}", "{,2}", "?+"]

ENDLESS = ["*", "+", "*?", "+?", "{1,}", "*+"]

GLOBS = ["*", "?", "**", "[a-z]", "[^a]", "[A-Z0-9]", "[]x]", "[[]", "[a-]", "[\u00e0-\u00ff]", "[", "*?"]

DISTANCES = [0.0, 0.2, 0.5, 0.9, 1, 1.0, 1.4142135623730951, 2, 3.0, 5]


class Maker:
    """Random nodes; `depth` is the maximum depth of generated nodes."""

    def __init__(self, rng):
        self.rng = rng

    def any(self, *makers):
        """The result of one of the makers."""
        return self.rng.choice(makers)()

    def one(self, *choices):
        """A literal of one of the values."""
        return Literal(self.rng.choice(choices))

    def chance(self, probability):
        return self.rng.random() < probability

    def column(self, *names):
        return Column(self.rng.choice(self.rng.choice(names)))

    # Conditions.

    def condition(self, depth):
        if depth <= 0 or self.chance(0.3):
            return self.leaf()
        return self.any(lambda: self.logic("and", depth), lambda: self.logic("or", depth), lambda: self.negation(depth))

    def logic(self, word, depth):
        return Logic(word, [self.condition(depth - 1) for _ in range(self.rng.choice([2, 2, 2, 3, 4]))])

    def negation(self, depth):
        condition = self.condition(depth - 1)
        if isinstance(condition, Flag):
            return Flag(condition.column, not condition.negated)
        return Not(condition)

    def leaf(self):
        often = [self.number_condition, self.text_condition, self.match]
        seldom = [self.null, self.bool_condition, self.list_condition, self.distance, self.json_condition]
        return self.any(*often * 3, *[self.time_condition] * 2, *seldom)

    def operator(self):
        return self.rng.choice(["==", "!=", "<", "<=", ">", ">="])

    def ordered(self, make, literal):
        """One of the conditions that any ordered kind has."""
        return self.rng.choices([self.compare, self.member, self.between], [6, 2, 1])[0](make, literal)

    def compare(self, make, literal):
        """Of two values, of which one at least is no literal."""
        left, right = make(), literal() if self.chance(0.6) else make()
        if self.chance(0.1):
            left, right = right, left
        if right.is_func and not left.is_func:
            left, right = Plain(left), Plain(right)
        return Compare(self.operator(), left, right)

    def member(self, make, literal):
        items = [literal() for _ in range(self.rng.choice([0, 1, 2, 3, 5, 9]))]
        if self.chance(0.1):
            items.append(Literal(None))
        return In(make(), items, self.chance(0.4))

    def between(self, make, literal):
        return Between(make(), literal(), literal(), self.chance(0.3))

    def number_condition(self):
        return self.ordered(lambda: self.number(2), self.number_literal)

    def text_condition(self):
        return self.ordered(lambda: self.text(2), self.text_literal)

    def time_condition(self):
        return self.ordered(lambda: self.column(TIMES), self.time_literal)

    def bool_condition(self):
        column, literal = lambda: self.column(BOOLS), lambda: self.one(True, False)
        return self.any(
            lambda: Flag(column(), self.chance(0.5)),
            lambda: Compare(self.rng.choice(["==", "!="]), column(), self.any(column, literal)),
            lambda: self.member(column, literal),
        )

    def null(self):
        value = self.any(lambda: self.column(OPTIONAL), lambda: self.number(2), lambda: self.text(2))
        return self.any(
            lambda: Absent(self.column(MODELS, OPTIONAL), self.chance(0.5)),
            lambda: IsNull(value, self.chance(0.5), self.chance(0.5)),
        )

    # Patterns.

    def match(self):
        method = self.rng.choice(["like", "ilike", "glob", "regexp", *Match.AS_LIKE])
        patterns = {"glob": self.glob, "regexp": self.regexp, "regexp_match": self.regexp}
        return Match(method, self.text(1), patterns.get(method, self.like)(), self.chance(0.3))

    def like(self):
        return self.holes("%", "%", "_", "%%", "_%")

    def glob(self):
        return self.holes(*GLOBS)

    def holes(self, *wild):
        """A string with some of its characters replaced by wildcards, possibly cut, possibly open at an end."""
        text = [self.rng.choice(wild) if self.chance(0.25) else char for char in self.short_text()]
        if text and self.chance(0.3):
            del text[self.rng.randrange(len(text)) :]
        if self.chance(0.5):
            text.insert(self.rng.choice([0, len(text)]), wild[0])
        return "".join(text)

    def short_text(self):
        return self.rng.choice([*pools.STRINGS[:-1], *pools.LABELS, *pools.PATHS])

    def regexp(self):
        return self.any(lambda: self.rng.choice(REGEXPS), lambda: re.escape(self.short_text()), self.pieced_regexp)

    def pieced_regexp(self):
        """Up to four pieces, of which two repeat without limit: more would be slow on long strings."""
        flags = self.rng.choice(REGEXP_FLAGS) if self.chance(0.3) else ""
        pieces = [self.piece(endless=number < 2) for number in range(self.rng.choice([1, 2, 3, 4]))]
        pattern = flags + "".join(pieces)
        with contextlib.suppress(re.error):
            re.compile(pattern)
            return pattern
        return self.pieced_regexp()

    def piece(self, endless):
        if self.chance(0.2):
            return self.rng.choice(REGEXP_PLACES)
        return self.rng.choice(REGEXP_PIECES) + self.rng.choice(ENDLESS if endless and self.chance(0.3) else REPEATS)

    # Numbers.

    def number(self, depth):
        if depth <= 0 or self.chance(0.55):
            return self.column(INTS, MAYBE_INTS, FLOATS, MAYBE_FLOATS)
        return self.any(
            *[lambda: self.arithmetic(depth - 1)] * 2,
            lambda: Negative(self.number(depth - 1)),
            lambda: self.extreme(depth - 1),
            lambda: self.math(depth - 1),
            self.length,
            self.inner_number,
        )

    def number_or_literal(self, depth):
        return self.any(self.number_literal, lambda: self.number(depth))

    def number_literal(self):
        """A value from the pools, or one next to it."""
        value = self.rng.choice(self.rng.choice([pools.INTS, pools.SMALL, pools.FLOATS]))
        if value != value:
            return self.number_literal()
        if self.chance(0.2) and abs(value) < 2**62:
            value += self.rng.choice([-1, 1, 0.5, -0.1])
        return Literal(value)

    def arithmetic(self, depth):
        left, right = self.number(depth), self.number_or_literal(depth)
        if self.chance(0.2):
            left, right = right, left
        operators = "++--**/%"
        if isinstance(right, Arithmetic) and right.operator in "+*":
            operators = operators.replace(right.operator, "")
        return Arithmetic(self.rng.choice(operators), left, right)

    def extreme(self, depth):
        """`greatest` or `least`; the `Func` takes columns of one type only."""
        name = self.rng.choice(["greatest", "least"])
        sql, public = f"sql.conditional.{name}", f"func.{name}"
        same = [Column(column) for column in self.rng.sample(["n", "small", "order", "info.width"], 2)]
        return self.any(
            lambda: Call(name, *same, sql=sql, public=public),
            lambda: Call(name, self.number(depth), self.number_or_literal(depth), sql=sql),
        )

    def math(self, depth):
        value = self.number(depth)
        return self.any(
            lambda: Call("abs", value, sql="sa.func.abs"),
            lambda: Call("round", value, sql="sa.func.round"),
            lambda: Call("round", value, self.one(0, 1, 2, 5), sql="sa.func.round"),
            lambda: Call("coalesce", value, self.number_or_literal(depth), sql="sa.func.coalesce"),
        )

    def length(self):
        """Of a string, of a list, of the pieces of a string."""
        strings, lists = {"sql": "sql.string.length"}, {"sql": "sql.array.length", "public": "func.length"}
        return self.any(
            lambda: Call("length", self.column(STRINGS, MAYBE_STRINGS), **strings, public="func.string.length"),
            lambda: Call("length", self.text(1), **strings),
            lambda: Call("length", self.column(INT_LISTS, ["tags", "emb", "flat"]), **lists),
            lambda: Call("length", self.split(), **lists),
        )

    def inner_number(self):
        """Inside a list, or of the row's place in a sample."""
        return self.any(
            lambda: self.item(self.column(INT_LISTS, ["flat"])),
            lambda: self.spot("x"),
            Rand,
        )

    # Strings.

    def text(self, depth):
        if depth <= 0 or self.chance(0.55):
            return self.column(STRINGS, MAYBE_STRINGS)
        return self.any(
            *[self.path_part] * 2,
            lambda: self.concat(depth - 1),
            lambda: self.change(depth - 1),
            lambda: self.chosen_text(depth - 1),
            self.inner_text,
        )

    def text_literal(self):
        parts = ["jpg", "gz", "x.tar", "dir", "images/cat"]
        return self.one(*self.rng.choice([pools.STRINGS, pools.LABELS, pools.PATHS, parts]))

    def path_part(self):
        function = self.rng.choice(list(PathPart.NAMES))
        return PathPart(self.rng.choice(FILES), function, public=f"func.{self.rng.choice(['', 'path.'])}{function}")

    def concat(self, depth):
        left, right = self.text(depth), self.any(self.text_literal, lambda: self.column(STRINGS, MAYBE_STRINGS))
        return Concat(left, right, plus=isinstance(left, Column) and isinstance(right, Literal))

    def change(self, depth):
        value = self.text(depth)
        old, new = self.one("a", "", "/", "\u00e9", ".jpg", "\0"), self.one("", "b", "aa")
        return self.any(
            lambda: Call("lower", value, sql="sa.func.lower"),
            lambda: Call("upper", value, sql="sa.func.upper"),
            lambda: Call("replace", value, old, new, sql="sql.string.replace"),
        )

    def chosen_text(self, depth):
        name, left = self.rng.choice(["greatest", "least"]), self.text(depth)
        return self.any(
            lambda: Call(name, left, self.text(depth), sql=f"sql.conditional.{name}"),
            lambda: Call("coalesce", left, self.text_literal(), sql="sa.func.coalesce"),
        )

    def inner_text(self):
        """Inside a list."""
        return self.any(lambda: self.item(Column("tags")), lambda: self.item(self.split()), lambda: self.spot("text"))

    # Times, lists, vectors, JSON.

    def time_literal(self):
        value = self.rng.choice(pools.TIMES)
        if 1 < value.year < 9999:
            value += self.rng.choice([timedelta()] * 6 + [timedelta(microseconds=1), timedelta(microseconds=-1)])
            if value.tzinfo is None and self.chance(0.3):
                zone = timezone(timedelta(hours=self.rng.choice([0, 2, -5, 5.5])))
                value = value.replace(tzinfo=timezone.utc).astimezone(zone)
        return Time(value, self.rng.choice(" T"))

    def split(self):
        arguments = [self.column(STRINGS, MAYBE_STRINGS), self.one("/", " ", ".", "a", "b]", "_")]
        if self.chance(0.3):
            arguments.append(self.one(1, 2))
        return Call("split", *arguments, sql="sql.string.split")

    def item(self, source):
        return Item(source, self.rng.choice([0, 0, 1, 2, 5]))

    def spot(self, field):
        """A field of a model in a list."""
        return Json(Column("info.spots"), [self.rng.choice([0, 1]), field])

    def list_condition(self):
        """`contains`, which is a condition by itself."""
        numbers, texts = [*sum(pools.INT_LISTS, []), 1.0, 0.5, 2.0**53], [*sum(pools.STRING_LISTS, []), "b"]
        source, items = self.any(
            lambda: (self.column(INT_LISTS), numbers),
            lambda: (Column("flat"), [0.5, 1, 1.0, -1.25, 7]),
            lambda: (Column("tags"), texts),
            lambda: (self.split(), texts),
        )
        return Call("contains", source, self.one(*items), public="func.contains")

    def distance(self):
        """Between a column of vectors and a vector; sometimes with exactly the distance of some row."""
        name, column, vectors = self.rng.choice(
            [
                ("cosine_distance", "emb", pools.VECTORS),
                ("euclidean_distance", "emb", [*pools.VECTORS, pools.ZEROS]),
                ("euclidean_distance", "flat", [*pools.VECTORS, pools.ZEROS]),
            ]
        )
        call = Call(name, Column(column), Vector(self.rng.choice(vectors)), public=f"func.{name}")
        return Compare(self.operator(), call, self.one(*DISTANCES))

    def json_condition(self):
        value = Json(Column("meta"), self.rng.choice(JSON_PATHS))
        return self.any(
            lambda: Compare(self.operator(), value, self.json_literal()),
            lambda: Compare(self.rng.choice(["==", "!="]), value, self.one(True, False)),
            lambda: In(value, [self.json_literal() for _ in range(3)], self.chance(0.3)),
            lambda: IsNull(value, self.chance(0.5)),
            lambda: Match(self.rng.choice(["like", "ilike"]), value, self.like(), self.chance(0.3)),
            lambda: Match("like", value, self.digits(), self.chance(0.3)),
        )

    def digits(self):
        """A pattern for the text of a number."""
        return self.rng.choice(["%", "", "0%", "-%"]) + self.rng.choice(["1", "5", ".", "e", "e+3", "_"]) + "%"

    def json_literal(self):
        return self.any(self.number_literal, self.text_literal, lambda: self.one("a", "pug", 1, 1.5, -3, 10))


def generate(seed, count):
    """`count` pairs of texts; the same for the same arguments."""
    rng = random.Random(seed)
    while count:
        node = Maker(rng).condition(rng.choice([0, 1, 1, 2, 2, 3, 4]))
        text = node.dcfs(Pen(rng))
        if len(text.replace("/", "\u2215").encode()) <= LONGEST:
            count -= 1
            yield text, node.datachain()
