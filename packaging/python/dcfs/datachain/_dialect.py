"""SQL of ClickHouse for the expressions of SQLAlchemy, with the meaning that DataChain's SQLite gives them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.compiler import GenericTypeCompiler, IdentifierPreparer, SQLCompiler
from sqlalchemy.sql.selectable import CompoundSelect

from . import _patterns as patterns
from . import _values as values

RENAMED = {
    "substr": "substringUTF8",
    "substring": "substringUTF8",
    "instr": "positionUTF8",
    "replace": "replaceAll",
    "random": "rand64",
    "aggregate_strings": "arrayStringConcat",
}
"""Functions of SQL that are called otherwise."""

OTHERWISE = {
    "round": "ClickHouse rounds halves to the even neighbour: use `map`, or floor(x + 0.5)",
    "json_array_length": "use func.array.length",
    "json_extract": "use `map` with a function of Python",
}
"""Functions that mean something else, or nothing, there."""


class Preparer(IdentifierPreparer):
    """Every name is quoted: words of ClickHouse are many, and change."""

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect, initial_quote="`", escape_quote="`")

    def _requires_quotes(self, value: str) -> bool:
        return True

    def _escape_identifier(self, value: str) -> str:
        value = value.replace("\\", "\\\\").replace("`", "\\`")
        return value.replace("%", "%%") if self._double_percents else value


class Types(GenericTypeCompiler):
    """The types that casts name."""

    def process(self, type_: Any, **kw: Any) -> str:
        plain = values.plain_type(type_)
        return plain if plain.startswith("Array") else f"Nullable({plain})"


class Compiler(SQLCompiler):
    """Statements."""

    compound_keywords = {**SQLCompiler.compound_keywords, CompoundSelect.UNION: "UNION DISTINCT"}  # type: ignore[attr-defined]

    def get_select_precolumns(self, select: Any, **kw: Any) -> str:
        if not select._distinct:
            return ""
        if not select._distinct_on:
            return "DISTINCT "
        return "DISTINCT ON (" + ", ".join(self.process(one, **kw) for one in select._distinct_on) + ") "

    def limit_clause(self, select: Any, **kw: Any) -> str:
        text = ""
        if select._limit_clause is not None:
            text += "\n LIMIT " + self.process(select._limit_clause, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text

    def for_update_clause(self, select: Any, **kw: Any) -> str:
        return ""

    def visit_empty_set_expr(self, element_types: Any, **kw: Any) -> str:
        return "NULL"

    def visit_empty_set_op_expr(self, type_: Any, expand_op: Any, **kw: Any) -> str:
        # `x IN ()` is false and `x NOT IN ()` true, whatever x is.
        return "NULL) AND (1 != 1" if expand_op is sa.sql.operators.in_op else "NULL) OR (1 = 1"

    def visit_function(self, func: Any, add_to_result_map: Any = None, **kw: Any) -> str:
        name = func.name.lower()
        packages = getattr(func, "packagenames", ())
        if not packages and name in OTHERWISE:
            raise CompileError(f"`{name}` differs in ClickHouse: {OTHERWISE[name]}")
        if not packages and name in RENAMED:
            return f"{RENAMED[name]}{self.function_argspec(func, **kw)}"
        if not packages and name == "length":
            return f"lengthUTF8({self._cut(self.process(func.clauses, **kw))})"
        if not packages and name == "divide":
            return self._quotient(*func.clauses.clauses, **kw)
        return super().visit_function(func, add_to_result_map, **kw)

    # Operators.

    def visit_truediv_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._quotient(binary.left, binary.right, **kw)

    def visit_floordiv_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        raise CompileError("`//` differs in ClickHouse: use `map` with a function of Python")

    def _quotient(self, left: Any, right: Any, **kw: Any) -> str:
        """NULL by zero, and where it would be no number."""
        quotient = f"{self._inner(left, **kw)} / nullIf({self._inner(right, **kw)}, 0)"
        return f"if(isNaN({quotient}), NULL, {quotient})"

    def visit_mod_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Of whole numbers, as in SQLite; NULL by zero."""
        left, right = (f"toInt64({self._inner(side, **kw)})" for side in (binary.left, binary.right))
        return f"if({right} = 0, NULL, {left} %% if({right} = 0, 1, {right}))"

    def visit_is__binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._same(binary, "IS NULL", "isNotDistinctFrom", **kw)

    def visit_is_not_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._same(binary, "IS NOT NULL", "isDistinctFrom", **kw)

    def _same(self, binary: Any, null: str, function: str, **kw: Any) -> str:
        left = self._inner(binary.left, **kw)
        if isinstance(binary.right, sa.sql.elements.Null):
            return f"{left} {null}"
        right = self._inner(binary.right, **kw)
        same = f"ifNull({left} = {right}, false)"
        return same if function == "isNotDistinctFrom" else f"NOT {same}"

    def visit_is_distinct_from_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"NOT ({self.visit_is_not_distinct_from_binary(binary, operator, **kw)})"

    def visit_is_not_distinct_from_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"({self._inner(binary.left, **kw)}) IS NOT DISTINCT FROM ({self._inner(binary.right, **kw)})"

    def visit_in_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._with_null(binary, operator, **kw)

    def visit_not_in_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._with_null(binary, operator, **kw)

    def _with_null(self, binary: Any, operator: Any, **kw: Any) -> str:
        """A NULL in the list makes a value unknown that is not in it; ClickHouse leaves NULL out."""
        word = "IN" if operator is sa.sql.operators.in_op else "NOT IN"
        listed = getattr(binary.right, "value", None)
        if not isinstance(listed, (list, tuple)):
            return self._generate_generic_binary(binary, f" {word} ", **kw)
        rest = [value for value in listed if value is not None]
        left = self._inner(binary.left, **kw)
        if not rest:
            member = "false" if word == "IN" else "true"
        else:
            member = f"{left} {word} ({', '.join(self._bound(value) for value in rest)})"
        if len(rest) < len(listed):
            member = f"({member} {'OR' if word == 'IN' else 'AND'} NULL)"
        return f"({member})"

    # Patterns.

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} LIKE {}", "", "", **kw)

    def visit_not_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} NOT LIKE {}", "", "", **kw)

    def visit_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "lower({}) LIKE lower({})", "", "", **kw)

    def visit_not_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "lower({}) NOT LIKE lower({})", "", "", **kw)

    def visit_contains_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} LIKE {}", "%", "%", **kw)

    def visit_not_contains_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} NOT LIKE {}", "%", "%", **kw)

    def visit_startswith_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} LIKE {}", "", "%", **kw)

    def visit_not_startswith_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} NOT LIKE {}", "", "%", **kw)

    def visit_endswith_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} LIKE {}", "%", "", **kw)

    def visit_not_endswith_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "{} NOT LIKE {}", "%", "", **kw)

    def visit_icontains_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "lower({}) LIKE lower({})", "%", "%", **kw)

    def visit_istartswith_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "lower({}) LIKE lower({})", "", "%", **kw)

    def visit_iendswith_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like(binary, "lower({}) LIKE lower({})", "%", "", **kw)

    def _like(self, binary: Any, form: str, before: str, behind: str, **kw: Any) -> str:
        escape = binary.modifiers.get("escape")
        right = binary.right
        left = self._cut(self._inner(binary.left, **kw))
        known = getattr(right, "value", None)
        if isinstance(known, str):
            pattern = self._bound(patterns.like(before + known + behind, escape))
        elif escape is not None:
            raise CompileError("a pattern with an escape character has to be a text, not another column")
        else:
            whole = ", ".join([self._bound(before), self._inner(right, **kw), self._bound(behind)])
            backslash, twice = self._bound("\\"), self._bound("\\\\")
            pattern = f"replaceAll(concat({whole}), {backslash}, {twice})"
        return f"({form.format(left, pattern)})"

    def visit_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._match(binary, patterns.regexp, **kw)

    def visit_not_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"NOT {self._match(binary, patterns.regexp, **kw)}"

    def visit_custom_op_binary(self, element: Any, operator: Any, **kw: Any) -> str:
        word = operator.opstring.upper()
        translate = {"GLOB": patterns.glob, "REGEXP": patterns.regexp}.get(word.removeprefix("NOT "))
        if translate is None:
            return super().visit_custom_op_binary(element, operator, **kw)
        said = self._match(element, translate, **kw)
        return f"NOT {said}" if word.startswith("NOT ") else said

    def _match(self, binary: Any, translate: Any, **kw: Any) -> str:
        pattern = getattr(binary.right, "value", None)
        if not isinstance(pattern, str):
            raise CompileError("a pattern has to be a text, not another column")
        if flags := (binary.modifiers or {}).get("flags"):
            pattern = f"(?{flags}){pattern}"
        left = self._inner(binary.left, **kw)
        return f"match({self._cut(left) if translate is patterns.glob else left}, {self._bound(translate(pattern))})"

    @staticmethod
    def _cut(text: str) -> str:
        """Up to its first NUL, where it ends for LIKE, GLOB and `length` of SQLite."""
        return f"substringIndex({text}, '\\0', 1)"

    def _inner(self, element: Any, **kw: Any) -> str:
        """An operand, in brackets where it is no name or value."""
        text = self.process(element, **kw)
        is_plain = isinstance(element, (sa.sql.elements.ColumnClause, sa.sql.elements.BindParameter))
        return text if is_plain else f"({text})"

    def _bound(self, value: Any) -> str:
        """A value beside those of the expression."""
        return self.process(sa.bindparam(None, value, type_=sa.types.NullType(), unique=True))


class Dialect(DefaultDialect):
    """Of this package alone: SQLAlchemy never connects by it."""

    name = "clickhouse"
    statement_compiler = Compiler
    preparer = Preparer
    type_compiler_cls = Types
    supports_native_boolean = True
    cte_follows_insert = True
    supports_statement_cache = False
    max_identifier_length = 200
    insert_returning = False

    def __init__(self) -> None:
        super().__init__(paramstyle="pyformat")
