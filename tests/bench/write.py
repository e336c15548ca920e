"""Writing datasets: dcfs against programs that only list, SQLite that only inserts, and DataChain doing the same.

Objects are empty spaces (no byte of theirs is read); the bucket is `bench_lister`, which answers listings from memory as
fast as they can be taken. Everybody's memory is looked at while the clock runs, and everybody's rows are counted.
"""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys

import catalog
import filters
from desk import CHANGED, NAME, Desk, bucket, change, expect, listed, local, median
from machine import Cost

WHERE = ("info.width > {}", 'C("info.width") > {}')  # Half of the rows: widths go from 100 to 3,000 by magnitude.
MIDDLE = 547


def bare(desk, place):
    """Only listing, by `object_store`."""
    words = ["s3", place.url, NAME] if place.url else ["local", place.data]
    cost = desk.run("`object_store`, bare", "list", [desk.bench.programs.list, *words])
    seconds, count = cost.output.split()
    expect(int(count), place.count)
    return Cost(float(seconds), cost.anonymous, cost.resident, "")


def peers(desk, place):
    """`{name: command}` of others that list."""
    found = {}
    if not place.url:
        found["`find -printf`"] = ["find", place.data, "-type", "f", "-printf", "%p %s %T@\\n"]
    if rclone := desk.bench.programs.rclone:
        remote = f":s3:{NAME}" if place.url else place.data
        server = ["--s3-provider", "Other", "--s3-endpoint", place.url] if place.url else []
        found["`rclone lsf -R`"] = [rclone, "lsf", "-R", "--files-only", "--format", "pst", "--config", "", "--use-server-modtime", *server, remote]
    return found


def index(desk, place, *flags):
    """`dcfs index` of a place, into its catalog."""
    words = ["index", place.uri, "--save", NAME, "--catalog", place.catalog, *place.flags, *flags]
    return desk.dcfs("delta" if "--delta" in flags else "index", *words)


def anew(desk, place):
    """The same into a catalog that is not there yet."""
    shutil.rmtree(place.catalog, ignore_errors=True)
    cost = index(desk, place)
    expect(rows_of(place, "1.0.0"), place.count)
    return cost


def database(place):
    return next(path for path in (place.catalog / ".datachain" / "db", place.catalog / "db") if path.exists())


def rows_of(place, version):
    with contextlib.closing(sqlite3.connect(database(place))) as connection:
        sql = "SELECT num_objects FROM datasets_versions v JOIN datasets d ON d.id = dataset_id WHERE name = ? AND version = ?"
        return connection.execute(sql, (NAME, version)).fetchone()[0]


def dumped(place):
    """The rows that `dcfs index` wrote, for SQLite to write again: as text, with the statements."""
    rows, script = place.folder / "rows", place.folder / "insert.sql"
    with contextlib.closing(sqlite3.connect(database(place))) as connection:
        tables = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 4) IN ('src_', 'ds_l') ORDER BY name DESC"
        (first, first_sql), (second, second_sql) = connection.execute(tables)
    quoted = f'"{first}"'
    dump = f'.mode ascii\n.separator "\\t" "\\n"\n.output {rows}\nSELECT * FROM {quoted};\n'
    subprocess.run(["sqlite3", database(place)], input=dump, text=True, check=True)
    script.write_text(
        f'PRAGMA journal_mode=WAL;\n{first_sql};\n{second_sql};\n.mode ascii\n.separator "\\t" "\\n"\n'
        f'.import {rows} {first}\nINSERT INTO "{second}" SELECT * FROM {quoted};\n'
    )
    return script


def insert(desk, place, script):
    """The rows that an index writes, both times, by `sqlite3`."""
    target = place.folder / "inserted"
    for path in place.folder.glob("inserted*"):
        path.unlink()
    with open(script) as lines:
        cost = desk.run("`sqlite3`", "insert", ["sqlite3", target], stdin=lines)
    with contextlib.closing(sqlite3.connect(target)) as connection:
        expect(connection.execute(f'SELECT count(*) FROM "ds_local_local_{NAME}_1_0_0"').fetchone()[0], place.count)
    return cost


READ = """
client = {client}
rows = dc.read_storage({uri!r}, update=True, {anon}client_config=client).save("bench").count()
"""


