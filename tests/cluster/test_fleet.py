"""Several hosts: network namespaces, each with its own mount, cache and home; one bucket that is 20 ms away, one catalog on servers."""

import contextlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import mounts
import taps

TESTS = Path(__file__).resolve().parents[1]

sys.path.append(str(TESTS / "bench"))
import catalog as made  # noqa: E402

# The module of that name here is another.
spec = importlib.util.spec_from_file_location("stores", TESTS / "python" / "servers.py")
stores = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stores)

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are made by root"),
]

HOSTS = 3
ROWS = 60_000
FILTER = "width > 500"
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
AWAY = 0.02
"""Seconds to the bucket: 20 ms there, and as much back."""


class Host(mounts.Dcfs):
    """The binary on a machine of its own, as far as the network goes: what it reaches is `10.77.<number>.1`."""

    def __init__(self, number, folder, **environment):
        super().__init__(folder, **environment)
        self.gate = f"10.77.{number}.1"
        self.name = f"dcfs{os.getpid() % 10000}h{number}"
        ip = lambda text: subprocess.run(["ip", *text.split()], check=True)  # noqa: E731
        ip(f"netns add {self.name}")
        ip(f"link add {self.name} type veth peer name eth0 netns {self.name}")
        ip(f"addr add {self.gate}/24 dev {self.name}")
        ip(f"link set {self.name} up")
        ip(f"-n {self.name} addr add 10.77.{number}.2/24 dev eth0")
        ip(f"-n {self.name} link set eth0 up")
        ip(f"-n {self.name} link set lo up")

    def inside(self, arguments):
        # Only the network is another: a mount is seen by the test.
        return ["nsenter", f"--net=/run/netns/{self.name}", mounts.DCFS, *arguments]

    def run(self, *arguments, timeout=120, **options):
        return subprocess.run(self.inside(arguments), env=self.environment, capture_output=True, text=True, timeout=timeout, **options)

    def start(self, *arguments):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.inside(arguments), env=self.environment, stdin=subprocess.DEVNULL, **pipes)

    def shares(self, write, lease=30):
        """Its settings: whether it writes what is shared, and when a silent builder is dead to it, in seconds."""
        config = self.home / "config.toml"
        config.write_text(f'[shared]\nprefix = "{self.prefix}"\nwrite = {str(write).lower()}\nlease = {lease}\n')
        self.environment["DCFS_CONFIG"] = str(config)

    def is_off(self, hours):
        """Its clock is ahead by so much; waiting is not by that clock."""
        self.environment.update(LD_PRELOAD=str(FAKETIME), FAKETIME=f"{hours:+}h", FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1")

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name])
        subprocess.run(["ip", "link", "del", self.name], stderr=subprocess.DEVNULL)


@pytest.fixture
def fleet(tmp_path, cluster):
    """Hosts that reach one catalog on servers and one bucket, which is `AWAY`."""
    folder = tmp_path / "catalog"
    made.make(folder, "class/hash", ROWS, made.TYPED)
    name = f"fleet{time.monotonic_ns()}"
    cluster.clickhouse.ask(f"CREATE DATABASE {name}")
    cluster.postgres.sql(f"CREATE DATABASE {name}", database="postgres")
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(stores.moto(tmp_path))
        bucket = f"team-{random.randrange(1 << 32):08x}"
        s3.bucket(bucket, versioned=False)
        hosts = []
        for number in range(HOSTS):
            host = Host(number, tmp_path / f"host{number}", **cluster.environment)
            stack.callback(host.close)
            here = {"host": host.gate}
            clickhouse = stack.enter_context(taps.Tap(cluster.clickhouse.port, **here))
            postgres = stack.enter_context(taps.Tap(cluster.postgres.port, **here))
            host.bucket = stack.enter_context(taps.Tap(int(s3.url.rsplit(":", 1)[1]), seconds=AWAY / 2, **here))
            host.prefix = f"s3://{bucket}/dcfs"
            host.shares(write=number == 0)
            host.environment.update(s3.KEYS, AWS_ENDPOINT_URL=f"http://{host.gate}:{host.bucket.port}")
            host.keys = lambda: [one["Key"] for one in s3.client.list_objects_v2(Bucket=bucket).get("Contents", [])]
            host.catalog = (
                f"clickhouse://dcfs@{host.gate}:{clickhouse.port}/{name}?secure=false"
                f"&metastore=postgresql://datachain@{host.gate}:{postgres.port}/{name}%3Fsslmode=disable"
            )
            hosts.append(host)
        hosts[0].ok("catalog", "copy", folder, hosts[0].catalog)
        yield hosts
    cluster.clickhouse.ask(f"DROP DATABASE {name}")


