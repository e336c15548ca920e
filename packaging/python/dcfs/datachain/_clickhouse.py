"""A connection to ClickHouse, as DataChain asks of a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import clickhouse_connect
import sqlalchemy as sa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from datachain.data_storage.db_engine import DatabaseEngine
from datachain.error import DataChainError, TableMissingError, TableRenameError
from datachain.sql.types import Binary
from sqlalchemy.sql.elements import ClauseElement

from . import _address as address
from . import _trust as trust
from . import _values as values
from ._dialect import Dialect
from ._rows import Rows

SETTINGS = {
    # Rows without a partner have NULL, and so has a sum of no rows.
    "join_use_nulls": 1,
    "aggregate_functions_null_for_empty": 1,
    # A name is a column before it is another expression of the same SELECT.
    "prefer_column_name_to_alias": 1,
    "splitby_max_substrings_includes_remaining_string": 1,
    # Lists of ids are long.
    "max_query_size": 256 << 20,
    "max_ast_elements": 10_000_000,
    "max_expanded_ast_elements": 10_000_000,
    # What was inserted is there.
    "async_insert": 0,
    "lightweight_deletes_sync": 2,
}

TOO_LARGE_TO_DROP = 359
"""The server's code for a table with more than `max_table_size_to_drop` bytes."""


