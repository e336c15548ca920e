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
- `Func & expression` is the bitwise operator: `func.and_`;
- an integer outside 64 bits (OverflowError), a bad pattern of `regexp`, distances of vectors of
  different lengths, division by zero, `abs` of the smallest integer. The last two depend on rows:
  such filters are generated, and left out when DataChain raises.

Not in the language of dcfs, and so not here: `//`, bitwise operators, hashes, `cast`, `case`,
`is_distinct_from`, array slices and joins, `regexp_replace`, comparisons of an integer column with
a string, the flag `(?a)`, `\N{name}` and octal `\101` of regular expressions.

Different in dcfs, and so not here: the cosine distance to a vector of zeros is no number (0 in
DataChain); JSON beside a column keeps its type (SQLite gives it the column's: `"1"` equals 1); of
the letters that Python's `(?i)` takes for `i`, only `i` and `I` are; `\B` holds in an empty string,
as in Python from 3.14 on.
"""

import random
import re
from datetime import datetime, timedelta, timezone

import pools

OR, AND, NOT, EQUAL, ORDER, ADD, MULTIPLY, CONCAT, UNARY, ATOM = range(10)

LONGEST = 1000
"""Bytes of a text; the kernel takes names of up to 1024 for a mount's directories."""

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

BACKQUOTED = {"order", "like"}
BARE = {"pug", "Pug", "beagle", "golden-retriever"}

JSON_PATHS = [["k"], ["s"], ["flag"], ["deep"], ["deep", "er", "x"], ["deep", "er", "s"], ["a b"], ["list", 0], ["list", 1], ["no"]]

REGEXPS = [
    "", "^$", ".", "^.$", "^.{2,3}$", "^[a-z]+$", r"\w+\s\w+", r"^\W*$", r"[^\x00-\x7f]", "(?i)^a", "(?i)\u00e9t\u00e9", "(?i)STRASSE",
    r"\u00e9", "(?s)^.+$", "(?m)^break$", r"end\Z", "end$", r"(.)\1", r"^(?:a|b)", r"\.jpe?g$", r"(?i)\.jpg$", r"/[^/]+$", r"^[^/]*$",
    r"\.tar\.(gz|bz2)$", r"(?P<q>.)(?P=q)", r"^(?=.*a)(?=.*b)", "z{300}", "^z{299}$", r"\A.\Z", r"(?x) a \  b  # c", r"(a)?(?(1)b|c)", "a*+b", "a++a",
]  # fmt: skip

REGEXP_PIECES = [
    ".", r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", "[a-z]", "[A-Z0-9]", "[^b]", r"[\w.]", "[]a]", "[^]a]", "[a&&b]", "[[a]", r"[^\W\d]", r"[\]\[]",
    "[-a]", r"[a\-z]", "[\u00e0-\u00ff]", "(?:a|b)", "(a|bc)", "a", "b", "A", "g", "\u00e9", "\u00c9", "e\u0301", "/", r"\.", "-", " ", r"\n", "_", "%",
    r"\x41", r"\u00e9", r"\0", r"\\", r"\[", "]", "}", "1", "\u65e5", "\U0001f600", r"\/", r"\-", r"\ ", "#", "(?#note)",
]  # fmt: skip

REGEXP_PLACES = [r"\b", "^", "$", r"\A", r"\Z", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "|"]

REGEXP_FLAGS = ["(?i)", "(?s)", "(?m)", "(?im)", "(?x)", "(?u)"]


class Pen:
    """Writes for dcfs, taking one of the spellings that mean the same at random."""

    def __init__(self, rng):
        self.rng = rng

    def word(self, *spellings):
        word = self.rng.choice(spellings)
        return word.upper() if self.rng.random() < 0.1 else word

    def put(self, node, level):
        """The node's text, in parentheses where it binds less than its place asks for."""
        needed = node.level < level
        text = node.dcfs(self)
        return f"({text})" if needed or self.rng.random() < 0.05 else text

    def string(self, value):
        """A quoted string; what a directory's name cannot hold, and some of the rest, is escaped."""
        quote = self.rng.choice("\"'")
        escaped = re.sub(r"\\(?=u[0-9a-fA-F]{4})", lambda _: r"\u005c", value)
        if self.rng.random() < 0.1:
            escaped = re.sub(r"[\u0080-\uffff\n]", lambda match: f"\\u{ord(match[0]):04x}", escaped)
        return quote + escaped.replace("\0", r"\u0000").replace(quote, quote * 2) + quote


