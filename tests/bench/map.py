"""The cost of a row that a program sees, against `xargs`, GNU parallel and DataChain's `map`, over the same files.

Every figure is of a whole command: start, reading the rows, the program, storing and publishing the answers. Processor time is that of all
processes; that of the driver alone is the rest after what the worker says it used.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import textwrap
import threading
import time

import filters
import store
from sql import cost

SIZE = 2048
PARTS = ("files", "rows", "away", "delta")

SIZES = """
def size(file) -> int:
    return len(file.read())
"""

BUSY = """
import time
def busy(file) -> int:
    end = time.process_time() + 0.01
    while time.process_time() < end:
        pass
    return 1
"""

# Classes that say at the end how much processor time the worker used, so that the driver's is known.
TIMED = """
import time

class Timed:
    def teardown(self):
        with open("worker.cpu", "w") as told:
            told.write(str(time.process_time()))

class Size(Timed):
    def process(self, file) -> float:
        return float(len(file.read()))

class Vector(Timed):
    def process(self, file) -> list[float]:
        return [n * 0.1234567 for n in range(768)]

class Double(Timed):
    def process(self, n: int) -> int:
        return n * 2
"""

FIRST = """
import time
def first(n: int) -> int:
    with open("first", "w") as told:
        told.write(str(time.time()))
    raise SystemExit(1)
"""

DATACHAIN = """
import datachain as dc

# Another function each time: DataChain continues from the checkpoint of an equal one, and computes nothing.
def size_{number}(file) -> int:
    return len(file.read()) + {number} - {number}

