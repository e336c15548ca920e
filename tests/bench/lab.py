"""Shared by the benches of bytes: the data, a reader, contenders in turn, a table of all and one of bounds."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Callable

import contenders
import machine
import store
from contenders import Dcfs, Local, Null, Rclone, S3fs
from mountpoint import Mountpoint

MIB = 1 << 20
PASSES = ("cold", "again", "remounted")


@dataclass(frozen=True)
class Sizes:
    """How much is read, and how often."""

    times: int
    patient: float  # Seconds: a story that took longer in total is not repeated.
    brief: float  # The same for peers, and for values that are only reported.
    large: int
    files: int
    sample: dict  # Small files that are read one at a time, or by a slow mount, near and far.
    cold: dict  # Random reads by their block.
    served: dict  # The same from the daemon's cache.
    warm: dict


FULL = Sizes(
    times=5, patient=30, brief=6, large=512 * MIB, files=2000, sample={0: 200, store.DELAY: 50},
    cold={4096: 2000, 131072: 1000}, served={4096: 4000, 131072: 1000}, warm={4096: 200_000, 131072: 10_000},
)
QUICK = Sizes(
    times=3, patient=1.5, brief=0.4, large=64 * MIB, files=300, sample={0: 60, store.DELAY: 10},
    cold={4096: 400, 131072: 200}, served={4096: 500, 131072: 200}, warm={4096: 20_000, 131072: 1000},
)


@dataclass
class Story:
    """The passes of a contender from an empty state; returns seconds for each unit, by the name of the pass."""

    tell: Callable
    patience: float


@dataclass
class Lab:
    """State shared by all measurements."""

    bench: object
    sizes: Sizes
    data: store.Data
    server: store.Store
    programs: contenders.Programs
    accounts: list
    known: set
    memory: dict = field(default_factory=dict)
    told: set = field(default_factory=set)

    def read(self, cpus, *words, account=None):
        """Seconds and bytes of one pass by the reader, as `account`, which may be another than the mount's."""
        prefix = [*cpus, *(account or self.accounts[0]).prefix]
        command = [str(word) for word in (*prefix, self.programs.reader, *words)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=contenders.PATIENCE)
        seconds, count = done.stdout.split()
        return float(seconds), int(count)

    def direct(self, cpus, url, *words):
        command = [*cpus, self.programs.direct, url, store.BUCKET, *words]
        done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
        seconds, count = done.stdout.split()
        return float(seconds), int(count)

    def names(self, names, title):
        """A file with a name per line."""
        listed = self.data.folder / f"names-{title}"
        listed.write_text("".join(f"{name}\n" for name in names))
        return listed

    def list(self, mount, account):
        """The names, as every program that reads all files finds them first."""
        for folder in (mount.root, mount.root / store.SMALL):
            self.read((), 1, "list", folder, account=account)

    def compare(self, mount, account):
        """Checks that the large file equals the server's, byte by byte."""
        command = [*account.prefix, "cmp", self.data.bucket / store.LARGE, mount.root / store.LARGE]
        subprocess.run(command, check=True, timeout=contenders.PATIENCE, stdout=subprocess.DEVNULL)

    def patience(self, contender):
        return self.sizes.brief if contender.peer else self.sizes.patient

    @property
    def conditions(self):
        """`(title, prefix)`: reader and daemon on one CPU and the server on the other, or all wherever."""
        return [("one", machine.PINNED), ("free", [])] if (os.cpu_count() or 1) > 1 else [("free", [])]

    def skip(self, name, why):
        """Reports once that a contender is left out."""
        if (name, str(why)) not in self.told:
            self.told.add((name, str(why)))
            self.bench.later.append(f"Not measured: {name}: {why}.")
            print(f"skipped: {name}: {why}", file=sys.stderr)

    def remember(self, contender, part, mount):
        """The peak memory of a contender in each part."""
        if found := mount.memory():
            most = self.memory.setdefault(contender.name, {}).get(part, (0, 0))
            self.memory[contender.name][part] = tuple(map(max, most, found))

    def ours(self):
        """dcfs as each account, and without OPEN messages if supported; the first is the one to compare."""
        found = [Dcfs(self.programs, account) for account in self.accounts]
        if "noopen" in self.known:
            found.insert(1, Dcfs(self.programs, self.accounts[0], ["-o", "noopen"], "noopen"))
        return found

    @property
    def disk(self):
        return Local(self.accounts[0], self.data)

    def floors(self):
        """The disk, and the do-nothing file system in each mode; the kernel grants passthrough to root alone."""
        first, last = self.accounts[0], self.accounts[-1]
        modes = [Null(self.programs, first, self.data, mode) for mode in ("passthrough", "noopen", "plain")]
        modes = modes if first.title == "root" else modes[1:]
        return [self.disk, *modes, Null(self.programs, last, self.data, "keep")]

    def peers(self):
        first = self.accounts[0]
        found = [Rclone(self.programs, first)] if self.programs.rclone else []
        found += [S3fs(self.programs, first)] if self.programs.rclone and self.programs.s3fs else []
        there = [False, True] if self.programs.mountpoint else []
        return found + [Mountpoint(self.programs, first, self.data, keeps) for keeps in there]

    def floor_of(self, ours):
        """The floor in the mode that `ours` has once its files are complete."""
        first, last = self.accounts[0].title, self.accounts[-1].title
        if ours.options:
            return f"do-nothing, noopen, {first}"
        return f"do-nothing, passthrough, {first}" if ours.account.title == "root" else f"do-nothing, keep, {last}"