class Node:
    """A value or a condition."""

    level = ATOM
    is_func = False
    """Whether `datachain()` is a `Func` rather than an expression of SQLAlchemy."""

    def dcfs(self, pen):
        """The text for dcfs."""
        raise NotImplementedError

    def datachain(self):
        """The Python for DataChain."""
        raise NotImplementedError

    def compared(self):
        """The Python for it where it is the left side of a comparison; may be a `Func`."""
        return self.datachain()


class Column(Node):
    def __init__(self, name):
        self.name = name

    def dcfs(self, pen):
        return ".".join(f"`{part}`" if part in BACKQUOTED else part for part in self.name.split("."))

    def datachain(self):
        return f"C({self.name!r})"


class Literal(Node):
    """A number, a string, a boolean, None."""

    def __init__(self, value):
        self.value = value
        if isinstance(value, (int, float)) and repr(value).startswith("-"):
            self.level = UNARY

    def dcfs(self, pen):
        if isinstance(self.value, str):
            return pen.string(self.value)
        if self.value is None or isinstance(self.value, bool):
            return pen.word({None: "null", True: "true", False: "false"}[self.value])
        return repr(self.value).replace("inf", "1e999")

    def datachain(self):
        return f"float({str(self.value)!r})" if self.value in (float("inf"), float("-inf")) else repr(self.value)

    def compared(self):
        return f"sa.literal({self.datachain()})"


class Time(Node):
    """A datetime, naive or of a zone; dcfs reads it as a string beside a column of times."""

    def __init__(self, value, separator):
        self.value, self.separator = value, separator

    def dcfs(self, pen):
        text = self.value.isoformat(self.separator)
        if text.endswith("00:00:00"):
            text = pen.rng.choice([text, text[:10]])
        return pen.string(re.sub(r"\+00:00$", "Z", text))

    def datachain(self):
        return repr(self.value)

    def compared(self):
        return f"sa.literal({self.datachain()})"


class Negative(Node):
    level = UNARY

    def __init__(self, value):
        self.value = value

    def dcfs(self, pen):
        return "-" + pen.put(self.value, ATOM)

    def datachain(self):
        return f"(-{self.value.datachain()})"


class Arithmetic(Node):
    """`+ - * / %` of numbers. `/` of anything but a column is not DataChain's, so it is called by name.

    SQLAlchemy drops the parentheses of `a + (b + c)` and `a * (b * c)`, which are other numbers
    than `a + b + c` and `a * b * c` where something overflows: they are not made.
    """

    def __init__(self, operator, left, right):
        self.operator, self.left, self.right = operator, left, right
        self.level = ADD if operator in "+-" else MULTIPLY

    def dcfs(self, pen):
        return f"{pen.put(self.left, self.level)} {self.operator} {pen.put(self.right, self.level + 1)}"

    def datachain(self):
        left, right = self.left.datachain(), self.right.datachain()
        if self.operator == "/" and not isinstance(self.left, Column):
            return f"sa.func.divide({left}, {right}, type_=sa.Float)"
        return f"({left} {self.operator} {right})"


class Concat(Node):
    """Strings put together: `concat` in DataChain, or `+` between a column and a literal.

    Between two columns `+` is that of numbers, unless it stands outside of any `&` and `func`.
    """

    level = CONCAT

    def __init__(self, left, right, plus):
        self.left, self.right, self.plus = left, right, plus

    def dcfs(self, pen):
        return f"{pen.put(self.left, CONCAT)} || {pen.put(self.right, CONCAT + 1)}"

    def datachain(self):
        left, right = self.left.datachain(), self.right.datachain()
        return f"({left} + {right})" if self.plus else f"{left}.concat({right})"


