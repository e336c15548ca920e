"""Names, versions, lineage and jobs of DataChain in PostgreSQL, in the tables that the program `dcfs` reads and writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from datachain.data_storage import AbstractDBMetastore
from datachain.data_storage.schema import DefaultSchema
from datachain.data_storage.serializer import CallableRegistry
from datachain.dataset import DatasetRecord, DatasetVersion
from datachain.error import OutdatedDatabaseSchemaError
from datachain.namespace import Namespace
from datachain.project import Project
from sqlalchemy import BigInteger, Integer, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.schema import CreateIndex

from ._postgres import PostgresEngine


class Metastore(AbstractDBMetastore):
    """The tables of one database: `DATACHAIN_METASTORE=dcfs.datachain.Metastore`, and `DATACHAIN_METASTORE_ARG_URI` its address."""

    db: PostgresEngine

    def __init__(self, uri: str = "", db: PostgresEngine | None = None) -> None:
        self.schema = DefaultSchema()
        self.db = db or PostgresEngine(uri)
        with self._init_guard():
            self._init_tables()

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self.close()

    def clone(self, use_new_connection: bool = False) -> "Metastore":
        return Metastore(db=self.db.clone())

    def clone_params(self) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        return Metastore.init_after_clone, [self.db.uri], {}

    @classmethod
    def init_after_clone(cls, uri: str) -> "Metastore":
        return cls(uri)

    @classmethod
    def serialize_callable_name(cls) -> str:
        return "dcfs.metastore.init_after_clone"

    # Tables.

    @property
    def _tables(self) -> list[Table]:
        return [
            self._namespaces,
            self._projects,
            self._datasets,
            self._datasets_versions,
            self._datasets_dependencies,
            self._jobs,
            self._checkpoints,
            self._checkpoint_events,
            self._dataset_version_jobs,
        ]

    def _init_tables(self) -> None:
        """Makes the tables and the project of listings where they are missing, all or none; tables that exist have to be those of this DataChain."""
        missing = [table for table in self._tables if not self._exists(table)]
        if not missing and self._has_listings():
            return
        with self.db.turn():
            for table in missing:
                self._create(table)
            namespace = self.create_namespace(Namespace.system(), "System namespace", validate=False)
            self.create_project(namespace.name, Project.listing(), "Listing project", validate=False)

    def _exists(self, table: Table) -> bool:
        """Whether there is such a table, which then has every column."""
        columns = self.db.columns(table.name)
        if columns and (lost := {column.name for column in table.columns} - columns):
            raise OutdatedDatabaseSchemaError(
                f"the table `{table.name}` of {self.db.server.database} has no column `{min(lost)}`: an older DataChain made it"
            )
        return bool(columns)

    def _has_listings(self) -> bool:
        """Whether there is the project of listings, in the system's namespace."""
        is_it = (self._namespaces.c.name == Namespace.system()) & (self._projects.c.name == Project.listing())
        return bool(self.db.execute(self._projects_base_query().where(is_it)).fetchall())

    def _create(self, table: Table) -> None:
        for column in table.columns:
            # Keys have 64 bits, as those of `dcfs`.
            if isinstance(column.type, Integer):
                column.type = BigInteger()
        self.db.create_table(table, if_not_exists=True)
        for index in table.indexes:
            self.db.execute(CreateIndex(index, if_not_exists=True))

    @classmethod
    def _datasets_columns(cls) -> list[Any]:
        return [*super()._datasets_columns(), UniqueConstraint("project_id", "name")]

    @classmethod
    def _namespaces_columns(cls) -> list[Any]:
        return [*super()._namespaces_columns(), UniqueConstraint("name")]

    def _namespaces_insert(self) -> Insert:
        return insert(self._namespaces)

    def _projects_insert(self) -> Insert:
        return insert(self._projects)

    def _datasets_insert(self) -> Insert:
        return insert(self._datasets)

    def _datasets_versions_insert(self) -> Insert:
        return insert(self._datasets_versions)

    def _datasets_dependencies_insert(self) -> Insert:
        return insert(self._datasets_dependencies)

    def _jobs_insert(self) -> Insert:
        return insert(self._jobs)

    def _checkpoints_insert(self) -> Insert:
        return insert(self._checkpoints)

    def _checkpoint_events_insert(self) -> Insert:
        return insert(self._checkpoint_events)

    def _dataset_version_jobs_insert(self) -> Insert:
        return insert(self._dataset_version_jobs)

    def _dataset_dependencies_select_columns(self) -> list[Any]:
        return [
            self._namespaces.c.name,
            self._projects.c.name,
            self._datasets_dependencies.c.id,
            self._datasets_dependencies.c.dataset_id,
            self._datasets_dependencies.c.dataset_version_id,
            self._datasets.c.name,
            self._datasets_versions.c.version,
            self._datasets_versions.c.created_at,
            self._datasets_versions.c.status,
        ]

    def _dataset_dependency_nodes_select_columns(self, namespaces_subquery: Any, dependency_tree_cte: Any, datasets_subquery: Any) -> list[Any]:
        return [
            namespaces_subquery.c.name,
            self._projects.c.name,
            dependency_tree_cte.c.id,
            dependency_tree_cte.c.dataset_id,
            dependency_tree_cte.c.dataset_version_id,
            datasets_subquery.c.name,
            self._datasets_versions.c.version,
            self._datasets_versions.c.created_at,
            dependency_tree_cte.c.source_dataset_id,
            dependency_tree_cte.c.source_dataset_version_id,
            dependency_tree_cte.c.depth,
            self._datasets_versions.c.status,
        ]

    @property
    def default_namespace_name(self) -> str:
        return Namespace.default()

    @property
    def default_project_name(self) -> str:
        return Project.default()

    # Versions.

    def create_dataset_version(self, *args: Any, **kwargs: Any) -> tuple[DatasetRecord, bool]:
        """A number is taken in one's turn, as `dcfs` takes its own: neither ever finds its own number taken at the end."""
        with self.db.turn():
            return super().create_dataset_version(*args, **kwargs)

    def update_dataset_version(
        self, dataset: DatasetRecord, version: str, *, expected_status: int | None = None, **kwargs: Any
    ) -> DatasetVersion | None:
        if kwargs.get("preview"):
            kwargs["preview"] = _without_nan(kwargs["preview"])
        return super().update_dataset_version(dataset, version, expected_status=expected_status, **kwargs)


def _without_nan(value: Any) -> Any:
    """With None for numbers that JSON, and so PostgreSQL, does not know, and without NUL, which it does not take."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    if isinstance(value, str):
        return value.replace("\0", "")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def register() -> None:
    """Tells DataChain how both are made anew in another process."""
    CallableRegistry.register(PostgresEngine.from_uri, PostgresEngine.serialize_callable_name())
    CallableRegistry.register(Metastore.init_after_clone, Metastore.serialize_callable_name())


register()
