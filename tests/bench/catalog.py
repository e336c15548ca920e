"""Catalogs of any size as DataChain 0.62 writes them, straight in SQLite: one dataset, one File column."""

import array
import functools
import hashlib
import json
import random
import sqlite3
import uuid
from pathlib import Path

DDL = Path(__file__).parents[2] / "src/data/catalog/write/tables.sql"
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


CATS = (
    "abyssinian bengal birman bombay british_shorthair egyptian_mau maine_coon persian ragdoll russian_blue siamese sphynx"
).split()
DOGS = (
    "american_bulldog american_pit_bull_terrier basset_hound beagle boxer chihuahua cocker_spaniel english_setter "
    "german_shorthaired great_pyrenees havanese japanese_chin keeshond leonberger miniature_pinscher newfoundland "
    "pomeranian pug saint_bernard samoyed scottish_terrier shiba_inu staffordshire_bull_terrier wheaten_terrier "
    "yorkshire_terrier"
).split()
BREEDS = [f"images/cat/{breed}" for breed in CATS] + [f"images/dog/{breed}" for breed in DOGS]

# A prime: a multiple of `n` modulo it is another order of the same numbers.
DRAWN = 1_000_003


@functools.cache
def _drawn():
    """Random numbers in 0..1, the same in every run; drawn once, because drawing per row is slow."""
    draw = random.Random(62).random
    return [draw() for _ in range(DRAWN)]


def _uniform(n, column):
    """A number in 0..1 for row `n`, from `column`, any factor of its own; rows repeat after a million."""
    return _drawn()[(n + 1) * column % DRAWN]


# The parts of which vectors are composed.
VECTOR = (104723, 104717, 104711, 104707, 104701, 104693, 104683, 104681)


@functools.cache
def _runs():
    """Texts of eight 32-bit floats each, from which vectors are joined."""
    gauss = random.Random(64).gauss
    runs = (array.array("f", (gauss(0, 1) for _ in range(8))) for _ in range(16384))
    return [",".join(map(repr, run)) for run in runs]


def _vector(n):
    """64 floats as DataChain writes a list, no two rows of a million alike."""
    runs = _runs()
    return f"[{','.join([runs[int(_uniform(n, column) * len(runs))] for column in VECTOR])}]"


SHAPES = {
    "sequential": lambda n, total: f"img_{n:08}.jpg",
    "class/hash": lambda n, total: f"n{1440764 + n * 1000 // total:08}/{_hex(n, 16)}.jpg",
    "uuid": lambda n, total: f"{_uuid(n)}.jpg",
    "folders": lambda n, total: f"images/{n % 37:02}/photo_{n:07}.jpg",
    "filters": lambda n, total: f"{BREEDS[int(_uniform(n, 104659) * 37)]}_{n:08}.jpg",
}


# Columns of a typed catalog beside its File: `(type, declared, type in `schema`, the value of row n)`.
TYPED = {
    "width": ("int", "INTEGER", "Int64", lambda n: 100 + n * 7919 % 900),
    "height": ("int", "INTEGER", "Int64", lambda n: 100 + n * 104729 % 900),
    "score": ("float", "FLOAT", "Float", lambda n: (n * 7919 % 1000003) / 1000003),
    "label": ("str", "VARCHAR", "String", lambda n: f"class_{n * 31 % 100:02}"),
}

# Columns of a catalog for filters beside its File; a dotted name is a field of a model. Image sizes are spread
# by magnitude: 59% are over 400 and 12% over 2,000.
FILTERED = {
    "info.width": ("int", "INTEGER", "Int64", lambda n: int(100 * 30 ** _uniform(n, 1))),
    "info.height": ("int", "INTEGER", "Int64", lambda n: int(100 * 30 ** _uniform(n, 7919))),
    "score": ("float", "FLOAT", "Float", lambda n: _uniform(n, 104729)),
    "label": ("str", "VARCHAR", "String", lambda n: f"class_{int(_uniform(n, 15485863) * 100):02}"),
}
FLOATS = {"type": "Array", "item_type": {"type": "Float"}}
EMBEDDED = FILTERED | {"emb": ("list[float]", "ARRAY", FLOATS, _vector)}


def _model(name, fields, module, hidden=()):
    """A model in `_custom_types`: `fields` are its types by name."""
    bases = [[name, module, f"{name}@v1"], ["DataModel", "datachain.lib.data_model", "DataModel@v1"]]
    return {"schema_version": 2, "name": f"{name}@v1", "fields": fields, "bases": bases, "hidden_fields": list(hidden)}


def _features(columns):
    """`feature_schema`: one File, more columns, and the models of those with dotted names."""
    hidden = [name for name in FIELDS if name not in ("path", "size")]
    models = {"File": _model("File", {name: kind for name, (kind, *_) in FIELDS.items()}, "datachain.lib.file", hidden)}
    features = {"file": "File@v1"}
    for name, (kind, *_) in columns.items():
        signal, _, field = name.partition(".")
        if field:
            model = signal.title()
            models.setdefault(model, _model(model, {}, "__main__"))["fields"][field] = kind
            kind = f"{model}@v1"
        features[signal] = kind
    return features | {"_custom_types": {model["name"]: model for model in models.values()}}


def _schemas(columns):
    """`feature_schema` and `schema` of a version with one File and more columns."""
    types = {f"file__{name}": {"type": kind} for name, (_, _, kind) in FIELDS.items()}
    for name, (_, _, kind, _) in columns.items():
        types[_column(name)] = kind if isinstance(kind, dict) else {"type": kind}
    return json.dumps(_features(columns)), json.dumps(types)


def _column(name):
    """The name in SQLite of a dotted name."""
    return name.replace(".", "__")


def make(folder, shape, count, columns=None):
    """Makes `folder/.datachain/db` with `bench@1.0.0` of `count` rows; returns their paths in row order.

    `columns` are more columns than the File, as in `TYPED` and `FILTERED`.
    """
    columns = columns or {}
    path = SHAPES[shape]
    more = [value for *_, value in columns.values()]
    rows = (
        ("s3://bench", path(n, count), 1000 + n % 1000, _hex(n, 32), *(value(n) for value in more))
        for n in range(count)
    )
    return _write(folder, rows, count, columns)


def make_of(folder, files):
    """The same of given objects: a list of `(source, path, size, etag)`."""
    return _write(folder, files, len(files), {})


def _write(folder, rows, count, columns):
    """`rows` are `(source, path, size, etag)` and the values of `columns`."""
    database = Path(folder) / ".datachain" / "db"
    database.parent.mkdir(parents=True)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + DDL.read_text())
    declared = [f"file__{name} {kind}" for name, (_, kind, _) in FIELDS.items()]
    declared = ", ".join(declared + [f"{_column(name)} {kind}" for name, (_, kind, *_) in columns.items()])
    connection.execute(
        "CREATE TABLE ds_local_local_bench_1_0_0 (sys__id INTEGER NOT NULL, "
        f"sys__rand INTEGER DEFAULT (abs(random())) NOT NULL, {declared}, PRIMARY KEY (sys__id))"
    )
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO ds_local_local_bench_1_0_0 (file__source, file__path, file__size, file__version, "
        f"file__etag, file__is_latest, file__last_modified{''.join(f', {_column(name)}' for name in columns)}) "
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
