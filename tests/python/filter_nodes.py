"""The nodes of `filters.py`: each writes itself for dcfs and for DataChain."""

import re

OR, AND, NOT, EQUAL, ORDER, ADD, MULTIPLY, CONCAT, UNARY, ATOM = range(10)
"""The binding strength of a text of dcfs, by SQLite's precedence."""

BACKQUOTED = {"order", "like"}
"""Names that are words of the language."""

BARE = {"pug", "Pug", "beagle", "golden-retriever"}
"""Strings that need no quotes."""


class Pen:
    """Writes for dcfs, choosing one of the equivalent spellings at random."""

    def __init__(self, rng):
        self.rng = rng

    def word(self, *spellings):
        word = self.rng.choice(spellings)
        return word.upper() if self.rng.random() < 0.1 else word

    def put(self, node, level):
        """The node's text, in parentheses if it binds less than its position requires."""
        needed = node.level < level
        text = node.dcfs(self)
        return f"({text})" if needed or self.rng.random() < 0.05 else text

    def string(self, value):
        """A quoted string; characters that a directory's name cannot contain, and some others, are escaped."""
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
        """The Python for the left side of a comparison; may be a `Func`."""
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
    """A datetime, naive or with a zone; dcfs reads it as a string compared with a column of times."""

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
    """A function of dcfs, called `sql` in an expression and `public` where it is a `Func`; one may be missing."""

    def __init__(self, name, *arguments, sql=None, public=None):
        self.name, self.arguments, self.sql, self.public = name, arguments, sql or public, public or sql
        self.is_func = public is not None

    def dcfs(self, pen):
        return f"{self.name}({', '.join(pen.put(argument, OR) for argument in self.arguments)})"

    def datachain(self):
        return f"{self.sql}({', '.join(argument.datachain() for argument in self.arguments)})"

    def compared(self):
        return f"{self.public}({', '.join(argument.datachain() for argument in self.arguments)})"


class PathPart(Call):
    """The name, stem, extension or parent of the path of a File column, by the name of DataChain's function."""

    NAMES = {"name": "name", "file_stem": "stem", "file_ext": "ext", "parent": "parent"}

    def __init__(self, file, function, public):
        path = Column(f"{file}.path")
        super().__init__(f"{file}.{self.NAMES[function]}", path, sql=f"sql.path.{function}", public=public)

    def dcfs(self, pen):
        return self.name


class Item(Node):
    """One item of a list."""

    def __init__(self, source, place):
        self.source, self.place = source, place
        self.is_func = isinstance(source, Column)

    def dcfs(self, pen):
        return f"{pen.put(self.source, ATOM)}[{self.place}]"

    def datachain(self):
        return f"sql.array.get_element({self.source.datachain()}, {self.place})"

    def compared(self):
        return f"func.array.get_element({self.source.datachain()}, {self.place})" if self.is_func else self.datachain()


class Vector(Node):
    def __init__(self, values):
        self.values = values

    def dcfs(self, pen):
        return str(self.values)

    def datachain(self):
        return str(self.values)


class Rand(Node):
    """A number of its own for every row, in 0..1."""

    def dcfs(self, pen):
        return "rand"

    def datachain(self):
        return "(C('sys__rand') / 9223372036854775808.0)"


class Json(Node):
    """A value inside a column of JSON, by keys and places."""

    def __init__(self, column, path):
        self.column, self.path = column, path

    def steps(self, quote):
        keys = [f"{quote}{step}{quote}" if " " in str(step) else step for step in self.path]
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)

    def dcfs(self, pen):
        return self.column.dcfs(pen) + self.steps("`")

    def datachain(self):
        return f"sa.func.json_extract({self.column.datachain()}, {'$' + self.steps(chr(34))!r})"


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
        if self.negated and self.method in ("like", "ilike"):
            return f"{self.value.datachain()}.not_{self.method}({self.pattern!r})"
        text = f"{self.value.datachain()}.{self.operator()}({self.pattern!r})"
        return f"(~{text})" if self.negated else text

    def operator(self):
        """The method; `glob` and `regexp` are those of a column of DataChain only."""
        if self.method in ("glob", "regexp") and not isinstance(self.value, Column):
            return f"op({self.method.upper()!r}, is_comparison=True)"
        return self.method


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
    """A column that is NULL, or an Optional model that is absent."""

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


class Plain(Node):
    """A call used as an expression, not as a `Func`."""

    def __init__(self, node):
        self.node, self.level = node, node.level

    def dcfs(self, pen):
        return self.node.dcfs(pen)

    def datachain(self):
        return self.node.datachain()

    def compared(self):
        return self.node.compared() if isinstance(self.node, (Literal, Time)) else self.node.datachain()


def is_bare(node):
    """Whether dcfs may read it without quotes."""
    return isinstance(node, Literal) and isinstance(node.value, str) and node.value in BARE