class Call(Node):
    """A function of dcfs, its expression, and the `Func` of the same meaning where there is one.

    `text`, `expression` and `public` are formats: `{0}` is the first argument.
    """

    def __init__(self, text, expression, public, *arguments):
        self.text, self.expression, self.public, self.arguments = text, expression, public, arguments
        self.is_func = public is not None

    def dcfs(self, pen):
        return self.text.format(*[pen.put(argument, OR) for argument in self.arguments])

    def datachain(self):
        return self.expression.format(*[argument.datachain() for argument in self.arguments])

    def compared(self):
        return (self.public or self.expression).format(*[argument.datachain() for argument in self.arguments])


class Json(Node):
    """A value inside a column of JSON, by keys and places."""

    def __init__(self, column, path):
        self.column, self.path = column, path

    def dcfs(self, pen):
        steps = [f"[{step}]" if isinstance(step, int) else f".`{step}`" if " " in step else f".{step}" for step in self.path]
        return self.column.dcfs(pen) + "".join(steps)

    def datachain(self):
        steps = [f"[{step}]" if isinstance(step, int) else f'."{step}"' if " " in step else f".{step}" for step in self.path]
        return f"sa.func.json_extract({self.column.datachain()}, {'$' + ''.join(steps)!r})"


class Compare(Node):
    SPELLINGS = {"==": ("=", "=="), "!=": ("!=", "<>")}

    def __init__(self, operator, left, right):
        self.operator, self.left, self.right = operator, left, right
        self.level = EQUAL if operator in self.SPELLINGS else ORDER
        self.is_func = left.is_func

    def dcfs(self, pen):
        operator = pen.rng.choice(self.SPELLINGS.get(self.operator, (self.operator,)))
        space = pen.rng.choice(["", " ", " ", " "])
        return f"{pen.put(self.left, self.level + 1)}{space}{operator}{space}{self.right_side(pen)}"

    def right_side(self, pen):
        if is_bare(self.right) and isinstance(self.left, Column) and pen.rng.random() < 0.5:
            return self.right.value
        return pen.put(self.right, self.level + 1)

    def datachain(self):
        right = self.right.datachain()
        if self.is_func and isinstance(self.right, Literal) and isinstance(self.right.value, str):
            right = f"func.literal({right})"
        return f"({self.left.compared()} {self.operator} {right})"


class In(Node):
    level = EQUAL

    def __init__(self, value, items, negated):
        self.value, self.items, self.negated = value, items, negated

    def dcfs(self, pen):
        bare = isinstance(self.value, Column)
        items = ", ".join(item.value if bare and is_bare(item) else pen.put(item, OR) for item in self.items)
        return f"{pen.put(self.value, EQUAL + 1)} {pen.word('not in' if self.negated else 'in')} ({items})"

    def datachain(self):
        items = ", ".join(item.datachain() for item in self.items)
        return f"{self.value.datachain()}.{'not_in' if self.negated else 'in_'}([{items}])"


class Between(Node):
    level = EQUAL

    def __init__(self, value, low, high, negated):
        self.value, self.low, self.high, self.negated = value, low, high, negated

    def dcfs(self, pen):
        word = pen.word("not between" if self.negated else "between")
        value, low, high = [pen.put(node, EQUAL + 1) for node in (self.value, self.low, self.high)]
        return f"{value} {word} {low} {pen.word('and')} {high}"

    def datachain(self):
        value = self.value.datachain()
        text = f"(({value} >= {self.low.datachain()}) & ({value} <= {self.high.datachain()}))"
        return f"(~{text})" if self.negated else text


