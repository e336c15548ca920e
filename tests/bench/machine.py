"""Mounts, processes and clocks for the benches. Ends only what it started."""

import contextlib
import os
import statistics
import subprocess
import threading
import time
from pathlib import Path

PINNED = ["taskset", "-c", "0"]


def describe():
    """One line about this machine."""
    cpu = next(l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = next(l.split("=")[1].strip().strip('"') for l in open("/etc/os-release") if l.startswith("PRETTY"))
    return f"{os.cpu_count()} x {cpu}, {memory:.0f} GiB, {system}, kernel {os.uname().release}"


def seconds(command, prefix=()):
    """How long `command` takes, its output thrown away."""
    since = time.perf_counter()
    subprocess.run([*prefix, *command], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - since


def median(run, times):
    """The median of `times` runs."""
    return statistics.median(run() for _ in range(times))


def anonymous(pid):
    """Anonymous memory of a process in MiB."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(l.split()[1]) for l in lines if l.startswith("RssAnon")) / 1024


def medians(times, *runs):
    """The median of each of `runs`, taken in turn, so that other load on the machine meets all."""
    rounds = [[run() for run in runs] for _ in range(times)]
    return [statistics.median(column) for column in zip(*rounds)]


class Peak:
    """The highest anonymous memory of a process while the block runs."""

    def __init__(self, pid):
        self.pid, self.mib, self.done = pid, 0.0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def _watch(self):
        while not self.done.wait(0.01):
            with contextlib.suppress(OSError, StopIteration):
                self.mib = max(self.mib, anonymous(self.pid))


@contextlib.contextmanager
def serving(command, point, prefix=(), environment=None):
    """A file system served in the foreground; its process, once it answers."""
    Path(point).mkdir(parents=True, exist_ok=True)
    before = os.stat(point).st_dev
    process = subprocess.Popen(
        [*prefix, *command], env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL
    )
    try:
        while os.stat(point).st_dev == before:
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended with {process.returncode}")
            time.sleep(0.001)
        yield process
    finally:
        subprocess.run(["umount", "-l", point] if os.geteuid() == 0 else ["fusermount3", "-uz", point])
        process.wait(timeout=30)
