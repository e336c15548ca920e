"""Filters, against SQLite counting the same rows, DataChain's count() and numpy.

Only the cache that a part is about is used: every repetition uses a new constant.
"""

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import catalog
import machine

TABLE = "ds_local_local_bench_1_0_0"
HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent.parent / ".venv" / "bin" / "python"
LISTED = 10_000
NEAREST = 10
FULL = 1_000_000  # The bounds are those of catalogs this large: below, FUSE dominates the time.


@dataclass(frozen=True)
class Kind:
    """A filter with a hole for a constant, as written for each program, and its bound as a part of SQLite's time."""

    title: str
    ours: str
    sql: str
    python: str
    constant: str
    bound: Fraction


COCKER = "cocker_spaniel"
KINDS = [
    Kind(
        "`info.width > 400`", "info.width > {}", "info__width > {}", 'C("info.width") > {}', "width", Fraction(1, 50)
    ),
    Kind(
        f'`info.width > 400 and file.path not ilike "%{COCKER}%"`',
        f'info.width > {{}} and file.path not ilike "%{COCKER}%"',
        f"info__width > {{}} AND lower(file__path) NOT LIKE lower('%{COCKER}%')",
        f'(C("info.width") > {{}}) & C("file.path").not_ilike("%{COCKER}%")',
        "width",
        Fraction(1, 10),
    ),
    Kind('`label = "class_07"`', 'label = "{}"', "label = '{}'", 'C("label") == "{}"', "label", Fraction(1, 50)),
]


class Set:
    """A catalog, a warm connection of SQLite to it, and unused constants."""

    def __init__(self, bench, count, vectors):
        self.count, self.vectors = count, vectors
        self.title = f"{count:,}" + (", vectors" if vectors else "")
        self.folder = bench.folder / f"filters-{count}{'-vectors' if vectors else ''}"
        self.database = self.folder / ".datachain" / "db"
        if not self.folder.exists():
            catalog.make(self.folder, "filters", count, catalog.EMBEDDED if vectors else catalog.FILTERED)
        self.sqlite = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        self.sqlite.execute("PRAGMA case_sensitive_like=ON")
        self.constants = {
            "width": itertools.count(400),
            "label": (f"class_{n % 100:02}" for n in itertools.count(7)),
            "row": itertools.count(17),
            "spare": itertools.count(1),
        }
        with bench.mount(self.folder):
            os.listdir(bench.version)  # the pack of names is built

    def fresh(self, kind):
        """A constant for `kind`, and SQLite's time and row count for it, warm."""
        constant = next(self.constants[kind.constant])
        took, rows = self.counted(kind.sql.format(constant))
        return constant, took, rows

    def counted(self, where):
        since = time.perf_counter()
        (rows,) = self.sqlite.execute(f"SELECT count(*) FROM {TABLE} WHERE {where}").fetchone()
        return time.perf_counter() - since, rows

    def warm(self):
        """Brings the file into the page cache."""
        self.counted("1")

    def bounded(self, text):
        """The verdict, if a bound applies to this many rows."""
        return text if self.count >= FULL else ""


@contextlib.contextmanager
def sets(bench, counts):
    """The catalogs; those with vectors have at most a million rows. Large ones are removed afterwards."""
    wanted = [(count, vectors) for count in counts for vectors in (False, True) if not vectors or count <= FULL]
    made = [Set(bench, count, vectors) for count, vectors in wanted]
    try:
        yield made
    finally:
        for one in made:
            one.sqlite.close()
            if one.count > FULL:
                shutil.rmtree(one.folder)


def read_count(bench, filter):
    """Seconds to read `_count` of a query directory, and its contents."""
    since = time.perf_counter()
    file = os.open(f"{bench.version}/{filter}/_count", os.O_RDONLY)
    text = os.read(file, 64)
    os.close(file)
    return time.perf_counter() - since, int(text)


def compared(bench, one, kind):
    """Seconds of SQLite and of dcfs for one constant never asked before; both must find the same rows."""
    constant, theirs, rows = one.fresh(kind)
    ours, found = read_count(bench, kind.ours.format(constant))
    check(kind.ours.format(constant), found, rows)
    return theirs, ours


def check(filter, found, rows):
    """Both must find the same rows: a fast wrong answer does not count."""
    if found != rows:
        raise SystemExit(f"{filter}: {found} rows by dcfs, and {rows} by the other")


def medians(rounds):
    """The median of each place of some tuples."""
    return [statistics.median(column) for column in zip(*rounds)]


def part_of(ours, theirs):
    """A ratio as text, e.g. `1/50`."""
    return f"1/{theirs / ours:.0f}" if theirs > 2 * ours else f"{ours / theirs:.2f}"