class Match(Node):
    """`like`, `ilike`, `glob`, `regexp` and those that DataChain makes of `like`."""

    level = EQUAL
    AS_LIKE = {
        "startswith": ("like", "{}%"),
        "endswith": ("like", "%{}"),
        "contains": ("like", "%{}%"),
        "istartswith": ("ilike", "{}%"),
        "iendswith": ("ilike", "%{}"),
        "icontains": ("ilike", "%{}%"),
        "regexp_match": ("regexp", "{}"),
    }

    def __init__(self, method, value, pattern, negated):
        self.method, self.value, self.pattern, self.negated = method, value, pattern, negated

    def dcfs(self, pen):
        word, form = self.AS_LIKE.get(self.method, (self.method, "{}"))
        word = pen.word(f"not {word}" if self.negated else word)
        return f"{pen.put(self.value, EQUAL + 1)} {word} {pen.string(form.format(self.pattern))}"

    def datachain(self):
        value = self.value.datachain()
        if self.negated and self.method in ("like", "ilike"):
            return f"{value}.not_{self.method}({self.pattern!r})"
        call = f"{value}.op('GLOB', is_comparison=True)" if self.method == "glob" else f"{value}.{self.method}"
        if self.method in ("glob", "regexp") and isinstance(self.value, Column):
            call = f"{value}.{self.method}"
        elif self.method == "regexp":
            call = f"{value}.op('REGEXP', is_comparison=True)"
        return f"(~{call}({self.pattern!r}))" if self.negated else f"{call}({self.pattern!r})"


class IsNull(Node):
    """`== None`, or `is_(None)`."""

    level = EQUAL

    def __init__(self, value, negated, named=False):
        self.value, self.negated, self.named = value, negated, named

    def dcfs(self, pen):
        return f"{pen.put(self.value, EQUAL + 1)} {pen.word('is not null' if self.negated else 'is null')}"

    def datachain(self):
        if self.named:
            return f"{self.value.datachain()}.{'is_not' if self.negated else 'is_'}(None)"
        return f"({self.value.datachain()} {'!=' if self.negated else '=='} None)"


class Absent(IsNull):
    """A column that is NULL, or an Optional model that is not there."""

    is_func = True

    def datachain(self):
        text = f"func.isnone({self.value.name!r})"
        return f"func.not_({text})" if self.negated else text


class Flag(Node):
    """A boolean column, alone."""

    def __init__(self, column, negated):
        self.column, self.negated = column, negated
        self.level = NOT if negated else ATOM

    def dcfs(self, pen):
        return f"{pen.word('not')} {self.column.dcfs(pen)}" if self.negated else self.column.dcfs(pen)

    def datachain(self):
        return f"({self.column.datachain()} == False)" if self.negated else self.column.datachain()


class Not(Node):
    level = NOT

    def __init__(self, condition):
        self.condition = condition
        self.is_func = condition.is_func

    def dcfs(self, pen):
        return f"{pen.word('not')} {pen.put(self.condition, NOT)}"

    def datachain(self):
        condition = self.condition.datachain()
        return f"func.not_({condition})" if self.is_func else f"(~{condition})"


class Logic(Node):
    """Conditions joined by `and` or `or`."""

    def __init__(self, word, terms):
        self.word, self.terms = word, terms
        self.level = AND if word == "and" else OR
        self.is_func = any(term.is_func for term in terms)

    def dcfs(self, pen):
        return f" {pen.word(self.word)} ".join(pen.put(term, self.level + 1) for term in self.terms)

    def datachain(self):
        terms = [term.datachain() for term in self.terms]
        if self.is_func:
            return f"func.{self.word}_({', '.join(terms)})"
        return "(" + (" & " if self.word == "and" else " | ").join(terms) + ")"


def is_bare(node):
    """Whether dcfs may read it without quotes."""
    return isinstance(node, Literal) and isinstance(node.value, str) and node.value in BARE


