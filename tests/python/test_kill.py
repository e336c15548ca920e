"""SIGKILL at random moments, while readers fill a cache that two mounts share: nothing wrong is ever stored."""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import buckets
import mounts

pytestmark = pytest.mark.mount

KILLS = int(os.environ.get("DCFS_KILLS", "20"))
"""How often; `make soak` kills more."""


def fill(root):
    sizes = {f"small_{number}.bin": random.Random(number).randrange(1, 200_000) for number in range(80)}
    buckets.fill(root, sizes | {"large.bin": (12 << 20) + 5, "middle.bin": (2 << 20) + 77, "empty.bin": 0})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with buckets.serving(tmp_path_factory.mktemp("killed"), fill) as bucket:
        yield bucket


class Readers:
    """`readers.py` on a mount, until it ends."""

    def __init__(self, bucket, mount, seed, *more):
        script = Path(__file__).parent / "readers.py"
        words = [script, buckets.version(mount), bucket.root, "--processes", "3", "--seed", seed, *more]
        self.process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "reading\n"

    def expect_right(self):
        """They end with their mount, and never saw anything wrong."""
        told, _ = self.process.communicate(timeout=120)
        assert '"wrong": []' in told, told


def check_all(bucket, mount):
    with ThreadPoolExecutor(4) as pool:
        names = random.sample(bucket.names(), len(bucket.names()))
        came = dict(zip(names, pool.map(lambda name: buckets.outcome(mount, bucket, name), names), strict=True))
    assert {name: what for name, what in came.items() if what != "right"} == {}


def forget_some(dcfs):
    """Some objects are removed from the cache, so that each round fetches and writes."""
    for folder in dcfs.cache.glob("dcfs/objects/??/*"):
        if random.random() < 0.5:
            subprocess.run(["rm", "-rf", folder], check=True)


def test_killed_under_load_the_cache_stays_right(bucket, tmp_path):
    random.seed(31)
    dcfs = mounts.Dcfs(tmp_path / "home")
    with bucket.mount(dcfs, tmp_path / "one") as one, bucket.mount(dcfs, tmp_path / "two") as two:
        for number in range(KILLS):
            forget_some(dcfs)
            readers = [Readers(bucket, mount, f"{number} {mount.path}", "--lenient") for mount in (one, two)]
            time.sleep(random.random() * 0.7)
            # Usually one dies while the other continues.
            if number % 3 == 0:
                two.kill()
            one.kill()
            readers[0].expect_right()
            one.mount()
            check_all(bucket, one)
            if number % 3:
                two.kill()
            readers[1].expect_right()
            two.mount()
        check_all(bucket, two)
    drafts = [path for path in dcfs.cache.glob("dcfs/objects/??/.*")]
    assert len(drafts) <= 8 * KILLS, "what a kill leaves is bounded by what was under way"
    assert not [line for line in dcfs.worries() if "panic" in line or "damaged" in line]


def test_killed_while_the_cache_is_cleared_and_verified(bucket, tmp_path):
    """`dcfs cache clear` and `verify` are killed like a mount."""
    random.seed(32)
    dcfs = mounts.Dcfs(tmp_path / "home")
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        for number in range(max(4, KILLS // 4)):
            check_all(bucket, mount)
            process = command(dcfs, "cache", random.choice(["clear", "verify"]))
            time.sleep(random.random() * 0.05)
            process.kill()
            process.wait(30)
            mount.kill()
            mount.mount()
        check_all(bucket, mount)


def command(dcfs, *words):
    """`dcfs WORDS`, started."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([mounts.DCFS, *words], env=dcfs.environment, **quiet)


def test_a_cache_that_is_too_small_for_two_mounts_and_cleared_all_the_time(bucket, tmp_path):
    dcfs, size = mounts.Dcfs(tmp_path / "home"), ("--cache-size", "2M")
    with bucket.mount(dcfs, tmp_path / "one", *size) as one, bucket.mount(dcfs, tmp_path / "two", *size) as two:
        readers = [Readers(bucket, mount, str(mount.path), "--files", "150") for mount in (one, two)]
        while any(reader.process.poll() is None for reader in readers):
            assert command(dcfs, "cache", "clear").wait(60) == 0
        for reader in readers:
            reader.expect_right()
        check_all(bucket, one)
        check_all(bucket, two)
    assert dcfs.worries() == []
