"""Patterns of SQLite and Python in the words of ClickHouse, whose regular expressions are those of RE2.

What cannot be said there exactly is a `CompileError`.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.exc import CompileError

try:
    from re import _constants as tokens
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as tokens  # type: ignore[no-redef]
    import sre_parse as parser  # type: ignore[no-redef]

SPACES = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
"""The characters that `str.isspace` counts as spaces."""

CLASSES = {
    tokens.CATEGORY_DIGIT: (r"\p{Nd}", r"\P{Nd}"),
    tokens.CATEGORY_SPACE: (SPACES, None),
    tokens.CATEGORY_WORD: (r"\p{L}\p{N}_", None),
}
"""Inside brackets, and the opposite where there is one."""

OPPOSITES = {
    tokens.CATEGORY_NOT_DIGIT: tokens.CATEGORY_DIGIT,
    tokens.CATEGORY_NOT_SPACE: tokens.CATEGORY_SPACE,
    tokens.CATEGORY_NOT_WORD: tokens.CATEGORY_WORD,
}

MOST_REPEATS = 1000
"""The limit of RE2."""

WIDEST_FOLDED = 256
"""Characters of a range whose other case is looked for."""


def like(pattern: str, escape: str | None) -> str:
    """A pattern of LIKE, whose escape character is the backslash there."""
    out, at = [], 0
    pattern = pattern.partition("\0")[0]
    while at < len(pattern):
        char = pattern[at]
        if char == escape and at + 1 < len(pattern):
            at += 1
            char = pattern[at]
            out.append("\\" + char if char in "%_\\" else char)
        else:
            out.append("\\\\" if char == "\\" else char)
        at += 1
    return "".join(out)


def glob(pattern: str) -> str:
    """A pattern of SQLite's GLOB."""
    out, at = [r"(?s)\A"], 0
    pattern = pattern.partition("\0")[0]
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "[":
            said, at = _glob_set(pattern, at)
            out.append(said)
        else:
            out.append(_char(ord(char)))
    return "".join(out) + r"\z"


