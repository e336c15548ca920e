"""Aggregates and joins, against the `sqlite3` command line, DuckDB and DataChain over the same rows.

Every figure of dcfs is a whole command, `dcfs sql ...`, columns packed before: its start, finding the version and opening what is packed are in
it. SQLite's is a whole command too, over DataChain's table with its file in the page cache. DuckDB answers in one warm process: from a table of its
own in memory, from `_rows.arrow` mapped into memory, and from `_rows.parquet`, as `dcfs show -o` writes them. DataChain answers in one process, its
start not counted. Processor time is that of the process, all threads. SQLite and dcfs must say the same.
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


WAYS = ("its own table", "`_rows.arrow`", "`_rows.parquet`")
"""Where DuckDB has the rows."""


def duck(folder, names, sql, times):
    """Seconds of wall time of DuckDB each of the `WAYS`, and of its process for the first; `None` where it is not installed."""
    script = """
import resource, sys, time, statistics, json
try:
    import duckdb, pyarrow.ipc
except ImportError:
    print("null"); sys.exit()
folder, names, sql, times = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def clocked(connection, times):
    def once():
        since, before = time.perf_counter(), cpu()
        connection.execute(sql).fetchall()
        return time.perf_counter() - since, cpu() - before
    once()
    runs = [once() for _ in range(times)]
    return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs)
columns = "info.width as info__width, info.height as info__height, label"
if "half" in names:
    columns += ", file.path as file__path, score"
found = []
for way in ("table", "arrow", "parquet"):
    duck = duckdb.connect()
    duck.execute("set enable_progress_bar = false")
    for name in names.split(','):
        table = f"ds_local_local_{name}_1_0_0"
        if way == "parquet":
            duck.execute(f"create view {table} as select {columns} from read_parquet('{folder}/{name}.parquet')")
            continue
        rows = pyarrow.ipc.open_file(pyarrow.memory_map(f"{folder}/{name}.arrow")).read_all()
        duck.register(f"{name}_rows", rows)
        made = "view" if way == "arrow" else "table"
        duck.execute(f"create {made} {table} as select {columns} from {name}_rows")
    found.append(clocked(duck, times))
print(json.dumps(found))
"""
    sql = sql.replace("rtrim(file__path, replace(file__path, '/', ''))", "regexp_replace(file__path, '[^/]*$', '')")
    python = os.environ.get("DCFS_BENCH_DATACHAIN", sys.executable)
    done = subprocess.run([python, "-c", script, folder, ",".join(names), sql, str(times)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"DuckDB: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def datachain(folder, times):
    """Seconds of wall time of DataChain for S1; `None` where it is not installed."""
    script = """
import json, statistics, sys, time
try:
    import datachain as dc
    from datachain import func
except ImportError:
    print("null"); sys.exit()
def once():
    since = time.perf_counter()
    width = "info.width"
    chain = dc.read_dataset("bench").group_by(n=func.count(), s=func.sum(width), a=func.avg(width), low=func.min(width), high=func.max(width), partition_by="label")
    chain.to_list("label", "n", "s", "a", "low", "high")
    return time.perf_counter() - since
once()
print(json.dumps(statistics.median(once() for _ in range(int(sys.argv[1])))))
"""
    python = os.environ.get("DCFS_BENCH_DATACHAIN", sys.executable)
    environment = os.environ | {"DATACHAIN_NO_ANALYTICS": "1"}
    done = subprocess.run([python, "-c", script, str(times)], capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode:
        raise SystemExit(f"DataChain: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


SMALL = 1_000_000
"""Rows beyond which a catalog is copies of a smaller one: Python makes some 100,000 a second."""


def grow(folder, count):
    """Makes `count` rows of those that are there, by copies whose paths differ."""
    with sqlite3.connect(folder / ".datachain" / "db") as db:
        (there,) = db.execute(f"select count(*) from {TABLE}").fetchone()
        columns = [row[1] for row in db.execute(f"pragma table_info({TABLE})")][1:]
        copied = ", ".join("file__path || '.' || k" if name == "file__path" else name for name in columns)
        db.execute(
            f"insert into {TABLE} ({', '.join(columns)}) with recursive copies(k) as (select 1 union all select k + 1 from copies where k < ?)"
            f" select {copied} from copies, {TABLE} where sys__id <= ?",
            (count // there - 1, there),
        )
        db.execute("update datasets_versions set num_objects = ?", (count,))


def half(folder):
    """A second dataset of every other row, beside the first."""
    with sqlite3.connect(folder / ".datachain" / "db") as db:
        (there,) = db.execute("select count(*) from sqlite_schema where name = 'ds_local_local_half_1_0_0'").fetchone()
    return bool(there)


def sql(bench, counts, times, verdict):
    bench.say("\n## SQL\n")
    bench.say("Whole commands, warm; DuckDB and DataChain within a process of their own. Bounds are fractions of `sqlite3`'s time. The last three: dcfs's time as a multiple of DuckDB's.\n")
    bench.table("rows", "", "query", "sqlite3, s", "dcfs, s (CPU)", "ratio", "", "DataChain, s", "DuckDB, s (CPU)", *WAYS)
    for count in counts:
        folder = bench.folder / f"sql-{count}"
        if not folder.exists():
            catalog.make(folder, "filters", min(count, SMALL), catalog.FILTERED)
            if count > SMALL:
                grow(folder, count)
        cache = ["--cache-dir", bench.cache]
        # 100 million rows are for S5, which is S1.
        is_largest = count > 10_000_000
        names, columns = (["bench"], "info,label") if is_largest else (["bench", "half"], "file.path,info,score,label")
        if not is_largest and not half(folder):
            subprocess.run([bench.dcfs, "save", "bench", "--where", "sys__id % 2 = 0", "--as", "half", *cache], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for name in names:
            for ending in ("arrow", "parquet"):
                output = folder / f"{name}.{ending}"
                if not output.exists():
                    show = [bench.dcfs, "show", name, "--columns", columns, "-o", output, *cache]
                    subprocess.run(show, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for question in QUESTIONS[:1] if is_largest else QUESTIONS:
            command = [bench.dcfs, "sql", question.ours, "--format", "csv", "--timeout", "30m", *cache]
            theirs = ["sqlite3", folder / ".datachain/db", question.sql.format(t=TABLE)]
            cost(command, cwd=folder)  # Its columns are packed.
            ours, processor, found = medians(times, lambda: cost(command, cwd=folder))
            base, _, wanted = medians(max(1, times // 2) if count <= SMALL else 1, lambda: cost(theirs))
            same(found.splitlines()[1:], wanted.splitlines())
            others = duck(folder, names, question.sql.format(t=TABLE), times)
            chain = datachain(folder, max(1, times // 2)) if question.name == "S1" and not is_largest else None
            ratio = ours / base
            shown = [f"{others[0][0]:.3f} ({others[0][1]:.3f})", *(f"{ours / wall:.1f}" for wall, _ in others)] if others else ["-"] * 4
            bench.row(
                f"{count:,}", "S5" if is_largest else question.name, question.title, f"{base:.3f}", f"{ours:.3f} ({processor:.3f})", f"1/{1 / ratio:.0f}",
                verdict(ratio, question.bound), f"{chain:.3f}" if chain else "-", *shown,
            )
        if count > SMALL:
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
