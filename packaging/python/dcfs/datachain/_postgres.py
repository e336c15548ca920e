"""A connection to PostgreSQL, as DataChain asks of a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg
import sqlalchemy as sa
from datachain.data_storage.db_engine import DatabaseEngine
from datachain.error import DataChainError, TableMissingError, TableRenameError
from psycopg.types.json import JsonDumper
from psycopg.types.string import TextLoader
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.schema import CreateTable, DropTable

from . import _address as address
from . import _trust as trust
from ._rows import Rows

TURN = 0x64636673
"""The number under which writers of `dcfs` take turns ("dcfs")."""

SYSTEM_AUTHORITIES = 160000
"""The version of libpq that takes `system` for a file of authorities."""

ENDED = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown, psycopg.errors.IdleSessionTimeout)
"""Errors by which a server ends a session."""


def _tls(server: address.Server) -> dict[str, str]:
    """The options of libpq that mean what `dcfs` does: a certificate is always checked, and so is its host name."""
    if not server.secure:
        return {"sslmode": "disable"}
    authorities = trust.bundle()
    if authorities is None and psycopg.pq.version() < SYSTEM_AUTHORITIES:
        raise DataChainError("this libpq reads certificate authorities only from one file: set SSL_CERT_FILE instead of SSL_CERT_DIR")
    return {"sslmode": "verify-full", "sslrootcert": authorities or "system"}


class PostgresEngine(DatabaseEngine):
    """One database. JSON is text, as DataChain reads it in SQLite; times are in UTC.

    The connection is made when it is first needed, and again after `close` or when it was lost between two statements.
    Only a statement shows that it was lost: a read is then repeated once, and a write or a transaction is preceded by a
    read. If the connection is lost during a write or in a transaction, the error is raised, and nothing is repeated.
    """

    dialect: ClassVar[Any] = PGDialect_psycopg()

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.server = address.metastore(uri)
        self.metadata = sa.MetaData()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._transactions = 0

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        # The rest of a transaction never goes to another session.
        if self._connection is None or (self._connection.closed and not self._transactions):
            server = self.server
            try:
                self._connection = psycopg.connect(
                    host=server.host,
                    port=server.port,
                    dbname=server.database,
                    user=server.user,
                    gssencmode="disable",
                    **_tls(server),
                    application_name="datachain",
                    connect_timeout=10,
                    options="-c timezone=UTC",
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                raise DataChainError(f"PostgreSQL at {server.host}:{server.port}: {error}") from error
            for kind in ("json", "jsonb"):
                self._connection.adapters.register_loader(kind, TextLoader)
            self._connection.adapters.register_dumper(dict, JsonDumper)
        return self._connection

    @classmethod
    def from_uri(cls, uri: str) -> "PostgresEngine":
        return cls(uri)

    def clone(self) -> "PostgresEngine":
        return PostgresEngine(self.uri)

    def clone_params(self) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        return PostgresEngine.from_uri, [self.uri], {}

    @classmethod
    def serialize_callable_name(cls) -> str:
        return "dcfs.postgres.from_uri"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        self._revive()
        with self.connection.transaction():
            self._transactions += 1
            try:
                yield self.connection
            finally:
                self._transactions -= 1

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A transaction after those of all other writers."""
        with self.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [TURN])
            yield

    def execute(self, query: Any) -> Rows:
        return self.execute_str(*self.compile_to_args(query))

    def execute_str(self, sql: str, parameters: Any = None) -> Rows:
        if not sql.startswith("SELECT"):
            self._revive()
            return self._execute(sql, parameters)
        try:
            return self._execute(sql, parameters)
        except psycopg.OperationalError as error:
            if not self._closes(error):
                raise
            return self._execute(sql, parameters)

    def _execute(self, sql: str, parameters: Any) -> Rows:
        cursor = self.connection.execute(sql, parameters)  # type: ignore[arg-type]
        return Rows(cursor.fetchall() if cursor.description else (), cursor.rowcount)

    def _revive(self) -> None:
        """Connects again if the connection was lost since the last statement, unless in a transaction."""
        if self._connection is not None and not self._transactions:
            self.execute_str("SELECT 1")

    def _closes(self, error: psycopg.OperationalError) -> bool:
        """Closes the connection if an error ended it, unless in a transaction; whether it did."""
        if self._transactions or self._connection is None:
            return False
        if not self._connection.closed and not isinstance(error, ENDED):
            return False
        self.close()
        return True

    def executemany(self, sql: str, params: Any) -> None:
        self._revive()
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, params)  # type: ignore[arg-type]

    def insert_dataframe(self, table_name: str, df: Any) -> int:
        raise NotImplementedError("rows are kept in the warehouse")

    # Tables.

    def columns(self, table: str) -> set[str]:
        """The columns of a table, of the first schema of the search path that has it."""
        sql = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped"
        return {name for (name,) in self.execute_str(sql, {"table": self.dialect.identifier_preparer.quote(table)})}

    def get_table(self, name: str) -> sa.Table:
        if name not in self.metadata.tables:
            raise TableMissingError(f"Table '{name}' not found")
        return self.metadata.tables[name]

    def has_table(self, name: str) -> bool:
        return bool(self.columns(name))

    def list_tables(self, pattern: str = "") -> list[str]:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE %(pattern)s"
        return [name for (name,) in self.execute_str(sql, {"pattern": pattern or "%"})]

    def create_table(self, table: sa.Table, if_not_exists: bool = True, *, kind: str | None = None) -> None:
        self.execute(CreateTable(table, if_not_exists=if_not_exists))

    def drop_table(self, table: sa.Table, if_exists: bool = False) -> None:
        self.execute(DropTable(table, if_exists=if_exists))

    def rename_table(self, old_name: str, new_name: str) -> None:
        raise TableRenameError("tables of names are never renamed")
