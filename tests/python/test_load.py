"""Many processes on one mount: all make progress, nobody waits for a dead store, memory stays within bounds."""

import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import buckets
import mounts
import servers

pytestmark = pytest.mark.mount

FILES = int(os.environ.get("DCFS_LOAD_FILES", "60"))
"""How many files each process reads; `make soak` reads more."""

PROCESSES = 64
OBJECTS = 20_000
LARGE = 3
"""Streams that one process reads, of 64 MiB each."""

MOST = 300 << 20
"""Limit of the daemon's private memory in bytes."""


def fill(root):
    draw = random.Random(41)
    buckets.link(root / "small", [draw.randrange(20_000, 150_000) for _ in range(1000)], OBJECTS)
    buckets.fill(root, {f"large/{number}.bin": 64 << 20 for number in range(LARGE)})
    buckets.fill(root, {f"dead/{number}.bin": 50_000 for number in range(8)})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Requests for `dead` go through a proxy to another server of the same files."""
    folder = tmp_path_factory.mktemp("load")
    behind = folder / "behind"
    behind.mkdir()
    with servers.nginx(behind, folder / "root") as store, servers.faulty(behind, store) as proxy:
        more = f"location /b/dead/ {{ proxy_pass {proxy.url}; proxy_read_timeout 1h; }}"
        with buckets.serving(folder, fill, more) as bucket:
            yield SimpleNamespace(files=bucket, proxy=proxy)
    shutil.rmtree(folder / "root")


def read_small(bucket, mount):
    """Sixty-four processes; answers how many files each read."""
    script = Path(__file__).parent / "readers.py"
    folders = [buckets.version(mount) / "small", bucket.files.root / "small"]
    command = [sys.executable, script, *folders, "--processes", str(PROCESSES), "--files", str(FILES)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["wrong"] == []
    return found["files"]


def stream(bucket, mount, name):
    """All of a large file, piece by piece; the bytes that were right."""
    count = 0
    with open(bucket.files.root / name, "rb") as right, open(buckets.version(mount) / name, "rb") as file:
        while wanted := right.read(1 << 20):
            assert file.read(1 << 20) == wanted, name
            count += len(wanted)
    return count


def test_many_readers_one_stream_and_a_dead_store(bucket, tmp_path):
    dcfs = mounts.Dcfs(tmp_path / "home")
    bucket.proxy.rules(("/dead/", "hold"))
    mount = bucket.files.mount(dcfs, tmp_path / "mnt", "--timeout", "600s")
    with mount, ThreadPoolExecutor(16) as pool:
        patience, peak = buckets.Patience(mount, seconds=3600), buckets.Peak(mount)
        dead = {name: pool.submit(buckets.outcome, mount, bucket.files, name) for name in bucket.files.names("dead")}
        busy = {"small": pool.submit(read_small, bucket, mount)}
        busy |= {name: pool.submit(stream, bucket, mount, name) for name in bucket.files.names("large")}
        came = patience.results(busy, peak.look)
        assert came.pop("small") == [FILES] * PROCESSES
        assert set(came.values()) == {64 << 20}
        assert not any(future.done() for future in dead.values()), "they wait, and nobody else does"
        bucket.proxy.rules()
        assert set(patience.results(dead, peak.look).values()) == {"right"}
        print(f"at most {peak.bytes >> 20} MiB")
        assert peak.bytes < MOST
    assert dcfs.worries() == []
    shutil.rmtree(dcfs.cache)