def check(found, expected):
    """A fast wrong answer does not count."""
    if found != expected:
        raise RuntimeError(f"{found} bytes came, and not {expected}")


def in_turn(lab, stories):
    """The median of every figure of every repetition, and their number; contenders that fail or are slow drop out."""
    rounds, left = {name: [] for name in stories}, {name: one.patience for name, one in stories.items()}
    for _ in range(lab.sizes.times):
        for name in [name for name in stories if left[name] > 0]:
            since = time.perf_counter()
            try:
                rounds[name].append(stories[name].tell())
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                lab.skip(name, error)
                left[name] = 0
            left[name] -= time.perf_counter() - since
    return {name: medians(found) for name, found in rounds.items() if found}


def medians(rounds):
    found = {measure: statistics.median(one[measure] for one in rounds) for measure in rounds[0]}
    return {**found, "runs": len(rounds)}


class Table:
    """Everything measured as rates, then what has a bound."""

    def __init__(self, bench, unit, *columns):
        self.bench, self.columns, self.bounds = bench, columns, []
        bench.say(f"\nIn {unit} per second.\n")
        bench.table("CPUs", *columns, "program", *PASSES, "runs")

    def add(self, cells, found):
        """A row for each of `found`, as returned by `in_turn`."""
        for name, one in found.items():
            rates = [f"{1 / one[measure]:,.0f}" if measure in one else "" for measure in PASSES]
            self.bench.row(*cells, name, *rates, one["runs"])

    def bound(self, cells, found, pair, measures, most):
        """`pair` are the names of ours and theirs, `measures` the pass of each, or of both."""
        each = measures if isinstance(measures, tuple) else (measures, measures)
        times = [found.get(name, {}).get(measure) for name, measure in zip(pair, each)]
        if all(times):
            told = [f"{name}, {measure}" for name, measure in zip(pair, each)]
            self.bounds.append((cells, told, times[0] / times[1], most))

    def compare(self, verdict):
        self.bench.say("\nCompared with the bounds, as ratios of time.\n")
        self.bench.table("CPUs", *self.columns, "dcfs", "baseline", "ratio", "bound", "")
        for cells, names, ratio, most in self.bounds:
            self.bench.row(*cells, *names, f"{ratio:.2f}", f"{most:g}", verdict(round(ratio, 2), most))


@contextlib.contextmanager
def laboratory(bench, sizes, programs):
    """Data, server and accounts, in a folder that the user's mounts can reach."""
    folder = bench.folder / "bytes"
    folder.mkdir()
    bench.folder.chmod(0o755)
    data = store.make(folder, sizes.large, sizes.files)
    machine.touch(6 * sizes.large)
    server = store.Store(data, programs.delay, programs.rclone)
    with contenders.accounts(folder, folder / "catalog") as people:
        lab = Lab(bench, sizes, data, server, programs, people, contenders.known(programs))
        peers = ("rclone", programs.rclone, "bench"), ("s3fs", programs.s3fs, "bench"), ("mountpoint-s3", programs.mountpoint, "mountpoint")
        for name, there, setup in peers:
            if not there:
                lab.skip(name, f"not installed (tests/setup {setup})")
        with server.serving(0, False) as url:
            lab.accounts = [one for one in people if packs(lab, Dcfs(programs, one), url)]
            for one in [one for one in lab.ours() if one.options]:
                packs(lab, one, url)
        yield lab
    shutil.rmtree(folder)


def packs(lab, ours, url):
    """Packs the version for a contender; whether it can mount at all."""
    try:
        ours.pack(lab, url)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        lab.skip(ours.name, error)
        return False
    return True