def indexed_by_datachain(desk, place):
    client = {"aws_endpoint_url": place.url} if place.url else {}
    anon = "anon=True, " if place.url else ""
    folder = place.folder / "theirs"
    shutil.rmtree(folder, ignore_errors=True)
    cost = desk.datachain("index", READ.format(uri=place.uri, client=client, anon=anon), folder)
    if cost:
        expect(int(cost.output), place.count)
    return cost


# Parts.


def indexing(desk, places):
    say = desk.bench.say
    say("\n### Indexing\n")
    say(
        "`dcfs index` into a new catalog: the listing and the dataset, two tables of the same rows. *Insert*: `sqlite3` writing both "
        "from a text file. Bound: 1.3 times the bare listing and the insert together."
    )
    say()
    desk.bench.table("objects", "where", "program", "s", "objects/s", "ratio", "")
    for place in places:
        with listed(desk, place):
            one_index(desk, place)


def one_index(desk, place):
    anew(desk, place)  # Names are in the kernel's cache, for all contenders.
    script = dumped(place)
    rounds = [(anew(desk, place), bare(desk, place), insert(desk, place, script)) for _ in range(desk.times)]
    ours, only, rows = map(median, zip(*rounds))
    told = {"`object_store`, bare": only, "insert by `sqlite3`": rows}
    for name, command in peers(desk, place).items():
        told[name] = median([desk.run(name, "list", command) for _ in range(desk.times)])
    if theirs := indexed_by_datachain(desk, place):
        told["DataChain, `read_storage().save()`"] = theirs.seconds
    ratio = ours / (only + rows)
    line(desk, place, "dcfs", ours, f"{ratio:.2f}", desk.bounded(place.count, ratio, 1.3))
    for name, seconds in told.items():
        line(desk, place, name, seconds, f"{seconds / ours:.2f}", "of dcfs")


def line(desk, place, who, seconds, *more):
    desk.bench.row(f"{place.count:,}", place.title, who, f"{seconds:.2f}", f"{place.count / seconds:,.0f}", *more)


def deltas(desk, places):
    desk.bench.say("\n### Delta\n")
    desk.bench.say(
        f"`dcfs index --delta` after one of {CHANGED} objects changed. Bound: 1.5 times the bare listing, although unchanged rows "
        "are copied too."
    )
    desk.bench.say()
    desk.bench.table("objects", "where", "changed", "bare listing, s", "dcfs, s", "ratio", "")
    for place in places:
        rounds = []
        for turn in range(desk.times):
            changed = change(place, turn)
            with listed(desk, place):
                rounds.append((index(desk, place, "--delta"), bare(desk, place)))
            expect(rows_of(place, f"1.0.{turn + 1}"), place.count)
        ours, only = map(median, zip(*rounds))
        ratio = ours / only
        cells = (f"{changed:,}", f"{only:.2f}", f"{ours:.2f}", f"{ratio:.2f}", desk.bounded(place.count, ratio, 1.5))
        desk.bench.row(f"{place.count:,}", place.title, *cells)


COMPARED = """
SELECT sum(b.file__path IS NOT NULL AND (a.file__etag, a.file__size, a.file__last_modified)
    IS NOT (b.file__etag, b.file__size, b.file__last_modified))
FROM ds_local_local_bench_1_0_0 a LEFT JOIN ds_local_local_bench_1_0_1 b
    ON a.file__source = b.file__source AND a.file__path = b.file__path;
"""

DIFFED = """
old, new = (dc.read_dataset("bench", version=version) for version in ("1.0.0", "1.0.1"))
rows = new.diff(old, on=["file.source", "file.path"], added=True, deleted=True, modified=True, status_col="status").count()
"""


def diffs(desk, places):
    desk.bench.say("\n### Comparing\n")
    desk.bench.say(
        "Two versions that differ in one row of a hundred, compared in every column; `sqlite3` joins them by path and "
        "compares three. The first answer of dcfs starts without a cache."
    )
    desk.bench.say()
    desk.bench.table("rows", "where", "`sqlite3`, s", "DataChain, s", "dcfs, s", "ratio to `sqlite3`")
    for place in places:
        rounds = [(compared(desk, place), desk.run("`sqlite3`", "diff", ["sqlite3", database(place), COMPARED])) for _ in range(desk.times)]
        ours, theirs = map(median, zip(*rounds))
        slow = desk.datachain("diff", DIFFED, with_catalog(place))
        told = f"{slow.seconds:.2f}" if slow else "not measured"
        desk.bench.row(f"{place.count:,}", place.title, f"{theirs:.2f}", told, f"{ours:.2f}", f"{ours / theirs:.2f}")


