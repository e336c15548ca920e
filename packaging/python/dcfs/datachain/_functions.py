"""Functions of DataChain in SQL of ClickHouse."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from datachain.sql.functions import aggregate, array, conditional, numeric, path, random, string
from datachain.sql.selectable import Values, base_values_compiler
from datachain.sql import types as dct
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles

from . import _patterns as patterns
from . import _values as values

CUT_LENGTH = r"lengthUTF8(substringIndex({0}, '\0', 1))"
"""As in SQLite, where a text ends at a NUL for some functions."""

TEMPLATES: list[tuple[type, str]] = [
    # What follows the last `/`, the last `.`; the folder has no `/` at its end.
    (path.parent, r"replaceRegexpOne({0}, '/*[^/]*\\z', '')"),
    (numeric.bit_and, "bitAnd({0}, {1})"),
    (numeric.bit_or, "bitOr({0}, {1})"),
    (numeric.bit_xor, "bitXor({0}, {1})"),
    (numeric.bit_rshift, "bitShiftRight({0}, {1})"),
    (numeric.bit_lshift, "bitShiftLeft({0}, {1})"),
    (numeric.int_hash_64, "reinterpretAsInt64(intHash64({0}))"),
    (numeric.bit_hamming_distance, "bitHammingDistance(toInt64({0}), toInt64({1}))"),
    (string.length, CUT_LENGTH),
    (string.replace, "replaceAll({0}, {1}, {2})"),
    (random.rand, "reinterpretAsInt64(rand64())"),
    (aggregate.avg, "avg({0})"),
    (aggregate.any_value, "any({0})"),
    (aggregate.xor_agg, "reinterpretAsInt64(groupBitXor({0}))"),
    (array.sip_hash_64, "reinterpretAsInt64(sipHash64({0}))"),
]
"""Functions whose SQL only puts the arguments in their places."""


def _arguments(element: Any, compiler: Any, **kw: Any) -> list[str]:
    return [compiler.process(clause, **kw) for clause in element.clauses.clauses]


def _value(element: Any) -> Any:
    """A constant argument, which has to be one."""
    return getattr(element, "value", element)


def _template(function: type, text: str) -> None:
    text = text.replace("%", "%%")

    def compile_it(element: Any, compiler: Any, **kw: Any) -> str:
        return text.format(*_arguments(element, compiler, **kw))

    compiles(function, "clickhouse")(compile_it)


def _null_of(arguments: list[str], said: str) -> str:
    """NULL where an argument is NULL: of functions over lists, which take no NULL."""
    return f"if({' OR '.join(f'({one}) IS NULL' for one in arguments)}, NULL, {said})"


# Parts of paths.


def file_ext(element: Any, compiler: Any, **kw: Any) -> str:
    name = compiler.process(path.name(*element.clauses.clauses), **kw)
    return _null_of(_arguments(element, compiler, **kw), f"if(position({name}, '.') = 0, '', arrayElement(splitByChar('.', {name}), -1))")


def file_stem(element: Any, compiler: Any, **kw: Any) -> str:
    name = compiler.process(path.name(*element.clauses.clauses), **kw)
    return _null_of(_arguments(element, compiler, **kw), f"replaceRegexpOne({name}, '\\\\.+[^.]*\\\\z', '')")


def file_name(element: Any, compiler: Any, **kw: Any) -> str:
    (text,) = _arguments(element, compiler, **kw)
    return _null_of([text], f"arrayElement(splitByChar('/', assumeNotNull({text})), -1)")


# Strings.


def split(element: Any, compiler: Any, **kw: Any) -> str:
    text, separator, *most = element.clauses.clauses
    said = f"{compiler.process(separator, **kw)}, assumeNotNull({compiler.process(text, **kw)})"
    limit = _value(most[0]) if most else -1
    if not isinstance(limit, int):
        raise CompileError("`split` takes a number as its limit, not a column")
    if limit == 0:
        return f"[{compiler.process(text, **kw)}]"
    pieces = f"splitByString({said})" if limit < 0 else f"splitByString({said}, {limit + 1})"
    return f"if({compiler.process(text, **kw)} IS NULL, [], {pieces})"


def regexp_replace(element: Any, compiler: Any, **kw: Any) -> str:
    text, pattern, by = element.clauses.clauses
    known = [_value(pattern), _value(by)]
    if not all(isinstance(one, str) for one in known):
        raise CompileError("`regexp_replace` takes texts as its pattern and replacement, not columns")
    said = [compiler._bound(patterns.replaced(known[0])), compiler._bound(patterns.replacement(known[1]))]
    return f"replaceRegexpAll({compiler.process(text, **kw)}, {said[0]}, {said[1]})"


def byte_hamming_distance(element: Any, compiler: Any, **kw: Any) -> str:
    """Of characters; those that one text has more count too."""
    texts = _arguments(element, compiler, **kw)
    chars = [f"if(empty(assumeNotNull({text})), [], ngrams(assumeNotNull({text}), 1))" for text in texts]
    most = f"greatest(length({chars[0]}), length({chars[1]}))"
    padded = ", ".join(f"arrayResize({one}, {most}, '')" for one in chars)
    return _null_of(texts, f"toInt64(arrayCount((x, y) -> x != y, {padded}))")


def string_hash(element: Any, compiler: Any, **kw: Any) -> str:
    texts = _arguments(element, compiler, **kw)
    joined = f"arrayStringConcat([{', '.join(f'assumeNotNull(toString({text}))' for text in texts)}], '|')"
    return _null_of(texts, f"reinterpretAsInt64(reverse(substring(SHA256({joined}), 1, 8)))")


# Lists.


def _list(clause: Any, compiler: Any, **kw: Any) -> str:
    """A list, which has to be one there: lists of dates, dictionaries, models or optional items are JSON."""
    kind = getattr(clause, "type", None)
    if isinstance(kind, dct.Array) and values.list_type(kind.item_type) is None and isinstance(clause, sa.sql.elements.ColumnClause):
        raise CompileError(f"`{clause.name}` is kept as JSON in ClickHouse, for it is no list of plain numbers or texts: use `map`")
    return compiler.process(clause, **kw)


def _of_list(clause: Any, said: str, compiler: Any, **kw: Any) -> str:
    """NULL where the list is made of a text that is NULL; a list itself never is."""
    while isinstance(clause, array.slice):
        clause = clause.clauses.clauses[0]
    if isinstance(clause, sa.sql.elements.Grouping):
        clause = clause.element
    return _null_of([compiler.process(clause.clauses.clauses[0], **kw)], said) if isinstance(clause, string.split) else said


def array_length(element: Any, compiler: Any, **kw: Any) -> str:
    (whole,) = element.clauses.clauses
    return _of_list(whole, f"toInt64(length({_list(whole, compiler, **kw)}))", compiler, **kw)


def array_contains(element: Any, compiler: Any, **kw: Any) -> str:
    whole, item, *_ = element.clauses.clauses
    if isinstance(_value(item), (list, dict)):
        raise CompileError("`contains` looks for one number or text in ClickHouse: use `map`")
    return _of_list(whole, f"toInt64(has({_list(whole, compiler, **kw)}, {compiler.process(item, **kw)}))", compiler, **kw)


def array_slice(element: Any, compiler: Any, **kw: Any) -> str:
    whole, offset, *length = element.clauses.clauses
    text = _list(whole, compiler, **kw)
    first, count = _value(offset), _value(length[0]) if length else None
    if not isinstance(first, int) or not isinstance(count, (int, type(None))):
        raise CompileError("`slice` takes numbers, not columns")
    # As Python does: from the end below 0, and no more than there is.
    if count is not None and (count < 0 or first < 0):
        raise CompileError("`slice` with a length takes numbers from 0: use `map`")
    begin = f"{first + 1}" if first >= 0 else f"greatest(toInt64(length({text})) - {-first}, 0) + 1"
    return f"arraySlice({text}, {begin})" if count is None else f"arraySlice({text}, {begin}, {count})"


def array_join(element: Any, compiler: Any, **kw: Any) -> str:
    whole, separator = element.clauses.clauses
    return _of_list(whole, f"arrayStringConcat({_list(whole, compiler, **kw)}, {compiler.process(separator, **kw)})", compiler, **kw)


def array_element(element: Any, compiler: Any, **kw: Any) -> str:
    whole, index = element.clauses.clauses
    at = _value(index)
    if not isinstance(at, int):
        raise CompileError("`get_element` takes a number, not a column")
    text = _list(whole, compiler, **kw)
    found = f"arrayElement({text}, {at + 1 if at >= 0 else at})"
    return f"if(length({text}) >= {at + 1 if at >= 0 else -at}, {found}, NULL)"


def _distance(name: str) -> Any:
    def compile_it(element: Any, compiler: Any, **kw: Any) -> str:
        left, right = (_list(clause, compiler, **kw) for clause in element.clauses.clauses)
        said = f"{name}({left}, {right})"
        return f"if(isNaN({said}), NULL, {said})"

    return compile_it


# Several values, several rows.


def _extreme(name: str) -> Any:
    def compile_it(element: Any, compiler: Any, **kw: Any) -> str:
        arguments = _arguments(element, compiler, **kw)
        if not arguments:
            raise TypeError(f"conditional.{name} requires at least 1 argument (0 found)")
        return arguments[0] if len(arguments) == 1 else _null_of(arguments, f"{name}({', '.join(arguments)})")

    return compile_it


def group_concat(element: Any, compiler: Any, **kw: Any) -> str:
    text, *separator = _arguments(element, compiler, **kw)
    return f"arrayStringConcat(groupArray({text}), {separator[0] if separator else repr(',')})"


def collect(element: Any, compiler: Any, **kw: Any) -> str:
    """With those that are NULL, as in SQLite."""
    (text,) = _arguments(element, compiler, **kw)
    return f"arrayMap(one -> one.1, groupArray(tuple({text})))"


def compile_values(element: Any, compiler: Any, **kw: Any) -> str:
    return base_values_compiler(lambda i: f"c{i}", element, compiler, **kw)


def cast(element: Any, compiler: Any, **kw: Any) -> str:
    """As SQLite does: a text is read as far as it is a number, and cut off towards 0."""
    source, target = element.clause.type, element.type
    text = compiler.process(element.clause, **kw)
    if isinstance(target, dct.DateTime):
        dct.validate_datetime_cast_input_type(source)
        if isinstance(source, (dct.String, sa.String)):
            return f"parseDateTime64BestEffortOrNull(toString({text}), 6, 'UTC')"
    elif isinstance(target, dct.String):
        if isinstance(source, dct.Float):
            raise CompileError("ClickHouse prints numbers with a fraction otherwise than Python: use `map`")
        if isinstance(source, dct.Boolean):
            text = f"toUInt8({text})"
    elif isinstance(source, (dct.String, sa.String)) and isinstance(target, (dct.Int, sa.Integer)):
        return f"if({text} IS NULL, NULL, toInt64OrZero(extract({text}, '^\\\\s*([-+]?\\\\d+)')))"
    elif isinstance(source, (dct.String, sa.String)) and isinstance(target, (dct.Float, sa.Float)):
        number = "^\\\\s*([-+]?(?:\\\\d+\\\\.?\\\\d*|\\\\.\\\\d+)(?:[eE][-+]?\\\\d+)?)"
        return f"if({text} IS NULL, NULL, toFloat64OrZero(extract({text}, '{number}')))"
    return f"CAST({text} AS {compiler.dialect.type_compiler_instance.process(target)})"


def register() -> None:
    """Makes them known to SQLAlchemy."""
    for function, text in TEMPLATES:
        _template(function, text)
    own = {
        path.name: file_name,
        path.file_ext: file_ext,
        path.file_stem: file_stem,
        string.split: split,
        string.regexp_replace: regexp_replace,
        string.byte_hamming_distance: byte_hamming_distance,
        string.string_hash: string_hash,
        array.length: array_length,
        array.contains: array_contains,
        array.slice: array_slice,
        array.join: array_join,
        array.get_element: array_element,
        array.cosine_distance: _distance("cosineDistance"),
        array.euclidean_distance: _distance("L2Distance"),
        conditional.greatest: _extreme("greatest"),
        conditional.least: _extreme("least"),
        aggregate.group_concat: group_concat,
        aggregate.collect: collect,
        Values: compile_values,
        sa.Cast: cast,
    }
    for function, compile_it in own.items():
        compiles(function, "clickhouse")(compile_it)