def _glob_set(pattern: str, at: int) -> tuple[str, int]:
    """The set behind a `[`, and where it ends."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    out, before = [], None
    if pattern[at : at + 1] == "]":
        out.append(_char(ord("]")))
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        char = pattern[at]
        if char == "-" and before is not None and pattern[at + 1 : at + 2] not in ("", "]"):
            at += 1
            if before <= pattern[at]:
                out.append(f"{_char(ord(before))}-{_char(ord(pattern[at]))}")
            before = None
        else:
            out.append(_char(ord(char)))
            before = char
        at += 1
    if at == len(pattern):
        return _nothing(), at
    return f"[{'^' if negated else ''}{''.join(out)}]", at + 1


def regexp(pattern: str) -> str:
    """A regular expression of Python that is searched for in a text."""
    try:
        tree = parser.parse(pattern)
    except re.error as error:
        raise CompileError(f"{pattern!r} is no regular expression: {error}") from None
    return _Writer(pattern).sequence(tree, tree.state.flags, is_last=True)


def replaced(pattern: str) -> str:
    """The same where matches are replaced: one that may be empty is found elsewhere there."""
    if not parser.parse(pattern).getwidth()[0]:
        raise CompileError(f"{pattern!r} may match nothing, which ClickHouse replaces otherwise: {INSTEAD}")
    return regexp(pattern)


def replacement(text: str) -> str:
    """What replaces a match: only digits behind a backslash mean the same there."""
    if re.search(r"\\(?![0-9\\])|\\0|\\\d\d", text):
        raise CompileError(f"the replacement {text!r} cannot be said in ClickHouse: {INSTEAD}")
    return text


INSTEAD = "use `map` with a function of Python, or filter with `dcfs save --where`"


def _char(code: int) -> str:
    char = chr(code)
    return char if code < 128 and char.isalnum() else f"\\x{{{code:x}}}"


def _nothing() -> str:
    return r"[^\x{0}-\x{10ffff}]"


class _Writer:
    """Writes what Python's own parser read."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def refused(self, what: str) -> CompileError:
        return CompileError(f"{what} in the regular expression {self.pattern!r} cannot be said in ClickHouse: {INSTEAD}")

    def sequence(self, items: Any, flags: int, is_last: bool) -> str:
        items = list(items)
        last = len(items) - 1
        return "".join(self.item(*item, flags, is_last and at == last) for at, item in enumerate(items))

    def item(self, kind: Any, value: Any, flags: int, is_last: bool) -> str:
        if kind is tokens.LITERAL:
            return self.chars([(tokens.LITERAL, value)], flags)
        if kind is tokens.NOT_LITERAL:
            return self.chars([(tokens.NEGATE, None), (tokens.LITERAL, value)], flags)
        if kind is tokens.ANY:
            return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
        if kind is tokens.IN:
            return self.chars(value, flags)
        if kind is tokens.AT:
            return self.place(value, flags, is_last)
        if kind is tokens.BRANCH:
            return "(?:" + "|".join(self.sequence(one, flags, is_last) for one in value[1]) + ")"
        if kind is tokens.SUBPATTERN:
            group, added, removed, inner = value
            said = self.sequence(inner, (flags | added) & ~removed, is_last)
            return f"({said})" if group is not None else f"(?:{said})"
        if kind in (tokens.MAX_REPEAT, tokens.MIN_REPEAT):
            return self.repeated(*value, flags, "?" if kind is tokens.MIN_REPEAT else "")
        raise self.refused(str(kind).lower().replace("_", " "))

    def repeated(self, least: int, most: Any, inner: Any, flags: int, lazy: str) -> str:
        endless = most is tokens.MAXREPEAT
        if max(least, 0 if endless else most) > MOST_REPEATS:
            raise self.refused("that many repeats")
        said = {(0, True): "*", (1, True): "+"}.get((least, endless), f"{{{least},{'' if endless else most}}}")
        return f"(?:{self.sequence(inner, flags, is_last=False)}){said}{lazy}"

    def place(self, where: Any, flags: int, is_last: bool) -> str:
        lines = flags & re.MULTILINE
        if where is tokens.AT_BEGINNING_STRING or (where is tokens.AT_BEGINNING and not lines):
            return r"\A"
        if where is tokens.AT_BEGINNING:
            return "(?m:^)"
        if where is tokens.AT_END_STRING:
            return r"\z"
        if where is tokens.AT_END and lines:
            return "(?m:$)"
        if where is tokens.AT_END and is_last:
            return r"\n?\z"
        raise self.refused("a word's boundary" if "BOUNDARY" in str(where) else "`$` before other characters")

    def chars(self, items: Any, flags: int) -> str:
        """A set of characters."""
        items = list(items)
        negated = items[0][0] is tokens.NEGATE
        items = items[1:] if negated else items
        if len(items) == 1 and items[0][0] is tokens.CATEGORY and items[0][1] in OPPOSITES:
            return f"[{'' if negated else '^'}{CLASSES[OPPOSITES[items[0][1]]][0]}]"
        said = "".join(self.member(kind, value, flags) for kind, value in items)
        return f"[{'^' if negated else ''}{said}]"

    def member(self, kind: Any, value: Any, flags: int) -> str:
        if kind is tokens.CATEGORY:
            own = CLASSES[value][0] if value in CLASSES else CLASSES[OPPOSITES[value]][1]
            if own is None:
                raise self.refused("the opposite of a class beside other characters")
            return own
        first, last = value if kind is tokens.RANGE else (value, value)
        own = _char(first) if first == last else f"{_char(first)}-{_char(last)}"
        if not flags & re.IGNORECASE:
            return own
        if last - first > WIDEST_FOLDED:
            raise self.refused("a wide range without regard to case")
        return own + "".join(_char(code) for code in _folded(first, last))


def _folded(first: int, last: int) -> list[int]:
    """The other characters that Python takes for the same as some of a range, without regard to case."""
    chars = [chr(code) for code in range(first, last + 1)]
    near = {other for char in chars for form in (char.lower(), char.upper(), char.swapcase()) for other in form}
    near |= set("\u017f\u212a\u0130\u0131")
    wanted = re.compile(f"[{re.escape(chr(first))}-{re.escape(chr(last))}]", re.IGNORECASE)
    return sorted(ord(char) for char in near if not first <= ord(char) <= last and wanted.fullmatch(char))