class Maker:
    """Random nodes."""

    def __init__(self, rng):
        self.rng = rng

    def pick(self, *makers):
        """What one of the makers makes."""
        return self.rng.choice(makers)()

    def chance(self, probability):
        return self.rng.random() < probability

    def column(self, *names):
        return Column(self.rng.choice(self.rng.choice(names)))

    # Conditions.

    def condition(self, depth):
        if depth <= 0 or self.chance(0.3):
            return self.leaf()
        return self.pick(
            lambda: self.logic("and", depth),
            lambda: self.logic("or", depth),
            lambda: self.negation(depth),
        )

    def logic(self, word, depth):
        terms = [self.condition(depth - 1) for _ in range(self.rng.choice([2, 2, 2, 3, 4]))]
        return Logic(word, terms)

    def negation(self, depth):
        condition = self.condition(depth - 1)
        if isinstance(condition, Flag):
            return Flag(condition.column, not condition.negated)
        return Not(condition)

    def leaf(self):
        return self.rng.choices(
            [
                self.number_condition, self.text_condition, self.match, self.time_condition, self.bool_condition,
                self.null, self.list_condition, self.distance, self.json_condition,
            ],
            [6, 4, 5, 3, 2, 2, 2, 1, 2],
        )[0]()  # fmt: skip

    def operator(self):
        return self.rng.choice(["==", "!=", "<", "<=", ">", ">="])

    def compare(self, make, literal):
        """Of two values, of which one at least is no literal."""
        left, right = make(), literal() if self.chance(0.6) else make()
        if self.chance(0.1):
            left, right = right, left
        if right.is_func and not left.is_func:
            return Compare(self.operator(), Plain(left), Plain(right))
        return Compare(self.operator(), left, right)

    def member(self, make, literal):
        items = [literal() for _ in range(self.rng.choice([0, 1, 2, 3, 5, 9]))]
        if self.chance(0.1):
            items.append(Literal(None))
        return In(make(), items, self.chance(0.4))

    def between(self, make, literal):
        return Between(make(), literal(), literal(), self.chance(0.3))

    def ordered(self, make, literal):
        """One of the conditions that any ordered kind has."""
        return self.rng.choices([self.compare, self.member, self.between], [6, 2, 1])[0](make, literal)

    def number_condition(self):
        return self.ordered(lambda: self.number(2), self.number_literal)

    def text_condition(self):
        return self.ordered(lambda: self.text(2), self.text_literal)

    def time_condition(self):
        return self.ordered(self.time, self.time_literal)

    def bool_condition(self):
        column, literal = lambda: self.column(BOOLS), lambda: Literal(self.chance(0.5))
        return self.pick(
            lambda: Flag(column(), self.chance(0.5)),
            lambda: Compare(self.rng.choice(["==", "!="]), column(), self.pick(column, literal)),
            lambda: self.member(column, literal),
        )

    def null(self):
        optional = lambda: self.column(MAYBE_INTS, MAYBE_FLOATS, MAYBE_STRINGS, BOOLS, TIMES, INT_LISTS)
        return self.pick(
            lambda: Absent(self.column(MODELS), self.chance(0.5)),
            lambda: Absent(optional(), self.chance(0.5)),
            lambda: IsNull(optional(), self.chance(0.5), self.chance(0.5)),
            lambda: IsNull(self.pick(lambda: self.number(2), lambda: self.text(2)), self.chance(0.5), self.chance(0.5)),
        )

    def match(self):
        method = self.rng.choice(["like", "ilike", "glob", "regexp", *Match.AS_LIKE])
        patterns = {"glob": self.glob, "regexp": self.regexp, "regexp_match": self.regexp}
        return Match(method, self.text(1), patterns.get(method, self.like)(), self.chance(0.3))

    def like(self):
        """A string with some of its characters replaced by `%` and `_`."""
        return self.holes("%", "%", "_", "%%", "_%")

    def glob(self):
        return self.holes("*", "?", "**", "[a-z]", "[^a]", "[A-Z0-9]", "[]x]", "[[]", "[a-]", "[\u00e0-\u00ff]", "[", "*?")

    def holes(self, *wild):
        text = list(self.rng.choice([*pools.STRINGS[:-1], *pools.LABELS, *pools.PATHS]))
        for place in range(len(text)):
            if self.chance(0.25):
                text[place] = self.rng.choice(wild)
        if text and self.chance(0.3):
            del text[self.rng.randrange(len(text)) :]
        if self.chance(0.5):
            text.insert(self.rng.choice([0, len(text)]), wild[0])
        return "".join(text)

    def regexp(self):
        return self.pick(
            lambda: self.rng.choice(REGEXPS),
            lambda: re.escape(self.rng.choice(pools.STRINGS[:-1] + pools.PATHS)),
            self.pieced_regexp,
        )

    def pieced_regexp(self):
        """Up to four pieces, of which two repeat without end: more would take long on long strings."""
        repeats = ["", "", "", "?", "??", "{2}", "{1,2}", "{,2}", "?+"]
        endless = ["*", "+", "*?", "+?", "{1,}", "*+"]
        pieces = []
        for number in range(self.rng.choice([1, 2, 3, 4])):
            if self.chance(0.2):
                pieces.append(self.rng.choice(REGEXP_PLACES))
            else:
                again = endless if number < 2 and self.chance(0.3) else repeats
                pieces.append(self.rng.choice(REGEXP_PIECES) + self.rng.choice(again))
        flags = self.rng.choice(REGEXP_FLAGS) if self.chance(0.3) else ""
        return flags + "".join(pieces)

    # Numbers.

    def number(self, depth):
        if depth <= 0 or self.chance(0.55):
            return self.column(INTS, MAYBE_INTS, FLOATS, MAYBE_FLOATS)
        return self.pick(
            lambda: self.arithmetic(depth),
            lambda: self.arithmetic(depth),
            lambda: Negative(self.number(depth - 1)),
            self.length,
            lambda: self.extreme(depth),
            lambda: self.math(depth),
            lambda: Call("rand", "(C('sys__rand') / 9223372036854775808.0)", None),
        )

    def number_literal(self):
        """A value of the pools, or one beside it."""
        value = self.rng.choice(self.rng.choice([pools.INTS, pools.SMALL, pools.FLOATS]))
        if value != value:
            return self.number_literal()
        if self.chance(0.2) and abs(value) < 2**62:
            value += self.rng.choice([-1, 1, 0.5, -0.1])
        return Literal(value)

    def arithmetic(self, depth):
        left, right = self.number(depth - 1), self.pick(self.number_literal, lambda: self.number(depth - 1))
        if self.chance(0.2):
            left, right = right, left
        operators = "++--**/%"
        if isinstance(right, Arithmetic) and right.operator in "+*":
            operators = operators.replace(right.operator, "")
        return Arithmetic(self.rng.choice(operators), left, right)

    def length(self):
        """An integer that is somewhere inside: a length, an item."""
        return self.pick(
            lambda: Call("length({0})", "sql.string.length({0})", "func.string.length({0})", self.column(STRINGS, MAYBE_STRINGS)),
            lambda: Call("length({0})", "sql.string.length({0})", None, self.text(1)),
            lambda: Call("length({0})", "sql.array.length({0})", "func.length({0})", self.column(INT_LISTS, ["tags", "emb", "flat"])),
            self.pieces,
            lambda: self.item(self.column(INT_LISTS)),
            lambda: self.item(Column("flat")),
            lambda: self.spot("x"),
        )

    def pieces(self):
        """How many pieces a string has when it is split."""
        return Call("length({0})", "sql.array.length({0})", "func.length({0})", self.split())

    def split(self):
        separator = Literal(self.rng.choice(["/", " ", ".", "a", "b]", "_"]))
        if self.chance(0.3):
            limit = Literal(self.rng.choice([1, 2]))
            expression = "sql.string.split({0}, {1}, {2})"
            return Call("split({0}, {1}, {2})", expression, None, self.column(STRINGS, MAYBE_STRINGS), separator, limit)
        return Call("split({0}, {1})", "sql.string.split({0}, {1})", None, self.column(STRINGS, MAYBE_STRINGS), separator)

    def item(self, source):
        """One item of a list."""
        place = self.rng.choice([0, 0, 1, 2, 5])
        public = f"func.array.get_element({{0}}, {place})" if isinstance(source, Column) else None
        return Call(f"{{0}}[{place}]", f"sql.array.get_element({{0}}, {place})", public, source)

    def extreme(self, depth):
        """`greatest` or `least`; the `Func` takes columns of one type only."""
        name = self.rng.choice(["greatest", "least"])
        if self.chance(0.4):
            arguments = [Column(name) for name in self.rng.sample(["n", "small", "order", "info.width"], 2)]
            public = f"func.{name}({{0}}, {{1}})"
        else:
            arguments = [self.number(depth - 1), self.pick(self.number_literal, lambda: self.number(depth - 1))]
            public = None
        return Call(f"{name}({{0}}, {{1}})", f"sql.conditional.{name}({{0}}, {{1}})", public, *arguments)

    def math(self, depth):
        return self.pick(
            lambda: Call("abs({0})", "sa.func.abs({0})", None, self.number(depth - 1)),
            lambda: Call("round({0})", "sa.func.round({0})", None, self.number(depth - 1)),
            lambda: Call("round({0}, {1})", "sa.func.round({0}, {1})", None, self.number(depth - 1), Literal(self.rng.choice([0, 1, 2, 5]))),
            lambda: Call("coalesce({0}, {1})", "sa.func.coalesce({0}, {1})", None, self.number(depth - 1), self.number(depth - 1)),
            lambda: Call("coalesce({0}, {1})", "sa.func.coalesce({0}, {1})", None, self.number(depth - 1), self.number_literal()),
        )

    # Strings.

    def text(self, depth):
        if depth <= 0 or self.chance(0.55):
            return self.column(STRINGS, MAYBE_STRINGS)
        return self.pick(
            self.path_part,
            self.path_part,
            lambda: self.concat(depth),
            lambda: self.change(depth),
            lambda: self.pick_text(depth),
        )

    def text_literal(self):
        return Literal(self.rng.choice(self.rng.choice([pools.STRINGS, pools.LABELS, pools.PATHS, ["jpg", "gz", "x.tar", "dir", "images/cat"]])))

    def path_part(self):
        name, function = self.rng.choice([("name", "name"), ("stem", "file_stem"), ("ext", "file_ext"), ("parent", "parent")])
        path = Column(self.rng.choice(FILES) + ".path")
        public = self.rng.choice([f"func.path.{function}({{0}})", f"func.{function}({{0}})"])
        return PathPart(name, f"sql.path.{function}({{0}})", public, path)

    def concat(self, depth):
        left, right = self.text(depth - 1), self.pick(self.text_literal, lambda: self.column(STRINGS, MAYBE_STRINGS))
        return Concat(left, right, plus=isinstance(left, Column) and isinstance(right, Literal))

    def change(self, depth):
        return self.pick(
            lambda: Call("lower({0})", "sa.func.lower({0})", None, self.text(depth - 1)),
            lambda: Call("upper({0})", "sa.func.upper({0})", None, self.text(depth - 1)),
            lambda: Call(
                "replace({0}, {1}, {2})", "sql.string.replace({0}, {1}, {2})", None,
                self.text(depth - 1), Literal(self.rng.choice(["a", "", "/", "\u00e9", ".jpg", "\0"])), Literal(self.rng.choice(["", "b", "aa"])),
            ),
        )  # fmt: skip

    def pick_text(self, depth):
        name = self.rng.choice(["greatest", "least"])
        return self.pick(
            lambda: self.item(Column("tags")),
            lambda: self.item(self.split()),
            lambda: self.spot("text"),
            lambda: Call(f"{name}({{0}}, {{1}})", f"sql.conditional.{name}({{0}}, {{1}})", None, self.text(depth - 1), self.text(depth - 1)),
            lambda: Call("coalesce({0}, {1})", "sa.func.coalesce({0}, {1})", None, self.text(depth - 1), self.text_literal()),
        )

    # Times, lists, vectors, JSON.

    def time(self):
        return self.column(TIMES)

    def time_literal(self):
        value = self.rng.choice(pools.TIMES)
        if 1 < value.year < 9999 and self.chance(0.3):
            value += self.rng.choice([timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(hours=1)])
        if value.tzinfo is None and 1 < value.year < 9999 and self.chance(0.3):
            hours = self.rng.choice([0, 2, -5, 5.5])
            value = value.replace(tzinfo=timezone.utc).astimezone(timezone(timedelta(hours=hours)))
        return Time(value, self.rng.choice(" T"))

    def list_condition(self):
        """`contains`, which is a condition by itself."""
        numbers = lambda: Literal(self.rng.choice([*sum(pools.INT_LISTS, []), 1.0, 0.5, 2.0**53]))
        texts = lambda: Literal(self.rng.choice(sum(pools.STRING_LISTS, []) + ["b"]))
        return self.pick(
            lambda: self.contains(self.column(INT_LISTS), numbers()),
            lambda: self.contains(Column("flat"), Literal(self.rng.choice([0.5, 1, 1.0, -1.25, 7]))),
            lambda: self.contains(Column("tags"), texts()),
            lambda: self.contains(self.split(), texts()),
        )

    def contains(self, source, item):
        call = "contains({0}, {1})"
        return Condition(call, None, f"func.{call}", source, item)

    def distance(self):
        """Between a column of vectors and a vector; at times exactly as far as some row."""
        name, column = self.rng.choice([("cosine_distance", "emb"), ("euclidean_distance", "emb"), ("euclidean_distance", "flat")])
        choices = [*pools.VECTORS, pools.ZEROS] if name == "euclidean_distance" else pools.VECTORS
        vector = str(self.rng.choice(choices))
        call = Call(f"{name}({{0}}, {vector})", f"sql.array.{name}({{0}}, sa.literal({vector!r}))", f"func.{name}({{0}}, {vector})", Column(column))
        return Compare(self.operator(), call, Literal(self.rng.choice([0.0, 0.5, 1.0, 1, 2, 3.0, 0.2, 5, 0.9, 1.4142135623730951])))

    def json_condition(self):
        value = self.json()
        return self.pick(
            lambda: Compare(self.operator(), value, self.json_literal()),
            lambda: Compare(self.rng.choice(["==", "!="]), value, Literal(self.chance(0.5))),
            lambda: In(value, [self.json_literal() for _ in range(3)], self.chance(0.3)),
            lambda: IsNull(value, self.chance(0.5)),
            lambda: Match(self.rng.choice(["like", "ilike"]), value, self.like(), self.chance(0.3)),
        )

    def spot(self, field):
        """A field of a model in a list."""
        return Json(Column("info.spots"), [self.rng.choice([0, 1]), field])

    def json(self):
        return Json(Column("meta"), self.rng.choice(JSON_PATHS))

    def json_literal(self):
        return self.pick(self.number_literal, self.text_literal, lambda: Literal(self.rng.choice(["a", "pug", 1, 1.5, -3, 10])))


class Condition(Call):
    """A call that is a condition; `Func` is its only form."""

    def datachain(self):
        return self.compared()


class PathPart(Call):
    """`f.name`, `f.stem`, `f.ext` or `f.parent` of the file `f` whose path is the argument."""

    def dcfs(self, pen):
        return self.arguments[0].name.removesuffix("path") + self.text


class Plain(Node):
    """A call of which only the expression is wanted, not the `Func`."""

    def __init__(self, node):
        self.node, self.level = node, node.level

    def dcfs(self, pen):
        return self.node.dcfs(pen)

    def datachain(self):
        return self.node.datachain()

    def compared(self):
        return self.node.compared() if isinstance(self.node, (Literal, Time)) else self.node.datachain()


def generate(seed, count):
    """`count` pairs of texts; the same for the same arguments."""
    for number in range(count):
        while True:
            rng = random.Random(f"{seed} {number}")
            pair = one(rng)
            if len(pair[0].encode()) <= LONGEST:
                break
            number += count
        yield pair


def one(rng):
    """One filter: what dcfs reads, and what DataChain evaluates."""
    node = Maker(rng).condition(rng.choice([0, 1, 1, 2, 2, 3, 4]))
    return node.dcfs(Pen(rng)), node.datachain()
