"""The first read in parts: the time of dcfs to receive, keep and hand on, compared with each part alone.

Seconds of CPU are those of the daemon, its threads that ended included, from before the first read until what was read is
written: they are steady where the machine is shared and times are not. The floor is the sum of three programs: a client
that drops what comes, one that sums and writes the same bytes, and a file system that hands on what is in memory.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import store
from contenders import Dcfs, Null
from lab import MIB, check

SETTLE = 0.4  # Seconds until the bytes read are written.


def clock(pid):
    """CPU seconds of a process, including its ended threads."""
    return time.clock_gettime(~pid << 3 | 2)


def switches(pid):
    """Context switches of the living threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as lines:
            total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def program(cpus, command, units):
    """Seconds and CPU of each unit of a program that prints seconds and bytes."""
    process = subprocess.Popen([str(word) for word in (*cpus, *command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds = float(process.stdout.read().split()[0])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise RuntimeError(f"`{command[0]}` ended with {status}")
    return seconds / units, (used.ru_utime + used.ru_stime) / units, None


def first(lab, contender, url, cpus, units, expected, words):
    """Seconds, CPU and context switches for each unit of one first read."""
    contender.empty()
    with contender.mounted(url, cpus) as mount:
        lab.list(mount, contender.account)
        # Arguments that begin with a slash but are not a path yet are below the mount.
        words = [mount.root / word[1:] if isinstance(word, str) and word.startswith("/") else word for word in words]
        before, had = clock(mount.pid), switches(mount.pid)
        seconds, count = lab.read(cpus, *words, account=contender.account)
        check(count, expected)
        time.sleep(SETTLE)
        found = seconds / units, (clock(mount.pid) - before) / units, (switches(mount.pid) - had) / units
    return found


class Row:
    """The data to read, the unit, and the reader."""

    def __init__(self, lab, title, unit, units, expected, words, direct, keep):
        self.lab, self.title, self.unit, self.units, self.expected = lab, title, unit, units, expected
        self.words, self.direct, self.keep = words, direct, keep

    def stories(self, url, cpus, members):
        lab = self.lab
        yield "receive", lambda: program(cpus, [lab.programs.direct, url, store.BUCKET, *self.direct], self.units)
        if self.keep:
            yield "sum and write", lambda: self.kept(cpus)
        yield "hand on", lambda: first(lab, self.floor(), url, cpus, self.units, self.expected, self.words)
        for one in members:
            yield one.name, lambda one=one: first(lab, one, url, cpus, self.units, self.expected, self.words)

    def floor(self):
        return Null(self.lab.programs, self.lab.accounts[0], self.lab.data, "plain")

    def kept(self, cpus):
        # A new one each time: ext4 steps over inodes that were freed recently (`contenders.retire`).
        folder = Path(tempfile.mkdtemp(dir=self.lab.data.folder))
        try:
            return program(cpus, [self.lab.programs.keeper, folder, *self.keep], self.units)
        finally:
            for kept in folder.iterdir():
                os.truncate(kept, 0)


def rows(lab):
    data = lab.data
    small = sum((data.bucket / store.SMALL / name).stat().st_size for name in data.names)
    count, mib = len(data.names), data.size // MIB
    keep = ("files", data.folder / "tree", f"{store.SMALL}/")
    for title, names in (("small files, listing order", data.names), ("small files, random order", data.shuffled())):
        listed = lab.names(names, title.replace(" ", "-"))
        direct = ("files", f"{store.SMALL}/", listed, 1)
        yield Row(lab, title, "file", count, small, (1, "files", f"/{store.SMALL}", listed), direct, keep)
    large = ("sequential", store.LARGE, data.size)
    yield Row(lab, f"{mib} MiB in order", "MiB", mib, data.size, (1, "sequential", f"/{store.LARGE}"), large, ("large", data.size))
    for title, size in (("4 KiB", 4 << 10), ("128 KiB", 128 << 10)):
        for jobs in (1, 16):
            reads = lab.sizes.cold[size]
            direct = ("random", store.LARGE, data.size, size, reads, jobs)
            words = (jobs, "random", f"/{store.LARGE}", size, reads)
            yield Row(lab, f"{title} in random order, {jobs} at a time", "read", reads, size * reads, words, direct, None)


def members(lab):
    account = lab.accounts[0]
    without = Dcfs(lab.programs, account, ["--cache-size", "0"], "no cache")
    without.packed = lab.ours()[0].packed
    return [lab.ours()[0], without, *lab.peers()]


def measure(lab, verdict):
    """Every row under every condition, the members in turn."""
    lab.bench.say("\n### The first read in parts\n")
    lab.bench.say(
        "*receive*: the direct client, one request at a time for small files, 8 concurrent ranges of 8 MiB for the large one; *sum and write*: the same bytes from "
        "memory to files, with their checksums; *hand on*: the do-nothing file system. CPU of the daemon (or the program) in microseconds for each "
        "unit, context switches of its threads for each unit, and units per second. *floor* is the sum of the parts."
    )
    lab.bench.say()
    lab.bench.table("read", "server", "CPUs", "program", "per second", "CPU, us", "switches", "CPU / floor", "runs")
    for far, secure in ((0, False), (0, True)):
        for title, cpus in lab.conditions:
            with lab.server.serving(far, bool(cpus), secure) as url:
                for row in rows(lab):
                    tell(lab, row, url, (title, cpus), secure)


def tell(lab, row, url, condition, secure):
    title, cpus = condition
    found, left = {}, {}
    stories = dict(row.stories(url, cpus, members(lab)))
    for _ in range(lab.sizes.times):
        for name, story in stories.items():
            if left.setdefault(name, lab.sizes.brief) <= 0:
                continue
            since = time.perf_counter()
            try:
                found.setdefault(name, []).append(story())
            except (RuntimeError, OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
                lab.skip(name, error)
                left[name] = 0
            left[name] -= time.perf_counter() - since
    parts = [statistics.median(cpu for _, cpu, _ in found[name]) for name in ("receive", "sum and write", "hand on") if found.get(name)]
    for name, runs in found.items():
        if not runs:
            continue
        seconds, cpu = (statistics.median(run[at] for run in runs) for at in (0, 1))
        turns = [run[2] for run in runs if run[2] is not None]
        cells = [f"{1 / seconds:,.0f}", f"{cpu * 1e6:,.0f}", f"{statistics.median(turns):.1f}" if turns else "", f"{cpu / sum(parts):.2f}", len(runs)]
        lab.bench.row(f"{row.title}, per {row.unit}", "https" if secure else "http", title, name, *cells)