def warm(bench, made, times, verdict):
    bench.say("\n### Packed columns\n")
    bench.say(
        "`_count` of a query directory, its columns packed, each time with a new constant; against "
        "`SELECT count(*)` with the same WHERE on an open connection, the page cache warm. \"vectors\": 64 floats as "
        "JSON text in every row, which SQLite has to skip.\n"
    )
    bench.table("rows", "filter", "SQLite, ms", "dcfs, ms", "ratio", "")
    for one in made:
        one.warm()
        with bench.mount(one.folder):
            for kind in KINDS:
                compared(bench, one, kind)
                theirs, ours = medians([compared(bench, one, kind) for _ in range(times)])
                bench.row(
                    one.title, kind.title, f"{theirs * 1000:.1f}", f"{ours * 1000:.2f}", part_of(ours, theirs),
                    one.bounded(verdict(ours / theirs, kind.bound)),
                )


@contextlib.contextmanager
def unpacked(bench, one):
    """A mount of a version of which only the names are packed."""
    for name in ("columns", "filters"):
        for folder in list(bench.cache.glob(f"packs/*/{name}")):
            shutil.rmtree(folder)
    with bench.mount(one.folder) as process:
        os.stat(bench.version)
        yield process


def first(bench, made, times, verdict):
    bench.say("\n### The first filter\n")
    bench.say(
        "The same, for the first query of a column: packing included. Bound: 2.5 times SQLite. Anonymous "
        "memory is the peak while packing.\n"
    )
    bench.table("rows", "filter", "SQLite, s", "dcfs, s", "ratio", "", "peak anonymous, MiB")
    for one in made:
        one.warm()
        for kind in KINDS:
            peaks = []

            def once():
                with unpacked(bench, one) as process, machine.Peak(process.pid) as peak:
                    both = compared(bench, one, kind)
                peaks.append(peak.mib)
                return both

            theirs, ours = medians([once() for _ in range(times)])
            bench.row(
                one.title, kind.title, f"{theirs:.3f}", f"{ours:.3f}", f"{ours / theirs:.2f}",
                one.bounded(verdict(ours / theirs, 2.5)), f"{max(peaks):.0f}",
            )


def again(bench, made, times, verdict):
    bench.say("\n### The same filter from a new mount\n")
    bench.say("Columns and rows are found in the cache directory. Bound: 5 ms.\n")
    bench.table("rows", "filter", "SQLite, ms", "dcfs, ms", "ratio", "")
    for one in made:
        one.warm()
        for kind in KINDS:
            with bench.mount(one.folder):
                constant, theirs, rows = one.fresh(kind)
                read_count(bench, kind.ours.format(constant))

            def once():
                with bench.mount(one.folder):
                    os.stat(bench.version)
                    took, found = read_count(bench, kind.ours.format(constant))
                check(kind.ours.format(constant), found, rows)
                return took

            ours = machine.median(once, times)
            bench.row(
                one.title, kind.title, f"{theirs * 1000:.1f}", f"{ours * 1000:.2f}", part_of(ours, theirs),
                one.bounded(verdict(round(ours * 1000, 2), 5)),
            )


def listed(path):
    """Seconds to list a directory, and the names."""
    since = time.perf_counter()
    names = os.listdir(path)
    return time.perf_counter() - since, names


def ranked(bench, one, where):
    """Seconds to list the nearest of a row never asked before; the row, and the files in order."""
    row = next(one.constants["row"])
    took, names = listed(f"{bench.version}/{where}order by cosine_distance(emb, row({row})) limit {NEAREST}")
    files = sorted(name for name in names if not name.startswith("_"))
    if len(files) != NEAREST:
        raise SystemExit(f"{len(files)} nearest of row {row}, not {NEAREST}")
    return took, row, files


def nearest(bench, made, times, verdict):
    bench.say("\n### Nearest rows\n")
    bench.say(
        f"Listing `order by cosine_distance(emb, row(N)) limit {NEAREST}`, each time for another row, the vectors packed; "
        "against numpy on a matrix of 32-bit floats in memory, with precomputed norms. Bound: 100 ms, and no slower with a filter "
        "before it.\n"
    )
    bench.table("rows x 64", "directory", "numpy, ms", "dcfs, ms", "")
    for one in (one for one in made if one.vectors):
        with bench.mount(one.folder):
            since = time.perf_counter()
            ranked(bench, one, "")
            packing = time.perf_counter() - since
            found = [ranked(bench, one, "") for _ in range(times)]
            where = "info.width > 2000 "
            ranked(bench, one, where)
            restricted = machine.median(lambda: ranked(bench, one, where)[0] * 1000, times)
        took = statistics.median(took for took, *_ in found) * 1000
        theirs = by_numpy(bench, one, [row for _, row, _ in found], [files for *_, files in found])
        bench.row(f"{one.count:,}", "all", theirs, f"{took:.0f}", one.bounded(verdict(round(took), 100)))
        slower = verdict(round(restricted), min(100, round(took)))
        bench.row(f"{one.count:,}", f"`{where.strip()}`", "", f"{restricted:.0f}", one.bounded(slower))
        bench.later.append(f"Nearest of {one.count:,} x 64, the first time, packing included: {packing:.1f} s.")


