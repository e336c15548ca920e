"""Rows of DataChain in ClickHouse, in the tables that the program `dcfs` reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import sqlalchemy as sa
from datachain.data_storage import AbstractWarehouse
from datachain.data_storage.buffer import InsertBuffer
from datachain.data_storage.schema import DefaultSchema
from datachain.data_storage.serializer import CallableRegistry
from datachain.dataset import DatasetRecord, StorageURI
from datachain.sql import types as dct
from datachain.utils import batched_it
from sqlalchemy.sql.selectable import Select

from . import _functions, _values
from ._clickhouse import ClickHouseEngine

PAGE = 100_000
"""Rows that are fetched at once."""

IDLE = 24 * 3600
"""Seconds after which a temporary table belongs to nobody: another host may be at work on a younger one."""

NUMBERED = "__dcfs_"
"""Begins the names of columns that are there only while rows are numbered."""


class Warehouse(AbstractWarehouse):
    """The tables of one database: `DATACHAIN_WAREHOUSE=dcfs.datachain.Warehouse`, and `DATACHAIN_WAREHOUSE_ARG_URI` its address."""

    db: ClickHouseEngine

    INSERT_BATCH_SIZE = 50_000

    def __init__(self, uri: str = "", db: ClickHouseEngine | None = None) -> None:
        super().__init__()
        self.schema = DefaultSchema()
        self.db = db or ClickHouseEngine(uri)
        self.buffers = {}

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.close()

    def clone(self, use_new_connection: bool = False) -> "Warehouse":
        return Warehouse(db=self.db.clone())

    def clone_params(self) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        return Warehouse.init_after_clone, [self.db.uri], {}

    @classmethod
    def init_after_clone(cls, uri: str) -> "Warehouse":
        return cls(uri)

    @classmethod
    def serialize_callable_name(cls) -> str:
        return "dcfs.warehouse.init_after_clone"

    # Tables.

    def create_dataset_rows_table(self, name: str, columns: Sequence[sa.Column[Any]] = (), if_not_exists: bool = True) -> sa.Table:
        if if_not_exists and self.db.has_table(name):
            return self.db.get_table(name)
        self.db.forget(name)
        table = self.schema.dataset_row_cls.new_table(name, columns=columns, metadata=self.db.metadata)
        self.db.create_table(table, if_not_exists=if_not_exists)
        return table

    def get_table(self, name: str) -> sa.Table:
        self.db.forget(name)
        return self.db.get_table(name)

    def get_dataset_sources(self, dataset: DatasetRecord, version: str) -> list[StorageURI]:
        rows = self.dataset_rows(dataset, version)
        return [StorageURI(row[0]) for row in self.db.execute(rows.select(rows.c("source", column="file")).distinct())]

    def get_temp_table_names(self) -> list[str]:
        return self.db.tables(self.TMP_TABLE_NAME_PREFIX.replace("_", "\\_") + "%", idle=IDLE)

    def cleanup_tables(self, names: Iterable[str]) -> None:
        for name in set(names):
            self.db.drop_table(sa.Table(name, sa.MetaData()), if_exists=True)

    def export_dataset_table(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("ClickHouse does not export tables for DataChain: use `dcfs show --format parquet`")

    # Rows into tables.

    def get_buffer(self, table: sa.Table, columns: Sequence[str], buffer_size: int, flush_interval: float) -> InsertBuffer[Any]:
        if table.name not in self.buffers:
            self.buffers[table.name] = InsertBuffer(table, columns, self._insert, buffer_size, flush_interval=flush_interval)
        return self.buffers[table.name]

    def _insert(self, table: sa.Table, columns: Sequence[str], entries: list[tuple[Any, ...]], **_: Any) -> None:
        if not columns:
            columns, entries = ["sys__rand"], [(number,) for number, _ in enumerate(entries)]
        self.db.insert(table, columns, entries)

    def insert_into(
        self,
        table: sa.Table,
        query: Select[Any],
        progress_cb: Callable[[int], None] | None = None,
        preserve_sys_ids: bool = False,
    ) -> None:
        """Rows never leave the server. New ids are 1 and so on, in the query's order, then that of the present ids."""
        if not (preserve_sys_ids and "sys__id" in query.selected_columns):
            query = self._numbered(query)
        known, found = self.db.columns(table.name), self.db.types(query)
        source = query.subquery()
        names = [column.name for column in source.c if column.name in known]
        chosen = [self._stored(source.c[name], found[name], known[name]).label(name) for name in names]
        before = self.table_rows_count(table) if progress_cb else 0
        self.db.execute(table.insert().from_select(names, sa.select(*chosen)))
        if progress_cb:
            progress_cb(self.table_rows_count(table) - before)

    def _stored(self, column: Any, found: str, wanted: str) -> Any:
        """A value of one type for a column of another."""
        if wanted.startswith("Array"):
            return column if found.startswith("Array") else sa.func.JSONExtract(sa.func.ifNull(column, "[]"), wanted)
        if "String" in wanted and found.startswith(("Array", "Map", "Tuple")):
            return sa.func.toJSONString(column)
        if "Float" in found and not found.startswith("Array"):
            return sa.case((sa.func.isNaN(column), None), else_=column)
        return column

    def _numbered(self, query: Select[Any]) -> Select[Any]:
        """The same rows with new ids."""
        if not isinstance(query, Select):
            query = sa.select(*query.subquery().c)
        query, columns = self._flat(query)
        kept = [column for column in columns if column.name != "sys__id"]
        order = list(query._order_by_clauses)
        if (own := query.selected_columns.get("sys__id")) is not None:
            order.append(own)
        number = sa.func.row_number().over(order_by=order or None).label(f"{NUMBERED}number")
        first, most = query._offset or 0, query._limit
        source = query.order_by(None).limit(None).offset(None).with_only_columns(number, *kept).subquery()
        place = source.c[f"{NUMBERED}number"]
        columns = [source.c[column.name] for column in kept]
        numbered = sa.select(sa.cast(place - first if first else place, dct.UInt64()).label("sys__id"), *columns)
        if first:
            numbered = numbered.where(place > first)
        if most is not None:
            numbered = numbered.where(place <= first + most)
        return numbered

    def _flat(self, query: Select[Any]) -> tuple[Select[Any], list[Any]]:
        """The same rows in the same order, without groups, and the columns of `query` among those of the result.

        Groups have an order as in SQLite: the one asked for, then that of their keys, with NULL first.
        """
        columns = list(query.selected_columns)
        keys = list(query._distinct_on or query._group_by_clause.clauses)
        if not keys and (query._distinct or ("sys__id" not in query.selected_columns and _is_of_groups(query))):
            keys = columns
        if not keys:
            return query, columns
        names = {column.name for column in columns}
        hidden: list[Any] = []

        def name_of(expression: Any) -> str:
            """The name of a column with the values of an expression, which is added if there is none."""
            if isinstance(expression, (sa.Label, sa.sql.elements.ColumnClause)) and expression.name in names:
                return expression.name
            hidden.append(expression.label(f"{NUMBERED}{len(hidden)}"))
            return hidden[-1].name

        order = [_parts(clause) for clause in query._order_by_clauses]
        by_keys = [(_parts(key)[0], [sa.nulls_first]) for key in keys]
        named = [(name_of(expression), modifiers) for expression, modifiers in order + by_keys]
        inner = query.limit(None).offset(None).add_columns(*hidden)
        if not query._distinct:
            inner = inner.order_by(None)
        elif order and (own := query.selected_columns.get("sys__id")) is not None:
            # The order also decides which of the rows with one key is kept.
            inner = inner.order_by(own)
        source = inner.subquery()
        clauses = [reduce(lambda clause, modify: modify(clause), modifiers, source.c[name]) for name, modifiers in named]
        flat = sa.select(*source.c).order_by(*clauses).limit(query._limit).offset(query._offset)
        return flat, [source.c[column.name] for column in columns]

    # Rows out of tables.

    def normalize_limit_offset(self, query: Any) -> Any:
        """The first rows are those with the lowest ids, as in SQLite, where no other order is asked for."""
        if getattr(query, "_limit_clause", None) is None and getattr(query, "_offset_clause", None) is None:
            return query
        return self._ordered(query)

    def _ordered(self, query: Any) -> Any:
        """With ids as the last key of the order, where rows have them; groups in their order."""
        if not isinstance(query, Select) or query._distinct:
            return query
        own = query.selected_columns.get("sys__id")
        if own is None or query._group_by_clause.clauses:
            flat, columns = self._flat(query)
            return flat.with_only_columns(*columns)
        if any(one is own or getattr(one, "name", None) == "sys__id" for one in query._order_by_clauses):
            return query
        return query.order_by(own)

    def dataset_rows_select(self, query: Any, **kwargs: Any) -> Iterator[tuple[Any, ...]]:
        """In pages, in the order of ids where there is no other."""
        if not self._is_paged(query):
            yield from super().dataset_rows_select(self._ordered(query), **kwargs)
            return
        at = [column.name for column in query.selected_columns].index("sys__id")
        source, last = query.subquery(), None
        while True:
            page = sa.select(*source.c).order_by(source.c.sys__id).limit(PAGE)
            if last is not None:
                page = page.where(source.c.sys__id > last)
            found = 0
            for row in super().dataset_rows_select(page, **kwargs):
                found, last = found + 1, row[at]
                yield row
            if found < PAGE:
                return

    def _is_paged(self, query: Any) -> bool:
        """Whether ids tell where a page ends: a table's own, each once."""
        if not isinstance(query, Select) or query._distinct or query._order_by_clauses or query._group_by_clause.clauses:
            return False
        names = [column.name for column in query.selected_columns]
        return query._limit_clause is None and query._offset_clause is None and names.count("sys__id") == 1 and len(set(names)) == len(names)

    def dataset_select_paginated(self, query: Any, page_size: int = PAGE) -> Generator[Sequence[Any], None, None]:
        with self.clone() as warehouse:
            yield from warehouse.dataset_rows_select(query)

    def dataset_rows_select_from_ids(self, query: Any, ids: Iterable[Any], is_batched: bool) -> Iterator[Any]:
        if is_batched:
            yield from super().dataset_rows_select_from_ids(query, ids, is_batched)
            return
        for some in batched_it(ids, PAGE // 10):
            yield from super().dataset_rows_select_from_ids(query, list(some), is_batched)

    def instr(self, source: Any, target: Any) -> sa.ColumnElement[Any]:
        return sa.cast(sa.func.positionUTF8(source, target), sa.Boolean)

    def prefix_match(self, col: sa.ColumnElement[Any], prefix: str) -> sa.ColumnElement[Any]:
        return sa.func.startsWith(col, prefix, type_=sa.Boolean)

    def python_type(self, col_type: Any) -> Any:
        return col_type.python_type

    # Queries.

    def join(self, left: Any, right: Any, onclause: Any, inner: bool = True, full: bool = False, columns: Any = None) -> Select[Any]:
        """In the order of the rows on the left, then of those on the right, as in SQLite."""
        joined = sa.select(*columns).select_from(sa.join(left, right, onclause, isouter=not inner, full=full))
        return joined.order_by(*(side.c.sys__id for side in (left, right) if "sys__id" in side.c))

    def _system_row_number_expr(self) -> sa.ColumnElement[Any]:
        return sa.func.row_number().over()

    def _system_random_expr(self) -> sa.ColumnElement[Any]:
        return self._system_row_number_expr() * 1103515245 + 12345

    def create_pre_udf_table(self, query: Select[Any], name: str) -> sa.Table:
        columns = [sa.Column(column.name, column.type) for column in query.selected_columns]
        return self.create_table_from_query(name, query, create_fn=lambda made: self.create_udf_table(columns, name=made))


MODIFIERS: dict[Any, Callable[[Any], Any]] = {
    sa.sql.operators.asc_op: sa.asc,
    sa.sql.operators.desc_op: sa.desc,
    sa.sql.operators.nulls_first_op: sa.nulls_first,
    sa.sql.operators.nulls_last_op: sa.nulls_last,
}


def _parts(clause: Any) -> tuple[Any, list[Any]]:
    """The expression of a clause of ORDER BY, and what is applied to it, from the inside out."""
    modifiers: list[Any] = []
    while True:
        if isinstance(clause, sa.sql.elements.UnaryExpression) and clause.modifier in MODIFIERS:
            modifiers.insert(0, MODIFIERS[clause.modifier])
        elif isinstance(clause, sa.sql.elements._textual_label_reference):
            return sa.column(clause.element), modifiers
        elif not isinstance(clause, sa.sql.elements._label_reference):
            return clause, modifiers
        clause = clause.element


def _is_of_groups(query: Any) -> bool:
    """Whether rows are made of groups, through any number of subqueries that have no order."""
    while isinstance(query, Select):
        if query._group_by_clause.clauses:
            return True
        source, *more = {*query._from_obj, *query.columns_clause_froms} or [None]
        query = source.element if isinstance(source, sa.Subquery) and not more else None
        if isinstance(query, Select) and query._order_by_clauses:
            return False
    return False


def register() -> None:
    """Tells DataChain and SQLAlchemy how ClickHouse is written, once."""
    _values.register()
    _functions.register()
    CallableRegistry.register(ClickHouseEngine.from_uri, ClickHouseEngine.serialize_callable_name())
    CallableRegistry.register(Warehouse.init_after_clone, Warehouse.serialize_callable_name())


register()