def compared(desk, place):
    shutil.rmtree(desk.folder / "home", ignore_errors=True)
    words = ["diff", f"{NAME}@1.0.0", f"{NAME}@1.0.1", "--catalog", place.catalog, "--json", "--limit", "1"]
    cost = desk.dcfs("diff", *words)
    found = json.loads(cost.output)
    expect(found["rows"]["changed"], -(-place.count // CHANGED))
    return cost


def with_catalog(place):
    """The folder in which DataChain finds the catalog of a place."""
    folder = database(place).parent
    return folder.parent if folder.name == ".datachain" else folder


SAVED = """
dc.read_dataset("bench").filter({where}).save("theirs")
rows = dc.read_dataset("theirs").count()
"""


def saves(desk, count):
    desk.bench.say("\n### Saving a filter\n")
    desk.bench.say(
        f"Half of {count:,} rows of a File, two ints, a float and a label, saved under another name; DataChain's `filter().save()` "
        "in a process of its own, timed after its imports. *First*: nothing is packed yet. Bound: a fifth of DataChain's time."
    )
    desk.bench.say()
    desk.bench.table("rows", "DataChain, s", "dcfs, s", "ratio", "")
    folder = desk.folder / f"save-{count}"
    catalog.make(folder, "filters", count, catalog.FILTERED)
    first, again = [], []
    for turn in range(desk.times):
        shutil.rmtree(desk.folder / "home", ignore_errors=True)
        first.append(saved(desk, folder, count, 2 * turn))
        again.append(saved(desk, folder, count, 2 * turn + 1))
    theirs = desk.datachain("save", SAVED.format(where=WHERE[1].format(MIDDLE)), folder)
    for title, costs in (("first", first), ("again", again)):
        ours = median(costs)
        cells = (f"{theirs.seconds:.2f}", f"{ours:.2f}") if theirs else ("not measured", f"{ours:.2f}")
        ratio = theirs and ours / theirs.seconds
        bound = (f"{ratio:.2f}", desk.bounded(count, ratio, 0.2)) if ratio else ("", "")
        desk.bench.row(f"{count:,}, {title}", *cells, *bound)
    if theirs:
        expect(saved_rows(folder, "half"), int(theirs.output))
    shutil.rmtree(folder)


def saved(desk, folder, count, turn):
    """Saves half of the rows: the next version each time."""
    where = WHERE[0].format(MIDDLE)
    cost = desk.dcfs("save", "save", NAME, "--where", where, "--as", "half", "--catalog", folder)
    if abs(saved_rows(folder, "half") - count / 2) > count / 10:
        raise SystemExit(f"{saved_rows(folder, 'half')} rows are not half of {count}")
    return cost


def saved_rows(folder, name):
    with contextlib.closing(sqlite3.connect(folder / ".datachain" / "db")) as connection:
        sql = "SELECT num_objects FROM datasets_versions v JOIN datasets d ON d.id = dataset_id WHERE name = ? ORDER BY v.id DESC"
        return connection.execute(sql, (name,)).fetchone()[0]


def memory(desk):
    desk.bench.say("\n### Memory\n")
    desk.bench.say("The maximum of all runs above, in MiB: anonymous, and resident with mapped files (`VmHWM`).")
    desk.bench.say()
    desk.bench.table("command", "program", "anonymous", "resident")
    for (what, who), cost in sorted(desk.costs.items()):
        desk.bench.row(what, who, f"{cost.anonymous:.0f}", f"{cost.resident:.0f}")


PARTS = ("index", "save")


def write(bench, quick, verdict, parts=PARTS):
    """All parts, or some by name. The objects are changed and compared next."""
    bench.say("\n## Writing datasets\n")
    times = 2 if quick else 3
    bench.say(f"Medians of {times}; one run of DataChain.")
    if not filters.interpreter("datachain"):
        print("skipped: DataChain: not in the environment of the tests", file=sys.stderr)
    desk = Desk(bench, times, verdict)
    if "index" in parts:
        counts = [20_000] if quick else [200_000, 1_000_000]
        with contextlib.ExitStack() as stack:
            places = [stack.enter_context(make(desk, count)) for count in counts for make in (local, bucket)]
            indexing(desk, places)
            deltas(desk, places)
            diffs(desk, places)
    if "save" in parts:
        saves(desk, 50_000 if quick else 1_000_000)
    memory(desk)