class ClickHouseEngine(DatabaseEngine):
    """One database. The connection is made when it is first needed, and again after `close`."""

    dialect: ClassVar[Any] = Dialect()

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.server = address.warehouse(uri)
        self.metadata = sa.MetaData()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            server = self.server
            try:
                self._client = clickhouse_connect.get_client(
                    host=server.host,
                    port=server.port,
                    username=server.user or "default",
                    password=address.clickhouse_password(),
                    database=server.database,
                    interface="https" if server.secure else "http",
                    verify=True,
                    ca_cert=trust.bundle() if server.secure else None,
                    autogenerate_session_id=False,
                    client_name="dcfs",
                    connect_timeout=10,
                    send_receive_timeout=3600,
                    settings=SETTINGS,
                )
            except ClickHouseError as error:
                raise DataChainError(f"ClickHouse at {server.host}:{server.port}: {error}") from error
        return self._client

    @classmethod
    def from_uri(cls, uri: str) -> "ClickHouseEngine":
        return cls(uri)

    def clone(self) -> "ClickHouseEngine":
        return ClickHouseEngine(self.uri)

    def clone_params(self) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        return ClickHouseEngine.from_uri, [self.uri], {}

    @classmethod
    def serialize_callable_name(cls) -> str:
        return "dcfs.clickhouse.from_uri"

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def transaction(self) -> Iterator["ClickHouseEngine"]:
        """There are none: whoever needs all or nothing renames a table that is complete."""
        yield self

    # Statements.

    def text(self, statement: ClauseElement) -> str:
        """A statement with its values."""
        compiled = self.compile(statement)
        return compiled.string % {name: values.literal(value) for name, value in compiled.params.items()}

    def execute(self, query: Any) -> Rows:
        if not query.is_selectable:
            return self.execute_str(self.text(query))
        is_bytes = {column.name: "bytes" for column in query.selected_columns if isinstance(column.type, Binary)}
        answer = self.client.query(self.text(query), column_formats=is_bytes, query_formats={"DateTime64": "int"}, column_oriented=True)
        columns = list(answer.result_columns)
        for at, kind in enumerate(answer.column_types):
            if "DateTime64(" in kind.name and not kind.name.startswith("Array"):
                scale = values.scale_of(kind.name)
                columns[at] = [values.moment(value, scale) for value in columns[at]]
        return Rows(list(zip(*columns)))

    def execute_str(self, sql: str, parameters: Any = None) -> Rows:
        if parameters:
            sql %= {name: values.literal(value) for name, value in parameters.items()}
        if sql.startswith(("SELECT", "DESCRIBE", "EXISTS")):
            return Rows(self.client.query(sql).result_rows)
        self.client.command(sql)
        return Rows()

    def executemany(self, sql: str, params: Any) -> None:
        for one in params:
            self.execute_str(sql, one)

    def types(self, query: ClauseElement) -> dict[str, str]:
        """The types of a query's columns."""
        return {row[0]: row[1] for row in self.execute_str(f"DESCRIBE TABLE ({self.text(query)})")}

    def insert(self, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds rows to a table, in one block."""
        known = self.columns(table.name)
        names = [known[name] for name in columns]
        kinds = [table.c[name].type for name in columns]
        data = values.sent(columns, names, kinds, rows)
        self.client.insert(
            self.quoted(table.name), data, column_names=list(columns), column_type_names=names, column_oriented=True
        )

    def insert_dataframe(self, table_name: str, df: Any) -> int:
        self.insert(self.get_table(table_name), list(df.columns), list(df.itertuples(index=False, name=None)))
        return len(df)

    # Tables.

    def quoted(self, name: str) -> str:
        return self.dialect.identifier_preparer.quote(name).replace("%%", "%")

    def columns(self, table: str) -> dict[str, str]:
        """The columns of a table and their types, in its order."""
        sql = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = %(table)s ORDER BY position"
        return dict(self.execute_str(sql, {"table": table}))

    def get_table(self, name: str) -> sa.Table:
        table = self.metadata.tables.get(name)
        if table is None:
            columns = self.columns(name)
            if not columns:
                raise TableMissingError(f"Table '{name}' not found")
            table = sa.Table(name, self.metadata, *(sa.Column(column, values.read_type(kind)) for column, kind in columns.items()))
        return table

    def has_table(self, name: str) -> bool:
        return bool(next(self.execute_str(f"EXISTS TABLE {self.quoted(name)}"))[0])

    def list_tables(self, pattern: str = "") -> list[str]:
        return self.tables(pattern)

    def tables(self, pattern: str = "", idle: int = 0) -> list[str]:
        """Tables by a pattern of LIKE, which were not changed for so many seconds."""
        sql = "SELECT name FROM system.tables WHERE database = currentDatabase()"
        if pattern:
            sql += " AND name LIKE %(pattern)s"
        if idle:
            sql += " AND metadata_modification_time < now() - %(idle)s"
        return [row[0] for row in self.execute_str(sql, {"pattern": pattern, "idle": idle})]

    def create_table(self, table: sa.Table, if_not_exists: bool = True, *, kind: str | None = None) -> None:
        """As `dcfs` makes them. Rows that come without an id get one that grows."""
        made = {"sys__id": " DEFAULT generateSnowflakeID()", "sys__rand": " DEFAULT bitShiftRight(rand64(), 1)"}
        columns = (f"{self.quoted(column.name)} {values.column_type(column)}{made.get(column.name, '')}" for column in table.columns)
        exists = "IF NOT EXISTS " if if_not_exists else ""
        self.client.command(f"CREATE TABLE {exists}{self.quoted(table.name)} ({', '.join(columns)}) ENGINE = MergeTree ORDER BY sys__id")

    def drop_table(self, table: sa.Table, if_exists: bool = False) -> None:
        sql = f"DROP TABLE {'IF EXISTS ' if if_exists else ''}{self.quoted(table.name)}"
        try:
            self.client.command(sql)
        except ClickHouseError as error:
            if getattr(error, "code", None) != TOO_LARGE_TO_DROP:
                raise
            self.client.command(sql, settings={"max_table_size_to_drop": 0})
        self.forget(table.name)

    def rename_table(self, old_name: str, new_name: str) -> None:
        try:
            self.client.command(f"RENAME TABLE {self.quoted(old_name)} TO {self.quoted(new_name)}")
        except ClickHouseError as error:
            raise TableRenameError(f"Failed to rename table from '{old_name}' to '{new_name}': {error}") from error
        self.forget(old_name)

    def forget(self, name: str) -> None:
        """Drops what is remembered of a table."""
        if name in self.metadata.tables:
            self.metadata.remove(self.metadata.tables[name])


