"""A SQLite catalog of DataChain, copied to ClickHouse and PostgreSQL as DataChain divides it: names here, rows there.

Types are those that a warehouse of DataChain has: NULL only where the schema says so, otherwise what stands for none
(`''`, 0, false, NaN, `[]`, 1970-01-01). An empty text for JSON is read as NULL. `level` gives a SQLite catalog the same values, so that answers can be compared.
"""

import json
import sqlite3
import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path

TYPES = {"INTEGER": "bigint", "BIGINT": "bigint", "TEXT": "text", "DATETIME": "timestamptz", "JSON": "json", "BOOLEAN": "boolean"}

NUMBERS = {"Int64": "q", "Int": "q", "Int32": "i", "UInt32": "I", "UInt64": "Q", "Float": "d", "Float64": "d", "Float32": "f"}

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def copy(catalog, cluster):
    """Everything: the catalog's own tables and those of dcfs, and the rows of every complete version."""
    db = opened(catalog)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        if not table.startswith(("ds_", "src_", "udf_", "tmp_", "sqlite_", "dcfs_stage_")):
            names(db, table, cluster.postgres)
    for table, schema in versions(db):
        if table in tables:
            rows(db, table, schema, cluster.clickhouse)


def opened(catalog):
    catalog = Path(catalog)
    file = next(path for path in [catalog / ".datachain/db", catalog / "db", catalog] if path.is_file())
    return sqlite3.connect(f"file:{file}?mode=rw", uri=True)


def versions(db):
    """The row table and the schema of every complete version."""
    sql = """SELECT n.name, p.name, d.name, v.version, v.schema FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id
             JOIN projects p ON p.id = d.project_id JOIN namespaces n ON n.id = p.namespace_id WHERE v.status = 4"""
    for namespace, project, name, version, schema in db.execute(sql):
        kind = "src" if name.split("://")[0].replace("_", "").isalnum() and "://" in name else "ds"
        yield f"{kind}_{namespace}_{project}_{name}_{version.replace('.', '_')}", json.loads(schema)


def names(db, table, postgres):
    """A table of the metastore."""
    columns = [(name, kind.upper()) for _, name, kind, *_ in db.execute(f'PRAGMA table_info("{table}")')]
    # Previews may contain NaN, which is not JSON.
    columns = [(name, "TEXT" if name == "preview" else kind) for name, kind in columns]
    defined = ", ".join(f'"{name}" {TYPES.get(kind, "text")}' for name, kind in columns)
    lines = []
    for row in db.execute(f'SELECT * FROM "{table}"'):
        values = [value(cell, TYPES.get(kind, "text")) for cell, (_, kind) in zip(row, columns)]
        lines.append("\t".join(values))
    text = "\n".join([f'DROP TABLE IF EXISTS "{table}";', f'CREATE TABLE "{table}" ({defined});', f'COPY "{table}" FROM STDIN;', *lines, "\\.", ""])
    postgres.sql(text)


def value(cell, kind):
    if cell is None:
        return "\\N"
    if kind == "timestamptz":
        return f"{cell}+00"
    if kind == "boolean":
        return "t" if cell else "f"
    text = str(cell).replace("\0", "")
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


class Column:
    """How one column is stored there."""

    def __init__(self, name, said):
        self.name = name
        self.kind = said.get("type", "String")
        self.item = Column(name, said["item_type"]) if self.kind == "Array" else None
        self.nullable = bool(said.get("dc_nullable")) and self.kind != "Array"

    @property
    def type(self):
        inner = {
            "Int": "Int64", "Float": "Float64", "Boolean": "Bool", "DateTime": "DateTime64(6, 'UTC')", "Binary": "String", "JSON": "String",
        }.get(self.kind, self.kind)  # fmt: skip
        if self.kind == "Array":
            return f"Array({self.item.type})"
        if self.name.endswith("__source"):
            return "LowCardinality(Nullable(String))" if self.nullable else "LowCardinality(String)"
        return f"Nullable({inner})" if self.nullable else inner

    @property
    def none(self):
        """The placeholder for NULL in a column that cannot be NULL."""
        return {"Array": [], "JSON": b"", "String": b"", "Binary": b""}.get(self.kind, float("nan") if "Float" in self.kind else 0)

    def packed(self, cell):
        """A cell in RowBinary."""
        if cell is None and self.nullable:
            return b"\1"
        return (b"\0" if self.nullable else b"") + self.plain(self.none if cell is None else cell)

    def plain(self, cell):
        if self.kind == "Array":
            items = json.loads(cell) if isinstance(cell, (bytes, str)) else cell
            return length(len(items)) + b"".join(self.item.packed(item) for item in items)
        if self.kind in NUMBERS:
            number = float(cell) if "Float" in self.kind else int(cell)
            return struct.pack("<" + NUMBERS[self.kind], number)
        if self.kind == "Boolean":
            return bytes([bool(cell)])
        if self.kind == "DateTime":
            return struct.pack("<q", ticks(cell))
        if not isinstance(cell, (bytes, str)):
            cell = json.dumps(cell, separators=(",", ":"), ensure_ascii=False).replace("/", "\\/")
        text = cell.encode() if isinstance(cell, str) else cell
        return length(len(text)) + text


def length(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def ticks(cell):
    if isinstance(cell, int):
        return cell
    moment = datetime.fromisoformat(cell.decode() if isinstance(cell, bytes) else cell)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (moment - EPOCH) // timedelta(microseconds=1)


def columns_of(db, table, schema):
    found = [name for _, name, *_ in db.execute(f'PRAGMA table_info("{table}")')]
    own = {"sys__id": {"type": "UInt64"}, "sys__rand": {"type": "UInt64"}}
    return [Column(name, own.get(name) or schema.get(name, {"type": "String"})) for name in found]


def quoted(name):
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def rows(db, table, schema, clickhouse, order="sys__id"):
    """The rows of one version."""
    columns = columns_of(db, table, schema)
    name = f"datachain.{quoted(table)}"
    clickhouse.ask(f"DROP TABLE IF EXISTS {name}")
    defined = ", ".join(f"{quoted(column.name)} {column.type}" for column in columns)
    clickhouse.ask(f"CREATE TABLE {name} ({defined}) ENGINE = MergeTree ORDER BY {order}")
    db.text_factory = bytes
    escaped = table.replace('"', '""')
    packed = (b"".join(column.packed(cell) for column, cell in zip(columns, row)) for row in db.execute(f'SELECT * FROM "{escaped}"'))
    body = b"".join(packed)
    db.text_factory = str
    clickhouse.ask(f"INSERT INTO {name} FORMAT RowBinary", data=body)


def level(catalog):
    """Replaces each NULL that the warehouse cannot store by its placeholder, in a SQLite catalog."""
    db = opened(catalog)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table, schema in list(versions(db)):
        if table not in tables:
            continue
        escaped = table.replace('"', '""')
        for column in columns_of(db, table, schema):
            if column.nullable or column.name.startswith("sys__") or "Float" in column.kind or column.kind == "JSON":
                continue
            none = {"Array": "[]", "Boolean": 0, "DateTime": "1970-01-01 00:00:00", "Binary": b""}.get(column.kind, "")
            none = 0 if column.kind in NUMBERS else none
            name = column.name.replace('"', '""')
            db.execute(f'UPDATE "{escaped}" SET "{name}" = ? WHERE "{name}" IS NULL', [none])
    db.commit()
