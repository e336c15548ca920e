"""The state of a catalog after writes: queried from SQLite itself."""

import sqlite3
from contextlib import closing

COMPLETE, REMOVED = 4, 8


def database(folder):
    return closing(sqlite3.connect(folder / ".datachain" / "db", timeout=60))


def ask(folder, question, *values):
    with database(folder) as db:
        return db.execute(question, values).fetchall()


def versions(folder, name):
    """The complete versions of a dataset, in the order of creation."""
    question = (
        "SELECT v.version FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id"
        " WHERE d.name = ? AND v.status = ? ORDER BY v.id"
    )
    return [version for (version,) in ask(folder, question, name, COMPLETE)]


def leftovers(folder):
    """Possible leftovers of a writer: tables of stages and lock files."""
    tables = ask(folder, "SELECT name FROM sqlite_schema WHERE name LIKE 'dcfs_stage%'")
    return [name for (name,) in tables] + [path.name for path in (folder / ".datachain").glob("db-dcfs-*")]


def check_whole(folder, rows):
    """The database is sound, and every complete version has its table with as many rows as `rows` says by name."""
    assert ask(folder, "PRAGMA integrity_check") == [("ok",)]
    question = (
        "SELECT d.name, v.version, v.num_objects FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id"
        " WHERE v.status = ? AND d.name NOT LIKE 'lst__%'"
    )
    for name, version, count in ask(folder, question, COMPLETE):
        table = f'"ds_local_local_{name}_{version.replace(".", "_")}"'
        ((found,),) = ask(folder, f"SELECT count(*) FROM {table}")
        assert count == found == rows.get(name, found), (name, version, count, found)
    orphans = (
        "SELECT count(*) FROM dcfs_provenance WHERE uuid NOT IN (SELECT uuid FROM datasets_versions)"
        if ask(folder, "SELECT 1 FROM sqlite_schema WHERE name = 'dcfs_provenance'")
        else "SELECT 0"
    )
    assert ask(folder, orphans) == [(0,)]