def told(mount):
    return json.loads((mount.path / "_status.json").read_text())["shared"]


def test_hosts_of_a_fleet_share_what_one_built_and_see_what_each_saves(fleet, tmp_path):
    first, *others = fleet
    written = json.loads(first.ok("warm", "--to-shared", "--json", "bench", "--catalog", first.catalog, "--where", FILTER))
    assert written["objects"] > 4
    with contextlib.ExitStack() as stack:
        mounted = []
        for number, host in enumerate(fleet):
            began = time.monotonic()
            mount = stack.enter_context(host.mount(host.catalog, tmp_path / f"mnt{number}"))
            root = mount.datasets / "bench@1.0.0"
            names = sorted(os.listdir(root))
            count = (root / FILTER / "_count").read_text()
            mounted.append((mount, names, count))
            print(f"host {number}: first names and a filter after {time.monotonic() - began:.2f} s, {host.bucket.answered / 1e6:.2f} MB of the bucket")
        assert len({(tuple(names), count) for _, names, count in mounted}) == 1
        # The others built nothing: all came from the bucket.
        for host, (mount, *_) in zip(others, mounted[1:]):
            shared = told(mount)
            assert shared["fetched"] > 4 and shared["put"] == 0 and shared["refused"] == 0
            assert "packed" not in host.log()
        # What any of them saves, all of them see.
        for number, host in enumerate(fleet):
            host.ok("save", "bench", "--catalog", host.catalog, "--where", f"width > {600 + number}", "--as", "some")
        for mount, *_ in mounted:
            end = time.monotonic() + 60
            while not (mount.datasets / "some@1.0.2").exists() and time.monotonic() < end:
                time.sleep(0.2)
            counts = [int((mount.datasets / f"some@1.0.{number}" / "_count").read_text()) for number in range(HOSTS)]
            assert counts == sorted(counts, reverse=True) and counts[0] > 0


def count_of(mount, version):
    return int((mount.datasets / version / "_count").read_text())


def test_hosts_that_save_at_once_get_numbers_of_their_own_and_all_see_them(fleet, tmp_path):
    with contextlib.ExitStack() as stack:
        mounted = [stack.enter_context(host.mount(host.catalog, tmp_path / f"mnt{number}")) for number, host in enumerate(fleet)]
        began = [
            (limit, host.start("save", "bench", "--catalog", host.catalog, "--where", f"sys__id <= {limit}", "--as", "raced", "--json"))
            for number, host in enumerate(fleet)
            for limit in [100 + number, 200 + number]
        ]
        wanted = {}
        for limit, process in began:
            out, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            wanted[json.loads(out)["version"]] = limit
        assert sorted(wanted) == [f"1.0.{number}" for number in range(len(began))]
        for mount in mounted:
            end = time.monotonic() + 60
            while not all((mount.datasets / f"raced@{version}").exists() for version in wanted) and time.monotonic() < end:
                time.sleep(0.2)
            assert {version: count_of(mount, f"raced@{version}") for version in wanted} == wanted


def is_put(piece):
    """Whether a request stores an object; one of a lease is none."""
    line = piece.split(b"\r\n", 1)[0]
    return line.startswith(b"PUT ") and b"/lease-" not in line


def is_large(piece):
    """Of more than 64 KiB: such an upload may take a minute."""
    return any(int(line[15:]) > 64 << 10 for line in piece.split(b"\r\n") if line.lower().startswith(b"content-length:"))


