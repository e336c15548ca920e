"""Changes to a finished catalog that DataChain itself would not make, done in SQL on a copy."""

import os
import shutil
import sqlite3
from contextlib import closing


def copy_catalog(source, target):
    """A copy of the folder `source` with its catalog and data. Paths in rows still name `source`."""
    shutil.copytree(source, target)
    os.chmod(target, 0o755)
    return target


def table_of(dataset):
    return f'"ds_local_local_{dataset}_1_0_0"'


def columns_of(db, dataset):
    """Every column of the row table but `sys__id`."""
    return [row[1] for row in db.execute(f"PRAGMA table_info({table_of(dataset)})")][1:]


def set_count(db, dataset):
    """Sets `num_objects` to the number of rows in the table."""
    db.execute(
        f"UPDATE datasets_versions SET num_objects = (SELECT count(*) FROM {table_of(dataset)})"
        " WHERE dataset_id = (SELECT id FROM datasets WHERE name = ?)",
        (dataset,),
    )


def add_rows(folder, dataset, rows):
    """Adds copies of the first row of `dataset`, each changed by a dict of columns."""
    with closing(sqlite3.connect(folder / ".datachain" / "db")) as db, db:
        columns, table = columns_of(db, dataset), table_of(dataset)
        listed = ", ".join(columns)
        for row in rows:
            values = ", ".join(f":{column}" if column in row else column for column in columns)
            db.execute(f"INSERT INTO {table} ({listed}) SELECT {values} FROM {table} LIMIT 1", row)
        set_count(db, dataset)


def multiply(folder, dataset, count):
    """Makes `count` rows of the first row of `dataset`, each with a path of its own."""
    with closing(sqlite3.connect(folder / ".datachain" / "db")) as db, db:
        columns, table = columns_of(db, dataset), table_of(dataset)
        path = "printf('%03d/%08d.txt', (n * 7919) % 997, n)"
        values = ", ".join(path if column == "file__path" else column for column in columns)
        db.execute(
            f"INSERT INTO {table} ({', '.join(columns)})"
            f" WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)"
            f" SELECT {values} FROM counted, (SELECT * FROM {table} WHERE sys__id = 1)",
            (count,),
        )
        set_count(db, dataset)


def change(folder, statement):
    """Runs one statement on the catalog."""
    with closing(sqlite3.connect(folder / ".datachain" / "db")) as db, db:
        db.execute(statement)
