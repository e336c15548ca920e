"""Shared by the benches of writing: objects to list, near and in a bucket, and programs run with their memory sampled."""

import contextlib
import itertools
import os
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import filters
import machine
import store
from machine import Cost

NAME = "bench"
FULL = 200_000  # The bounds hold for this many objects or more: starting takes time as well.
CHANGED = 100  # One in this many objects has changed when the delta is requested.


@dataclass
class Place:
    """Objects to list: their address for each program, and how a part of them changes."""

    title: str
    count: int
    folder: Path
    uri: str
    flags: list
    url: str | None = None

    @property
    def data(self):
        return self.folder / "data"

    @property
    def catalog(self):
        return self.folder / "catalog"


@dataclass
class Desk:
    """State shared by the parts: programs, folders, and the peak memory of each."""

    bench: object
    times: int
    verdict: object
    costs: dict = field(default_factory=dict)

    @property
    def folder(self):
        folder = self.bench.folder / "write"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def environment(self):
        """Nothing from the environment of the person who runs the bench."""
        own = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), str(self.folder / "home"))
        moving = ("AWS_", "DATACHAIN_", "DCFS_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(moving) and not name.lower().endswith("_proxy")}
        return {**kept, **own, "DATACHAIN_NO_ANALYTICS": "1"}

    def run(self, who, what, command, **options):
        """The cost of a command, recorded as `who` doing `what`."""
        cost = machine.cost([str(word) for word in command], env=self.environment, **options)
        self.remember(who, what, cost)
        return cost

    def remember(self, who, what, cost):
        most = self.costs.get((what, who), Cost(0, 0, 0, ""))
        self.costs[what, who] = Cost(0, max(most.anonymous, cost.anonymous), max(most.resident, cost.resident), "")

    def bounded(self, count, value, bound):
        return self.verdict(round(value, 2), bound) if count >= FULL else ""

    def dcfs(self, what, *words, **options):
        return self.run("dcfs", what, [self.bench.dcfs, *words], **options)

    def datachain(self, what, script, folder):
        """DataChain in a process of its own, timed after its imports; `None` if it is not installed or fails."""
        python = filters.interpreter("datachain")
        if not python:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        try:
            cost = self.run("DataChain", what, [python, "-c", SCRIPT.format(script)], cwd=folder)
        except RuntimeError as error:
            self.bench.later.append(f"Not measured: DataChain, {what}: {str(error).splitlines()[-1]}")
            return None
        seconds, rows = cost.output.split()[-2:]
        return Cost(float(seconds), cost.anonymous, cost.resident, rows)


SCRIPT = """
import sys, time
import datachain as dc
from datachain import C
since = time.perf_counter()
{}
print(time.perf_counter() - since, rows)
"""


@contextlib.contextmanager
def local(desk, count):
    """A tree of `count` files, a thousand in each folder, that occupy nothing."""
    folder = desk.folder / f"local-{count}"
    place = Place("local tree", count, folder, str(folder / "data"), [])
    for number, (path, size) in enumerate(objects(count)):
        if number % 1000 == 0:
            (place.data / path).parent.mkdir(parents=True)
        resize(place.data / path, size)
    yield place
    shutil.rmtree(folder)


@contextlib.contextmanager
def bucket(desk, count):
    """A bucket of the same objects; it lists the contents of the file of keys when the server starts."""
    folder = desk.folder / f"s3-{count}"
    folder.mkdir()
    port = store.free_port()
    url = f"http://127.0.0.1:{port}"
    place = Place("S3", count, folder, f"s3://{NAME}", ["--anon", "--endpoint-url", url], url)
    write_keys(place, dict(objects(count)))
    yield place
    shutil.rmtree(folder)


@contextlib.contextmanager
def listed(desk, place):
    """The server of a bucket, if the place is one."""
    if not place.url:
        yield
        return
    port = place.url.rsplit(":", 1)[1]
    with store.running([desk.bench.programs.lister, port, place.data], int(port)):
        yield


def objects(count):
    return ((f"part_{number // 1000:05}/photo_{number:08}.jpg", 1000 + number % 1000) for number in range(count))


def write_keys(place, sizes):
    place.data.write_text("".join(f"{path}\t{size}\n" for path, size in sizes.items()))


def resize(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


def change(place, turn):
    """Every hundredth object becomes another; others in each turn."""
    some = dict(itertools.islice(objects(place.count), turn, None, CHANGED))
    if place.url:
        write_keys(place, dict(objects(place.count)) | {path: size + 5000 + turn for path, size in some.items()})
    else:
        for path, size in some.items():
            resize(place.data / path, size + 5000 + turn)
    return len(some)


def expect(found, wanted):
    """A fast wrong answer does not count."""
    if found != wanted:
        raise SystemExit(f"{found} rows, and not {wanted}")


def median(costs):
    return statistics.median(cost.seconds for cost in costs)
