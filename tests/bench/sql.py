"""Aggregates and joins, against the `sqlite3` command line and DuckDB over the same rows.

Every figure of dcfs is a whole command, `dcfs sql ...`, columns packed before: its start, finding the version and opening what is packed are in
it. SQLite's is a whole command too, over DataChain's table with its file in the page cache. DuckDB has the rows in a table of its own, in memory, in one warm process.
Processor time is that of the process, all threads. All must say the same.
"""

import json
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import catalog

TABLE = "ds_local_local_bench_1_0_0"


@dataclass(frozen=True)
class Question:
    """A statement in each dialect, and the bound on dcfs's time as a part of SQLite's."""

    name: str
    title: str
    ours: str
    sql: str
    bound: float


QUESTIONS = [
    Question(
        "S1", "group by a label of 100: count, sum, avg, min, max",
        "select label, count(*), sum(info.width), avg(info.width), min(info.width), max(info.width) from bench group by label",
        "select label, count(*), sum(info__width), avg(info__width), min(info__width), max(info__width) from {t} group by label",
        1 / 50,
    ),
    Question(
        "S1w", "the same where height > 400",
        "select label, count(*), sum(info.width) from bench where info.height > 400 group by label",
        "select label, count(*), sum(info__width) from {t} where info__height > 400 group by label",
        1 / 20,
    ),
    Question(
        "S2", "group by the parent of the path: count, avg",
        "select file.parent, count(*), avg(score) from bench group by file.parent",
        "select rtrim(file__path, replace(file__path, '/', '')) p, count(*), avg(score) from {t} group by p",
        1 / 35,
    ),
    Question(
        "S3", "join with half of the rows on the path, a condition, avg",
        "select count(*), avg(b.score) from bench a join half b on a.file.path = b.file.path where a.info.width > 400",
        "select count(*), avg(b.score) from {t} a join ds_local_local_half_1_0_0 b on a.file__path = b.file__path where a.info__width > 400",
        1 / 4,
    ),
]


def cost(command, **options):
    """Wall and processor seconds of a command, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    since = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, **options)
    took = time.perf_counter() - since
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def medians(times, run):
    runs = [run() for _ in range(times)]
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs), runs[-1][2]


def duck(folder, sql, times):
    """Seconds of wall time of DuckDB; `None` where it is not installed."""
    script = """
import sys, time, statistics, json, sqlite3
try:
    import duckdb
except ImportError:
    print("null"); sys.exit()
database, sql, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
duck = duckdb.connect()
source = sqlite3.connect(database)
import pyarrow
for table in ("ds_local_local_bench_1_0_0", "ds_local_local_half_1_0_0"):
    rows = source.execute(f"select file__path, info__width, info__height, score, label from {table}").fetchall()
    columns = pyarrow.table(dict(zip(("file__path", "info__width", "info__height", "score", "label"), map(list, zip(*rows)))))
    duck.execute(f"create table {table} as select * from columns")
def once():
    since = time.perf_counter(); duck.execute(sql).fetchall(); return time.perf_counter() - since
once()
print(json.dumps(statistics.median(once() for _ in range(times))))
"""
    sql = sql.replace("rtrim(file__path, replace(file__path, '/', ''))", "regexp_replace(file__path, '[^/]*$', '')")
    python = os.environ.get("DCFS_BENCH_DATACHAIN", sys.executable)
    done = subprocess.run([python, "-c", script, folder / ".datachain/db", sql, str(times)], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def half(folder):
    """A second dataset of every other row, beside the first."""
    with sqlite3.connect(folder / ".datachain" / "db") as db:
        (there,) = db.execute("select count(*) from sqlite_schema where name = 'ds_local_local_half_1_0_0'").fetchone()
    return bool(there)


def sql(bench, counts, times, verdict):
    bench.say("\n## SQL\n")
    bench.say("Whole commands, warm; DuckDB inside a running process. Bounds are fractions of `sqlite3`'s time.\n")
    bench.table("rows", "", "query", "sqlite3, s", "dcfs, s (CPU)", "ratio", "", "DuckDB, s", "dcfs / DuckDB")
    for count in counts:
        folder = bench.folder / f"sql-{count}"
        if not folder.exists():
            catalog.make(folder, "filters", count, catalog.FILTERED)
        cache = ["--cache-dir", bench.cache]
        if not half(folder):
            subprocess.run([bench.dcfs, "save", "bench", "--where", "sys__id % 2 = 0", "--as", "half", *cache], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for question in QUESTIONS:
            command = [bench.dcfs, "sql", question.ours, "--format", "csv", *cache]
            theirs = ["sqlite3", folder / ".datachain/db", question.sql.format(t=TABLE)]
            cost(command, cwd=folder)  # Its columns are packed.
            ours, processor, found = medians(times, lambda: cost(command, cwd=folder))
            base, _, wanted = medians(max(1, times // 2), lambda: cost(theirs))
            same(found.splitlines()[1:], wanted.splitlines())
            other = duck(folder, question.sql.format(t=TABLE), times) if count <= 1_000_000 else None
            ratio = ours / base
            bench.row(
                f"{count:,}", question.name, question.title, f"{base:.3f}", f"{ours:.3f} ({processor:.3f})", f"1/{1 / ratio:.0f}",
                verdict(ratio, question.bound), f"{other:.3f}" if other else "-", f"{ours / other:.1f}" if other else "-",
            )
        if count > 1_000_000:
            shutil.rmtree(folder)


def same(found, wanted):
    """Both must agree, floats except for their last digits, and a parent with or without its slash."""

    def cells(line, sign):
        return [cell.strip('"').rstrip("/") for cell in line.split(sign)]

    rows = zip(sorted(cells(line, ",") for line in found), sorted(cells(line, "|") for line in wanted))
    if len(found) != len(wanted) or not all(alike(a, b) for one, other in rows for a, b in zip(one, other)):
        raise SystemExit(f"dcfs and sqlite3 differ: {found[:2]} {wanted[:2]}")


def alike(a, b):
    if a == b:
        return True
    try:
        return abs(float(a) - float(b)) <= 1e-9 * max(abs(float(a)), abs(float(b)))
    except ValueError:
        return False