def by_numpy(bench, one, rows, files):
    """Milliseconds of numpy for the same rows, if it is installed; the files must be the same."""
    python = interpreter("numpy")
    if not python:
        return "not installed"
    command = [python, HERE / "nearest.py", one.database, str(NEAREST), *map(str, rows)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for row, want, got in zip(rows, answer["files"], files):
        if want != [name.split("_", 1)[1] for name in got]:
            raise SystemExit(f"nearest of row {row}: {got}, and {want} by numpy")
    return f"{answer['milliseconds']:.0f}"


def interpreter(module):
    """A Python that has `module`: that of DCFS_BENCH_DATACHAIN, or the environment of the tests."""
    python = os.environ.get("DCFS_BENCH_DATACHAIN", ENVIRONMENT)
    with contextlib.suppress(OSError):
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            return python
    return None


def some(one):
    """Filters that about `LISTED` rows pass, none twice: the narrowest images up to some height."""
    widths = one.sqlite.execute(f"SELECT info__width, count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1")
    sums = itertools.accumulate(widths, lambda all, group: (group[0], all[1] + group[1]))
    narrow = next(width for width, rows in sums if rows > LISTED) + 1
    heights = f"SELECT info__height FROM {TABLE} WHERE info__width < {narrow} ORDER BY 1 LIMIT 1 OFFSET {LISTED}"
    (low,) = one.sqlite.execute(heights).fetchone()
    while True:
        yield f"info.width < {narrow} and info.height < {low + next(one.constants['spare'])}"


def listing(bench, made, times, verdict):
    bench.say("\n### Listing a query directory\n")
    bench.say(
        f"`ls -R` of a filter that about {LISTED:,} rows pass, its columns packed: the first time, then again, and from a "
        "new mount; against the do-nothing file system, newly mounted, with the same names. Bound after the first: 50 ms.\n"
    )
    bench.table("rows", "files", "do-nothing, ms", "first, ms", "again, ms", "", "new mount, ms")
    for one in (one for one in made if not one.vectors):
        filters = some(one)
        with bench.mount(one.folder):
            read_count(bench, next(filters))
            rounds = [[walked(root), walked(root)] for root in (f"{bench.version}/{next(filters)}" for _ in range(times))]
            filter = next(filters)
            tree, files = matching(bench, filter)
        once, twice = medians(rounds)
        null, fresh = machine.medians(
            times,
            lambda: walked_anew(bench.mount_null(tree), bench.point, bench.point),
            lambda: walked_anew(bench.mount(one.folder), bench.version, f"{bench.version}/{filter}"),
        )
        bench.row(
            one.title, f"{files:,}", f"{null:.0f}", f"{once:.0f}", f"{twice:.0f}", one.bounded(verdict(round(twice), 50)),
            f"{fresh:.0f}",
        )


def matching(bench, filter):
    """The files of a query directory as a tree for the do-nothing file system, and their number, which `_count` must equal."""
    root = f"{bench.version}/{filter}"
    files = [f"{folder}/{name}"[len(root) + 1 :] for folder, _, names in os.walk(root) for name in names]
    images = [file for file in files if file.startswith("images/")]
    _, rows = read_count(bench, filter)
    if len(images) != rows:
        raise SystemExit(f"{filter}: {len(images)} files, and {rows} by `_count`")
    tree = bench.folder / "listed"
    tree.write_text("".join(f"{file}\t1\n" for file in files))
    return tree, rows


def walked(root):
    """Milliseconds of `ls -R`."""
    return machine.seconds(["ls", "-R", root]) * 1000


def walked_anew(mount, top, root):
    """The same, as the first access to a mount except its top."""
    with mount:
        os.stat(top)
        return walked(root)


def strangers(number):
    """Names that programs look for and that are not filters."""
    forms = [".git{}", "a-b{}.jpg", "node_modules{}", "2024-01-{:02}", "x{}.py"]
    return [form.format(n) for n in range(number // len(forms)) for form in forms]


@contextlib.contextmanager
def pinned(prefix):
    """This thread where a mount with `prefix` is."""
    before = os.sched_getaffinity(0)
    if prefix:
        os.sched_setaffinity(0, {0})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def looked_up(mount, root, names, prefix):
    """Microseconds for each of `names`, none of which may be found."""
    with mount, pinned(prefix):
        os.path.exists(f"{root}/no such name")
        since = time.perf_counter()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.stat(f"{root}/{name}")
                raise SystemExit(f"{name} is found")
        return (time.perf_counter() - since) / len(names) * 1e6


def kept(bench):
    """Every file of columns and filters in the cache directory."""
    return sorted(str(file) for name in ("columns", "filters") for file in bench.cache.glob(f"packs/*/{name}/**/*"))


def names(bench, made, times, verdict):
    number = 1000
    bench.say("\n### Names that are not filters\n")
    bench.say(
        f"`stat` of {number:,} names such as `.git`, `a-b.jpg`, `node_modules`, `2024-01-01` and `x.py` in the directory of a "
        "version, no column packed; against the do-nothing file system.\n"
    )
    bench.table("rows", "CPUs", "do-nothing, us each", "dcfs, us each", "ratio", "columns packed")
    tree = bench.folder / "one"
    tree.write_text("file\t1\n")
    asked = strangers(number)
    for one in made:
        with unpacked(bench, one):
            before = kept(bench)
        for title, prefix in (("one", machine.PINNED), ("free", ())):
            null, ours = machine.medians(
                times,
                lambda: looked_up(bench.mount_null(tree, prefix), bench.point, asked, prefix),
                lambda: looked_up(bench.mount(one.folder, prefix), bench.version, asked, prefix),
            )
            passes = "none" if kept(bench) == before == [] else "**some**"
            bench.row(one.title, title, f"{null:.1f}", f"{ours:.1f}", f"{ours / null:.2f}", passes)


COUNTS = """
import sys, time
import datachain as dc
from datachain import C
since = time.perf_counter()
rows = dc.read_dataset("bench").filter({}).count()
print(time.perf_counter() - since, rows)
"""


def datachain(bench, made, times, verdict):
    bench.say("\n### DataChain's count()\n")
    python = interpreter("datachain")
    if not python:
        bench.say("Not measured: DataChain is not installed in the environment of the tests.")
        return
    bench.say(
        "`dc.read_dataset(\"bench\").filter(...).count()` in a process of its own, timed after its imports; against `_count`, "
        "packed, with a new constant.\n"
    )
    bench.table("rows", "filter", "DataChain, ms", "dcfs, ms", "ratio")
    for one in made:
        for kind in KINDS:
            with bench.mount(one.folder):
                compared(bench, one, kind)
                rounds = [both(bench, one, kind, python) for _ in range(times)]
            theirs, ours = medians(rounds)
            bench.row(one.title, kind.title, f"{theirs * 1000:.0f}", f"{ours * 1000:.2f}", part_of(ours, theirs))


def both(bench, one, kind, python):
    """Seconds of DataChain and of dcfs for one constant; both must find the same rows."""
    constant = next(one.constants[kind.constant])
    ours, rows = read_count(bench, kind.ours.format(constant))
    script = COUNTS.format(kind.python.format(constant))
    environment = {**os.environ, "DATACHAIN_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [python, "-c", script], cwd=one.folder, env=environment, check=True, capture_output=True, text=True
    )
    took, found = done.stdout.split()[-2:]
    check(kind.ours.format(constant), rows, int(found))
    return float(took), ours


def memory(bench, made, times, verdict):
    bench.say("\n### Memory\n")
    bench.say(
        "Anonymous memory of one mount, nothing packed before: every filter above with new constants, the nearest "
        "rows, the listing, the names. Bound: 300 MiB.\n"
    )
    bench.table("rows", "at the end, MiB", "peak, MiB", "")
    for one in made:
        with unpacked(bench, one) as process, machine.Peak(process.pid) as peak:
            everything(bench, one, times)
            after = machine.anonymous(process.pid)
        bench.row(one.title, f"{after:.0f}", f"{peak.mib:.0f}", verdict(round(max(after, peak.mib)), 300))


def everything(bench, one, times):
    """The questions of the other parts, on one mount."""
    for _ in range(times):
        for kind in KINDS:
            read_count(bench, kind.ours.format(next(one.constants[kind.constant])))
        if one.vectors:
            ranked(bench, one, "")
            ranked(bench, one, "info.width > 2000 ")
        else:
            walked(f"{bench.version}/{next(some(one))}")
    for name in strangers(1000):
        os.path.exists(f"{bench.version}/{name}")


PARTS = {part.__name__: part for part in (warm, first, again, nearest, listing, names, datachain, memory)}


def filters(bench, counts, times, verdict, parts=PARTS):
    """All parts, or some by name."""
    bench.say("\n## Filters\n")
    bench.say("Rows of a File, two ints, a float and a label of 100 values. Medians of five.")
    with sets(bench, counts) as made:
        for name in parts:
            PARTS[name](bench, made, times, verdict)
