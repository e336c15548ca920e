"""A bucket served by nginx, with files whose bytes are derived from their names, and its catalog."""

import contextlib
import os
import random
import shutil
import time
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path

import pytest

import datachain_runs
import mounts
import servers


def content(name, size):
    """The bytes of the file called `name`."""
    return random.Random(name).randbytes(size)


@dataclass
class Bucket:
    """`root/b`, the bucket `b`; `url` serves it, and `catalog` holds the dataset `static` of all its files."""

    catalog: Path
    root: Path
    url: str

    def truth(self, name):
        return (self.root / name).read_bytes()

    def names(self, below="."):
        """Every object below a folder of the bucket."""
        found = (self.root / below).rglob("*")
        return sorted(str(path.relative_to(self.root)) for path in found if path.is_file())

    def mount(self, dcfs, point, *options, url=None):
        return dcfs.mount(self.catalog, point, "--anon", "--endpoint-url", url or self.url, *options)


def fill(folder, sizes):
    """Files of a bucket: `{name: size}`."""
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name, size))


def link(folder, sizes, count):
    """`count` names for few files, so that many objects take little time and space to create."""
    for number in range(count):
        name, size = f"{number:06}.bin", sizes[number % len(sizes)]
        path = folder / f"{number // 1000:03}" / name
        if number < len(sizes):
            fill(path.parent, {name: size})
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        first = number % len(sizes)
        os.link(folder / f"{first // 1000:03}" / f"{first:06}.bin", path)


@contextlib.contextmanager
def serving(folder, make, more=""):
    """A bucket whose files `make(root)` writes; `more` is for nginx."""
    if not shutil.which("nginx"):
        pytest.skip("no nginx (apt install nginx-light)")
    root = folder / "root" / "b"
    root.mkdir(parents=True)
    make(root)
    datachain_runs.run("static", folder, str(root))
    with servers.nginx(folder, folder / "root", more) as url:
        yield Bucket(folder, root, url)


def version(mount):
    return mount.datasets / "static@1.0.0"


def outcome(mount, bucket, name):
    """`right`, `WRONG`, or the errno of reading a file."""
    try:
        found = (version(mount) / name).read_bytes()
    except OSError as error:
        return error.errno
    return "right" if found == bucket.truth(name) else "WRONG"


class Patience:
    """Limits how long reads may take: a reader that waits for FUSE can only be freed by ending its daemon."""

    def __init__(self, *served, seconds=180):
        self.served, self.seconds = served, seconds

    def results(self, futures, watch=lambda: None):
        """The results of `{key: future}`; `watch` is called repeatedly meanwhile."""
        end = time.monotonic() + self.seconds
        while late := wait(futures.values(), 0.2).not_done:
            watch()
            if time.monotonic() > end:
                self.end()
                raise AssertionError(f"never ends: {[key for key, future in futures.items() if future in late]}")
        return {key: future.result() for key, future in futures.items()}

    def end(self):
        for mount in self.served:
            if mounts.mounted(mount.path):
                with contextlib.suppress(ValueError):
                    mount.kill()


def status(pid):
    """The numbers of `/proc/PID/status`."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


class Peak:
    """The peak of the private memory of mounts' daemons, in bytes."""

    def __init__(self, *served):
        self.pids, self.bytes = [mount.daemon() for mount in served], 0

    def look(self):
        self.bytes = max(self.bytes, *(status(pid)["RssAnon"] << 10 for pid in self.pids))
