"""How long DuckDB takes to write the rows of a Parquet file as Parquet: `duck.py FILE`.

The rows are in a table of its own, in memory, before the clock starts. Prints seconds, medians of three.
"""

import statistics
import sys
import tempfile
import time

import duckdb


def once(connection):
    with tempfile.NamedTemporaryFile(suffix=".parquet") as out:
        since = time.perf_counter()
        connection.execute(f"COPY rows TO '{out.name}' (FORMAT parquet)")
        return time.perf_counter() - since


database = duckdb.connect()
database.execute("CREATE TABLE rows AS FROM read_parquet(?)", [sys.argv[1]])
print(statistics.median(once(database) for _ in range(3)))
