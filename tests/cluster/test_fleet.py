"""Several hosts: network namespaces, each with its own mount, cache and home; one bucket that is 20 ms away, one catalog on servers."""

import contextlib
import importlib.util
import json
import os
import random
import subprocess
import sys
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

    def run(self, *arguments, timeout=120, **options):
        # Only the network is another: a mount is seen by the test.
        command = ["nsenter", f"--net=/run/netns/{self.name}", mounts.DCFS, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout, **options)

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
            config = tmp_path / f"{number}.toml"
            config.write_text(f'[shared]\nprefix = "s3://{bucket}/dcfs"\nwrite = {str(number == 0).lower()}\n')
            keys = {"AWS_ENDPOINT_URL": f"http://{host.gate}:{host.bucket.port}", "DCFS_CONFIG": str(config)}
            host.environment.update(s3.KEYS | keys)
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
