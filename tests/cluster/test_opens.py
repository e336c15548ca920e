"""Opens of files of a catalog on servers: which of them ask ClickHouse."""

import contextlib
import hashlib
import os
import random
import sys
import time
from pathlib import Path

import pytest

import meters
import mounts
import taps

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
import catalog as made  # noqa: E402

pytestmark = pytest.mark.mount

FILES = 50_000
OPENED = 200

VERSION = "datasets/bench@1.0.0"

# root asks no address that a catalog of others names.
ALLOWED = ["--allow-uri", "s3://pets"]


def content(path):
    return f"the bytes of {path}".encode()


@pytest.fixture
def opens(cluster, dcfs, tmp_path):
    """Paths in no order, the address of their catalog, and a bucket for what hosts share."""
    draw = random.Random(7)
    paths = [f"n{number // 1000:02}/{draw.randrange(1 << 64):016x}.jpg" for number in range(FILES)]
    rows = [("s3://pets", path, len(content(path)), hashlib.md5(content(path)).hexdigest()) for path in paths]
    made.make_of(tmp_path / "catalog", rows)
    address = cluster.database("opens")
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(meters.stores.moto(tmp_path))
        s3.bucket("pets", versioned=False)
        s3.bucket("team", versioned=False)
        shown = draw.sample(paths, 2 * OPENED)
        for path in shown:
            s3.client.put_object(Bucket="pets", Key=path, Body=content(path))
        dcfs.ok("catalog", "copy", tmp_path / "catalog", address)

        def host(name, split=4_000_000, write=False):
            keys = {**cluster.environment, **s3.KEYS, "AWS_ENDPOINT_URL": s3.url}
            host = mounts.Dcfs(tmp_path / name, **keys)
            config = host.home / "config.toml"
            config.write_text(f'[shared]\nprefix = "s3://team/dcfs"\nwrite = {str(write).lower()}\nsplit = {split}\n')
            host.environment["DCFS_CONFIG"] = str(config)
            return host

        yield shown, address, host


def queries(cluster):
    return int(cluster.clickhouse.ask(meters.EVENTS).split()[0])


@pytest.mark.parametrize("split", [1000, 4_000_000], ids=["names in blocks", "a whole pack"])
def test_opens_in_no_order_ask_the_server_once(opens, cluster, tmp_path, split):
    paths, address, host = opens
    host("first", split, write=True).ok("warm", "--to-shared", "bench", "--catalog", address)
    with host("second", split).mount(address, tmp_path / "mnt", "--prefetch", "off", *ALLOWED) as mount:
        root = mount.path / VERSION
        # The first open learns where the objects are.
        assert (root / paths[0]).read_bytes() == content(paths[0])
        before = queries(cluster)
        for path in paths[1:OPENED]:
            assert (root / path).read_bytes() == content(path)
        # A query of the test itself, and some of a mount that follows the catalog; no open asks.
        assert queries(cluster) - before < 5


def test_a_host_that_packs_for_itself_asks_once_too(opens, cluster, dcfs, tmp_path):
    paths, address, host = opens
    alone = host("alone")
    del alone.environment["DCFS_CONFIG"]
    with alone.mount(address, tmp_path / "mnt", *ALLOWED) as mount:
        root = mount.path / VERSION
        assert (root / paths[0]).read_bytes() == content(paths[0])
        before = queries(cluster)
        for path in paths[1:OPENED]:
            assert (root / path).read_bytes() == content(path)
        assert queries(cluster) - before < 5


def test_opens_go_on_while_clickhouse_is_away(opens, cluster, dcfs, tmp_path):
    """Also after a change of the catalog, when a mount looks whether its versions are still there."""
    paths, address, host = opens
    with taps.Tap(cluster.clickhouse.port) as tap:
        through = address.replace(f":{cluster.clickhouse.port}/", f":{tap.port}/")
        with host("alone").mount(through, tmp_path / "mnt", "--prefetch", "off", *ALLOWED) as mount:
            root = mount.path / VERSION
            assert (root / paths[0]).read_bytes() == content(paths[0])
            tap.go()
            dcfs.ok("save", "bench", "--where", f"file.path = '{paths[0]}'", "--as", "one", "--catalog", address)
            end = time.monotonic() + 30
            while "one@1.0.0" not in os.listdir(mount.path / "datasets"):
                assert time.monotonic() < end, "the change is not seen"
                time.sleep(0.2)
            for path in paths[1:20]:
                assert (root / path).read_bytes() == content(path)


def test_a_removed_version_is_refused_although_its_pack_is_here(opens, dcfs, tmp_path):
    paths, address, host = opens
    with host("alone").mount(address, tmp_path / "mnt", *ALLOWED) as mount:
        root = mount.path / VERSION
        assert (root / paths[0]).read_bytes() == content(paths[0])
        inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        dcfs.ok("rm", "bench@1.0.0", "--yes", "--catalog", address)
        end = time.monotonic() + 30
        while root.exists() and time.monotonic() < end:
            time.sleep(0.2)
        for path in paths[1:20]:
            # Through a directory that was open before, whose pack is here.
            with pytest.raises(OSError):
                os.open(path, os.O_RDONLY, dir_fd=inside)
        os.close(inside)