chain = dc.read_dataset("f").settings({settings})
chain.map(size=size_{number}, output=int).save("d_{number}")
"""

SETTINGS = {"default": "", "prefetch=0": "prefetch=0", "parallel=2": "parallel=2"}


class Place:
    """A folder with a catalog, and how `dcfs` is run there."""

    def __init__(self, bench, python):
        self.bench, self.python = bench, python
        self.folder = bench.folder / "map"
        environment = os.environ | {"XDG_CACHE_HOME": str(self.folder / "cache"), "DATACHAIN_NO_ANALYTICS": "1"}
        self.here = {"cwd": self.folder, "env": environment}

    def make(self, files):
        (self.folder / "files").mkdir(parents=True)
        for n in range(files):
            self.write(n, b"%06d" % n)
        for name, text in {"sizes.py": SIZES, "busy.py": BUSY, "timed.py": TIMED, "first.py": FIRST}.items():
            (self.folder / name).write_text(textwrap.dedent(text))
        for number, (which, settings) in enumerate(SETTINGS.items()):
            (self.folder / f"{which}.py").write_text(DATACHAIN.format(number=number, settings=settings))
        self.dcfs("index", "files", "--save", "f")

    def write(self, n, six):
        (self.folder / "files" / f"{n:06}.bin").write_bytes(six * (SIZE // 6))

    def dcfs(self, *words):
        return subprocess.run([self.bench.dcfs, *words], **self.here, check=True, capture_output=True, text=True).stdout

    def cost(self, *words):
        """Wall and processor time of a command of dcfs, and what it printed."""
        return cost([self.bench.dcfs, *words], **self.here)

    def name(self):
        """A dataset that is not there yet."""
        return f"m_{time.time_ns()}"

    def map(self, rows, *words, of="f"):
        """Wall and processor time per row."""
        wall, cpu, _ = self.cost("map", of, "--as", self.name(), *words)
        return wall / rows, cpu / rows

    def driver(self, rows, name, *words, of="f"):
        """Processor time of the driver per row, and its peak of resident memory in MiB."""
        command = [self.bench.dcfs, "map", of, "--as", self.name(), *words, "--", self.python, f"timed.py:{name}"]
        process = subprocess.Popen(command, **self.here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        worker = float((self.folder / "worker.cpu").read_text())
        return (used.ru_utime + used.ru_stime - worker) / rows, used.ru_maxrss / 1024

    def numbers(self, rows):
        """A dataset of numbers, without files."""
        name = f"n{rows}"
        with open(self.folder / "n.csv", "w") as out:
            out.write("n\n")
            out.writelines(f"{n}\n" for n in range(rows))
        self.dcfs("load", "n.csv", "--as", name)
        return name


class Lock:
    """Measures how long others hold the write lock of a catalog: asks for it every other millisecond."""

    def __init__(self, database):
        self.database, self.longest, self.ends = database, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        with contextlib.closing(sqlite3.connect(self.database, timeout=0, isolation_level=None)) as db:
            busy = None
            while not self.ends.is_set():
                now = time.perf_counter()
                try:
                    db.execute("BEGIN IMMEDIATE")
                    db.execute("ROLLBACK")
                    if busy:
                        self.longest = max(self.longest, now - busy)
                    busy = None
                except sqlite3.OperationalError:
                    busy = busy or now
                time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()


def measure(bench, quick, large, verdict, parts=PARTS):
    """Adds the tables."""
    python = filters.interpreter("datachain")
    if not python:
        bench.later.append("Not measured: programs over files, for there is no DataChain to measure against.")
        return
    place = Place(bench, python)
    files = 500 if quick else 10_000
    if not place.folder.exists():
        place.make(files)
    for part in parts:
        if part == "files":
            over_files(place, files, verdict)
        elif part == "rows":
            over_rows(place, 2_000 if quick else 10_000, 20_000 if quick else 5_000_000 if large else 500_000, verdict)
        elif part == "away":
            away(place, 200 if quick else 3_000, verdict)
        else:
            delta(place, files, verdict)


def over_files(place, files, verdict):
    bench, python = place.bench, place.python

    def row(title, figures, against=None, bounds=None):
        wall, cpu = figures
        ratios = {name: cpu / other[1] for name, other in (against or {}).items()}
        told = ", ".join(f"{ratio:.3g} of {name}" for name, ratio in ratios.items())
        held = "; ".join(verdict(ratios[name], bound) for name, bound in (bounds or {}).items() if name in ratios)
        bench.row(title, f"{cpu * 1e6:,.0f} us", f"{wall * 1e6:,.0f} us", told, held)

    def datachain(which):
        wall, cpu, _ = cost([python, f"{which}.py"], **place.here)
        return wall / files, cpu / files

    bench.say(f"\n## Programs over {files:,} files of 2 KiB\n")
    bench.say("Times per row, including start and publishing.\n")
    bench.table("run", "CPU", "wall", "CPU, ratio", "")
    theirs = {which: datachain(which) for which in SETTINGS}
    for which, figures in theirs.items():
        row(f"DataChain `map`, {which}", figures)
    function = ("--", python, "sizes.py:size")
    one = place.map(files, *function)
    row("`dcfs map`, a Python function (E2)", one, {name: theirs[name] for name in ("default", "prefetch=0")}, {"default": 1 / 10, "prefetch=0": 1 / 4})
    two = place.map(files, "--jobs", "2", *function)
    row("the same, `--jobs 2` (E2)", two, {"parallel=2": theirs["parallel=2"]}, {"parallel=2": 1 / 20})
    against = {"xargs": shell(place, files, "find files -type f -print0 | xargs -0 -P2 -n1 wc -c")}
    row("`xargs -P2 -n1 wc -c`", against["xargs"])
    if shutil.which("parallel"):
        against["GNU parallel"] = shell(place, files, "find files -type f | parallel -j2 wc -c")
        row("GNU `parallel -j2 wc -c`", against["GNU parallel"])
    each = place.map(files, "--out", "n: int", "--jobs", "2", "--stdin", "--", "wc", "-c")
    row("`dcfs map`, a process for each file (E3)", each, against, {"xargs": 1.15, "GNU parallel": 1 / 4})
    row("`dcfs map --step hash`", place.map(files, "--step", "hash"))

    bench.say("\nOf the driver alone, per row: reading, handing over, checking, storing, publishing.\n")
    bench.table("what", "processor", "")
    for title, name, bound in (("a float of a file (E1)", "Size", 25), ("768 floats (E7)", "Vector", 60)):
        used, _ = place.driver(files, name)
        bench.row(title, f"{used * 1e6:,.0f} us", verdict(used * 1e6, bound))

    few = min(files, 400)
    words = ("--where", f"file.path < '{few:06}.bin'", "--", python, "busy.py:busy")
    single, double = place.map(few, *words), place.map(few, "--jobs", "2", *words)
    speed = single[0] / double[0]
    bench.say(f"\nA function of 10 ms of processor time: `--jobs 2` is {speed:.2f} times as fast as one job (E5; bound: 1.9).")


def shell(place, rows, line):
    wall, cpu, _ = cost(["sh", "-c", line], **place.here)
    return wall / rows, cpu / rows


def over_rows(place, few, many, verdict):
    """Rows without files: what one costs if there are many, memory, the first row, and the lock of the catalog."""
    bench = place.bench
    bench.say("\n## Programs over rows without files\n")
    bench.table("rows", "processor of the driver, us a row", "peak resident, MiB", "")
    peaks = {}
    for rows in (few, many):
        name = place.numbers(rows)
        with Lock(place.folder / ".datachain" / "db") as lock:
            used, peaks[rows] = place.driver(rows, "Double", "--on-error", "keep", of=name)
        bench.row(f"{rows:,}", f"{used * 1e6:.1f}", f"{peaks[rows]:.0f}", verdict(peaks[rows], 96))
    ratio, held = peaks[many] / peaks[few], lock.longest * 1000
    bench.say(f"\nMemory of {many:,} rows against {few:,}: {ratio:.2f}, {verdict(ratio, 1.1)} (E8; bound: 1.1).")
    bench.say(f"\nLongest hold of the catalog's write lock meanwhile: {held:.0f} ms, {verdict(held, 60)} (E11; bound: 60 ms).")
    since = time.time()
    subprocess.run(
        [bench.dcfs, "map", name, "--as", place.name(), "--", place.python, "first.py:first"], **place.here, capture_output=True
    )
    took = (float((place.folder / "first").read_text()) - since) * 1000
    bench.say(f"\nFrom the start of `dcfs map` over {many:,} rows to the first call of a Python function: {took:.0f} ms, {verdict(took, 150)} (E4; bound: 150 ms).")


def away(place, count, verdict):
    """Small objects of a store at a distance, one worker, a trivial function."""
    bench = place.bench
    if why := store.missing():
        bench.later.append(f"Not measured: programs over objects of a store, for there is {why}.")
        return
    data = store.make(bench.folder / "map-store", 1 << 20, count)
    server = store.Store(data, bench.programs.delay, bench.programs.rclone)
    with server.serving(True, False) as url:
        words = ("--catalog", data.folder / "catalog", "--endpoint-url", url, "--anon", "--where", f"file.path like '{store.SMALL}/%'")
        wall, _, _ = place.cost("map", "bench", "--as", place.name(), *words, "--", place.python, place.folder / "sizes.py:size")
    rate = count / wall
    held = "ok" if rate >= 700 else "**under 700**"
    bench.say(f"\n{count:,} objects of 20 to 150 KB at {store.DELAY} ms, one worker: {rate:,.0f} rows/s, {held} (E6; bound: 700).")


def delta(place, files, verdict):
    """1% new, 1% changed, 1% gone."""
    bench, name, part = place.bench, place.name(), max(1, files // 100)
    words = ("map", "f", "--as", name, "--delta", "--json", "--", place.python, "sizes.py:size")
    whole, _, _ = place.cost(*words)
    for n in range(part):
        place.write(files + n, b"newnew")
        (place.folder / "files" / f"{2 * n:06}.bin").write_bytes(b"changed")
        (place.folder / "files" / f"{2 * n + 1:06}.bin").unlink()
    place.dcfs("index", "files", "--save", "f", "--delta")
    took, _, told = place.cost(*words)
    done = json.loads(told.splitlines()[-1])
    assert done["delta"] == {"unchanged": files - 2 * part, "new": part, "changed": part, "gone": part}, done
    assert done["computed"] == 2 * part, done
    ratio = took / whole
    bench.say(
        f"\nA delta of {files:,} files of which 1% are new, 1% changed and 1% gone computed exactly {2 * part:,} rows (E12), in {ratio:.2f} of "
        f"the time of all rows ({took:.2f} s)."
    )
