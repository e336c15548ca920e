"""Mounts, processes and clocks for the benches. Ends only what it started."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PINNED = ["taskset", "-c", "0"]
UNMOUNT = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]


def describe():
    """A line about this machine."""
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
    return _status(pid, "RssAnon")


def resident(pid):
    """Memory of a process that is in RAM, files it maps included, in MiB."""
    return _status(pid, "VmRSS")


def _status(pid, name):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(l.split()[1]) for l in lines if l.startswith(name)) / 1024


def medians(times, *runs):
    """The median of each of `runs`, taken in turn, so that other load on the machine affects all."""
    rounds = [[run() for run in runs] for _ in range(times)]
    return [statistics.median(column) for column in zip(*rounds)]


class Peak:
    """The peak anonymous memory of a process while the block runs; `resident`: everything that was in RAM."""

    def __init__(self, pid):
        self.pid, self.mib, self.resident, self.done = pid, 0.0, 0.0, threading.Event()

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
                self.resident = max(self.resident, _status(self.pid, "VmHWM"))


@dataclass(frozen=True)
class Cost:
    """The cost of a program: seconds, peak anonymous and peak resident memory in MiB; and its output."""

    seconds: float
    anonymous: float
    resident: float
    output: str


def cost(command, **options):
    """Runs a program to its end; it must succeed."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        since = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, **options)
        with Peak(process.pid) as peak:
            process.wait()
            took = time.perf_counter() - since
        if process.returncode:
            raise RuntimeError(f"`{Path(command[0]).name}` ended with {process.returncode}: {_last(errors)[:200]}")
        output.seek(max(0, output.seek(0, os.SEEK_END) - 65536))
        return Cost(took, peak.mib, peak.resident, output.read())


def _mounts(point, room):
    """The mount at a path, seen by this process or by `room`."""
    with open(f"/proc/{room or 'self'}/mountinfo") as lines:
        return [line for line in lines if line.split(" ")[4] == str(point)]


@contextlib.contextmanager
def serving(command, point, prefix=(), environment=None, room=None):
    """A file system served in the foreground; its process, once it is mounted.

    `room` is a process in the mount namespace where `prefix` goes, if that is another one.
    """
    Path(point).mkdir(parents=True, exist_ok=True)
    before = _mounts(point, room)
    with tempfile.TemporaryFile("w+") as errors:
        variables = {**os.environ, **(environment or {})}
        process = subprocess.Popen([*prefix, *command], env=variables, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while _mounts(point, room) == before:
                if process.poll() is not None:
                    raise RuntimeError(f"`{Path(command[0]).name}` ended with {process.returncode}: {_last(errors)}")
                time.sleep(0.001)
            with contextlib.suppress(PermissionError):
                os.stat(point)  # It answers.
            yield process
        finally:
            if _mounts(point, room) != before:
                subprocess.run([*_enter(room), *UNMOUNT, point])
            end(process)


def _enter(room):
    return ["nsenter", f"--mount=/proc/{room}/ns/mnt"] if room else []


def _last(errors):
    """The last line that a program wrote."""
    errors.seek(0)
    return next(reversed(errors.read().strip().splitlines()), "it said nothing")


def touch(size):
    """Makes the host of a virtual machine provide `size` bytes, at most a third of the available memory.

    Memory that was never used costs a fault of the host for each page: the first file written to the page cache
    took ten times as long as the next.
    """
    with open("/proc/meminfo") as lines:
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) << 10
    script = "import sys; b'1' * int(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(min(size, available // 3))], check=True)


def end(process):
    """Waits for a process to end by itself, and kills it otherwise."""
    for ask in (lambda: None, process.terminate, process.kill):
        ask()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=30)
