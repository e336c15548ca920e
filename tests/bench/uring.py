#!/usr/bin/env python3
"""FUSE over io_uring: what the transport of Linux 6.14 would bring, by libfuse's `null` example, which does nothing else.

    tests/bench/uring.py BUILD [--pinned]

fuser cannot speak it, so it is measured with another library: BUILD is a build of libfuse 3.18 or later with liburing
(`meson setup BUILD && ninja -C BUILD example/null`). The kernel has to allow it, which root may:
`echo Y > /sys/module/fuse/parameters/enable_uring`. Reads go past the page cache, so each is one message; CPU is the
daemon's. Each way of serving takes its turn, as often as TIMES says; medians.
"""

import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import first
import machine

TIMES = 5
SIZES = {4 << 10: 20_000, 128 << 10: 5_000, 1 << 20: 1_000}  # Bytes of a read, and how many.
WAYS = {
    "one thread": ["-s"],
    "threads": [],
    "threads, clone_fd": ["-o", "clone_fd"],
    "io_uring": ["-o", "io_uring"],
}
ALLOWED = Path("/sys/module/fuse/parameters/enable_uring")


def reads(path, size, count, pid):
    """Microseconds and those of the daemon's CPU for each read of `size` bytes."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    memory = mmap.mmap(-1, size)  # Aligned as direct reads ask.
    had, since = first.clock(pid), time.perf_counter()
    for number in range(count):
        os.preadv(file, [memory], number % 1000 * size)
    took, used = time.perf_counter() - since, first.clock(pid) - had
    os.close(file)
    return took / count * 1e6, used / count * 1e6


def serve(build, options, prefix):
    """Every size by one way of serving."""
    with tempfile.NamedTemporaryFile() as point:  # `null` mounts a file over a file.
        command = [*prefix, build / "example" / "null", point.name, "-f", *options]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(build / "lib")}
        process = subprocess.Popen([str(word) for word in command], env=environment)
        try:
            while os.stat(point.name).st_size == 0:
                if process.poll() is not None:
                    raise RuntimeError(f"`null` ended with {process.returncode}")
                time.sleep(0.01)
            return {size: reads(point.name, size, count, process.pid) for size, count in SIZES.items()}
        finally:
            subprocess.run([*machine.UNMOUNT, point.name])
            machine.end(process)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if ALLOWED.read_text().strip() != "Y":
        sys.exit(f"the kernel does not allow it: echo Y > {ALLOWED}")
    prefix = machine.PINNED if "--pinned" in sys.argv else []
    if prefix:
        os.sched_setaffinity(0, {int(prefix[-1])})
    found = {}
    for _ in range(TIMES):
        for way, options in WAYS.items():
            for size, figures in serve(Path(sys.argv[1]).resolve(), options, prefix).items():
                found.setdefault((size, way), []).append(figures)
    print("| read | served by | us each | CPU of the daemon, us |\n|---|---|---|---|")
    for (size, way), figures in sorted(found.items(), key=lambda item: item[0][0]):
        took, used = (statistics.median(one[at] for one in figures) for at in (0, 1))
        print(f"| {size >> 10} KiB | {way} | {took:.1f} | {used:.1f} |")


if __name__ == "__main__":
    main()