def leases(host):
    return [key for key in host.keys() if "/lease-" in key]


REPLACED = "its builder says nothing any more"


@pytest.mark.parametrize("stored", [0, 1, 3])
def test_a_host_that_dies_while_it_builds_leaves_it_to_the_next(fleet, tmp_path, stored):
    """Killed with its lease and so many of its objects in the bucket: the next host takes the lease over, and what it shares is whole."""
    first, other, reader = fleet
    for host in [first, other]:
        host.shares(write=True, lease=2)
    began, puts = threading.Event(), []

    def hold(piece, is_asked):
        if is_asked and is_put(piece):
            puts.append(piece)
            if len(puts) > stored:
                began.wait()
                process.kill()
                process.wait()

    first.bucket.hold = hold
    process = first.start("warm", "--to-shared", "bench", "--catalog", first.catalog)
    began.set()
    assert process.wait(timeout=120) == -9 and len(leases(first)) == 1
    with other.mount(other.catalog, tmp_path / "other") as mount:
        names = sorted(os.listdir(mount.datasets / "bench@1.0.0"))
        end = time.monotonic() + 60
        while leases(other) and time.monotonic() < end:
            time.sleep(0.1)
        assert told(mount)["put"] > 2 and leases(other) == []
    assert REPLACED in other.log()
    with reader.mount(reader.catalog, tmp_path / "reader") as mount:
        assert sorted(os.listdir(mount.datasets / "bench@1.0.0")) == names
        assert told(mount)["fetched"] > 2 and told(mount)["refused"] == 0
    assert "packed" not in reader.log()


@pytest.mark.skipif(FAKETIME is None, reason="no libfaketime: run `tests/setup cluster`")
@pytest.mark.parametrize("hours", [10, -10])
def test_a_lease_is_not_judged_by_clocks(fleet, tmp_path, hours):
    """The builder's clock is off by hours, and the other host's by as many in the other direction: while the builder lives it is waited
    for, three times as long as its lease; once it is dead, it is replaced."""
    builder, waiting, _ = fleet
    for host, off in [(builder, hours), (waiting, -hours)]:
        host.shares(write=True, lease=4)
        host.is_off(off)
    looks, is_held, is_long = [], threading.Event(), threading.Event()

    def look(piece, is_asked):
        if is_asked and piece.startswith(b"GET ") and b"/lease-" in piece.split(b"\r\n", 1)[0]:
            looks.append(piece)
            # Half a second at least lies between two of them: only they are counted, no time.
            if len(looks) >= 24:
                is_long.set()

    def hold(piece, is_asked):
        # What renews the lease has a connection of its own. An upload that is given up and repeated is held again.
        if is_asked and is_put(piece) and is_large(piece) and not is_long.is_set():
            is_held.set()
            is_long.wait(timeout=600)

    builder.bucket.hold, waiting.bucket.hold = hold, look
    warm = ["warm", "--to-shared", "bench", "--catalog", builder.catalog]
    process = builder.start(*warm)
    assert is_held.wait(timeout=300)
    with waiting.mount(waiting.catalog, tmp_path / "waiting") as mount:
        names = sorted(os.listdir(mount.datasets / "bench@1.0.0"))
        assert is_long.is_set(), "it waited"
        assert told(mount)["put"] == 0 and told(mount)["fetched"] > 2
    assert process.wait(timeout=300) == 0
    assert REPLACED not in waiting.log() and "packed" not in waiting.log()
    # Another version, whose builder dies.
    builder.ok("save", "bench", "--catalog", builder.catalog, "--as", "next")
    is_held.clear()
    is_long.clear()
    process = builder.start("warm", "--to-shared", "next", "--catalog", builder.catalog)
    assert is_held.wait(timeout=300)
    process.kill()
    process.wait()
    is_long.set()
    with waiting.mount(waiting.catalog, tmp_path / "waiting") as mount:
        assert sorted(os.listdir(mount.datasets / "next@1.0.0")) == names
    assert REPLACED in waiting.log()
