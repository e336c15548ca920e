"""Catalogs of any size as DataChain 0.62 writes them, straight in SQLite: one dataset, one File column."""

import hashlib
import json
import sqlite3
import uuid
from pathlib import Path

DDL = Path(__file__).parent.parent / "it" / "support" / "catalog.sql"
NOW = "2026-11-20 10:00:00"

FIELDS = {
    "source": ("str", "VARCHAR", "String"),
    "path": ("str", "VARCHAR", "String"),
    "size": ("int", "INTEGER", "Int64"),
    "version": ("str", "VARCHAR", "String"),
    "etag": ("str", "VARCHAR", "String"),
    "is_latest": ("bool", "BOOLEAN", "Boolean"),
    "last_modified": ("datetime", "DATETIME", "DateTime"),
    "location": ("Union[dict, list[dict], NoneType]", "JSON", "JSON"),
}


def _hex(number, digits):
    return hashlib.blake2b(number.to_bytes(8, "little"), digest_size=digits // 2).hexdigest()


def _uuid(number):
    return str(uuid.UUID(_hex(number, 32)))


SHAPES = {
    "sequential": lambda n, total: f"img_{n:08}.jpg",
    "class/hash": lambda n, total: f"n{1440764 + n * 1000 // total:08}/{_hex(n, 16)}.jpg",
    "uuid": lambda n, total: f"{_uuid(n)}.jpg",
    "folders": lambda n, total: f"images/{n % 37:02}/photo_{n:07}.jpg",
}


# What a typed catalog has beside its File: `(type, declared, type in `schema`, the value of row n)`.
TYPED = {
    "width": ("int", "INTEGER", "Int64", lambda n: 100 + n * 7919 % 900),
    "height": ("int", "INTEGER", "Int64", lambda n: 100 + n * 104729 % 900),
    "score": ("float", "FLOAT", "Float", lambda n: (n * 7919 % 1000003) / 1000003),
    "label": ("str", "VARCHAR", "String", lambda n: f"class_{n * 31 % 100:02}"),
}


def _schemas(columns):
    """`feature_schema` and `schema` of a version with one File and more columns."""
    model = {
        "schema_version": 2,
        "name": "File@v1",
        "fields": {name: kind for name, (kind, _, _) in FIELDS.items()},
        "bases": [
            ["File", "datachain.lib.file", "File@v1"],
            ["DataModel", "datachain.lib.data_model", "DataModel@v1"],
        ],
        "hidden_fields": [name for name in FIELDS if name not in ("path", "size")],
    }
    typed = {name: kind for name, (kind, *_) in columns.items()}
    features = {"file": "File@v1", **typed, "_custom_types": {"File@v1": model}}
    types = {f"file__{name}": {"type": kind} for name, (_, _, kind) in FIELDS.items()}
    types |= {name: {"type": kind} for name, (_, _, kind, _) in columns.items()}
    return json.dumps(features), json.dumps(types)


def make(folder, shape, count, columns=None):
    """Makes `folder/.datachain/db` with `bench@1.0.0` of `count` rows; their paths in row order.

    `columns` are more columns than the File, as in `TYPED`.
    """
    columns = columns or {}
    database = Path(folder) / ".datachain" / "db"
    database.parent.mkdir(parents=True)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + DDL.read_text())
    declared = [f"file__{name} {kind}" for name, (_, kind, _) in FIELDS.items()]
    declared = ", ".join(declared + [f"{name} {kind}" for name, (_, kind, *_) in columns.items()])
    connection.execute(
        "CREATE TABLE ds_local_local_bench_1_0_0 (sys__id INTEGER NOT NULL, "
        f"sys__rand INTEGER DEFAULT (abs(random())) NOT NULL, {declared}, PRIMARY KEY (sys__id))"
    )
    path = SHAPES[shape]
    more = [value for *_, value in columns.values()]
    rows = (
        ("s3://bench", path(n, count), 1000 + n % 1000, _hex(n, 32), *(value(n) for value in more))
        for n in range(count)
    )
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO ds_local_local_bench_1_0_0 (file__source, file__path, file__size, file__version, "
        f"file__etag, file__is_latest, file__last_modified{''.join(f', {name}' for name in columns)}) "
        f"VALUES (?, ?, ?, '', ?, 1, '{NOW}'{', ?' * len(columns)})",
        rows,
    )
    _register(connection, count, columns)
    connection.execute("COMMIT")
    connection.close()
    return database


def _insert(connection, table, **cells):
    names, marks = ", ".join(cells), ", ".join("?" * len(cells))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(cells.values()))


def _register(connection, count, columns):
    features, types = _schemas(columns)
    texts = dict.fromkeys(("error_message", "error_stack", "script_output", "sources", "query_script"), "")
    shared = dict(status=4, feature_schema=features, schema=types, created_at=NOW, finished_at=NOW, **texts)
    connection.execute("INSERT OR IGNORE INTO meta VALUES (1, 1)")
    _insert(connection, "namespaces", id=9, uuid=str(uuid.uuid4()), name="local", created_at=NOW)
    _insert(connection, "projects", id=9, uuid=str(uuid.uuid4()), name="local", namespace_id=9)
    _insert(connection, "datasets", id=1, uuid=str(uuid.uuid4()), project_id=9, name="bench", attrs="[]", **shared)
    _insert(
        connection, "datasets_versions", id=1, uuid=str(uuid.uuid4()), dataset_id=1, version="1.0.0",
        num_objects=count, size=0, preview="[]", pending_metadata_drop=0, **shared,
    )


def paths(database):
    """Every `(path, size)` of a made catalog, in row order."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        yield from connection.execute("SELECT file__path, file__size FROM ds_local_local_bench_1_0_0")
