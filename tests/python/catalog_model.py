"""The expected contents of a mount, computed independently of dcfs from the catalog's tables and the contract.

Knows nothing of how dcfs does it, and only the plain rules of naming: where a path cannot stay as
it is (two objects of one path, a reserved name, an odd segment, several sources) it says which
object has to be somewhere, and the comparison finds where.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, timezone

COMPLETE = 4

HELPERS = {b"_schema.json", b"_lineage.md", b"_README.md"}
"""The files that every version lists beside its rows."""

RESERVED = HELPERS | {b"_rows.jsonl", b"_rows.csv", b"_rows.parquet", b"_rows.arrow", b"_count", b"_stats.json", b"_stats.md", b"_views"}


@dataclass(frozen=True)
class Thing:
    """One object as recorded by rows. Equal things are one file of the mount."""

    source: str
    path: bytes
    size: int
    version: str
    etag: str
    mtime_ns: int
    location: str | None

    def read(self):
        """Its bytes, read directly from the local file, or the part of one, that the row names."""
        if self.location:
            (part,) = json.loads(self.location)
            parent = part["parent"]
            with open(local(parent["source"], parent["path"].encode()), "rb") as tar:
                tar.seek(part["offset"])
                return tar.read(part["size"])
        with open(local(self.source, self.path), "rb") as file:
            return file.read()


@dataclass
class Version:
    """One complete version."""

    namespace: str
    project: str
    name: str
    version: str
    rows: int
    things: dict[str, dict[Thing, list[int]]] = field(default_factory=dict)
    """The things named by the rows, with the ids of the rows, by File column."""

    @property
    def directory(self):
        """Its name in `datasets/`."""
        local = (self.namespace, self.project) == ("local", "local")
        prefix = "" if local else f"{self.namespace}.{self.project}."
        return f"{prefix}{self.name}@{self.version}".replace("/", "%2F").encode()

    def plain(self):
        """Things by mount path, if the path needs no change."""
        found = {}
        for column, things in self.things.items():
            if not is_plain_column(things):
                continue
            for thing in things:
                if is_plain(thing, things, top=len(self.things) == 1):
                    found[self.below(column) + thing.path] = thing
        return found

    def odd(self):
        """`(column's directory, thing, row ids)` of all others."""
        plain = set(self.plain().values())
        for column, things in self.things.items():
            for thing, rows in things.items():
                if thing not in plain:
                    yield self.below(column), thing, rows

    def below(self, column):
        """The directory of a File column: empty if it is the only one."""
        return b"" if len(self.things) == 1 else column.encode() + b"/"


def is_plain_column(things):
    """Whether all things have one source, so that no level of the tree names it."""
    return len({thing.source for thing in things}) == 1


def is_plain(thing, things, top):
    """Whether neither its path nor another thing requires another name."""
    segments = thing.path.split(b"/")
    if any(part in (b"", b".", b"..") or len(part) > 255 for part in segments):
        return False
    if top and segments[0] in RESERVED:
        return False
    others = [other.path for other in things if other != thing]
    inside = thing.path + b"/"
    return not any(
        other == thing.path or other.startswith(inside) or thing.path.startswith(other + b"/")
        for other in others
    )


def local(source, path):
    """The path of a `file://` object, as bytes."""
    assert source.startswith("file://"), source
    return source.removeprefix("file://").encode() + b"/" + path


def read(db_path):
    """Every complete version of the catalog that is not internal."""
    db = sqlite3.connect(f"file:{db_path}?mode=ro", uri=True)
    db.text_factory = bytes
    found = db.execute(
        "SELECT n.name, p.name, d.name, v.version, v.num_objects FROM datasets_versions v"
        " JOIN datasets d ON d.id = v.dataset_id JOIN projects p ON p.id = d.project_id"
        " JOIN namespaces n ON n.id = p.namespace_id"
        f" WHERE v.status = {COMPLETE} AND d.name NOT LIKE 'lst\\_\\_%' ESCAPE '\\'"
        "   AND d.name NOT LIKE 'session\\_%' ESCAPE '\\'"
    ).fetchall()
    versions = [Version(*(text.decode() for text in row[:4]), rows=row[4]) for row in found]
    for version in versions:
        version.things = things(db, version)
    db.close()
    return versions


def things(db, version):
    """The things named by the rows of each File column, from the row table."""
    parts = (version.namespace, version.project, version.name, version.version.replace(".", "_"))
    table = '"ds_' + "_".join(parts).replace('"', '""') + '"'
    columns = [row[1].decode() for row in db.execute(f"PRAGMA table_info({table})")]
    found = {}
    for column in columns:
        base = column.removesuffix("__path")
        if base != column and {f"{base}__source", f"{base}__size"} <= set(columns):
            found[base.replace("__", ".")] = column_things(db, table, base, columns)
    return found


def column_things(db, table, base, columns):
    """`{thing: row ids}` of one File column; rows with neither source nor path are left out."""
    parts = ["source", "path", "size", "version", "etag", "last_modified", "location"]
    wanted = [f'"{base}__{part}"' if f"{base}__{part}" in columns else "NULL" for part in parts]
    found = {}
    for row_id, *row in db.execute(f"SELECT sys__id, {', '.join(wanted)} FROM {table}"):
        if row[0] or row[1]:
            found.setdefault(thing(*row), []).append(row_id)
    return found


def thing(source, path, size, version, etag, modified, location):
    """The object of one row, whose text columns are bytes."""
    return Thing(
        (source or b"").decode(),
        path or b"",
        size,
        (version or b"").decode(),
        (etag or b"").decode(),
        nanoseconds(modified),
        location.decode() if location and location not in (b"null", b'""', b"{}") else None,
    )


def nanoseconds(text):
    """`2024-01-02 03:04:05.678901` in UTC, as nanoseconds since 1970; 0 for NULL."""
    if text is None:
        return 0
    moment = datetime.fromisoformat(text.decode()).replace(tzinfo=timezone.utc)
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 10**9 + moment.microsecond * 1000
