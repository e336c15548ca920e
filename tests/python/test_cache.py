"""Objects on disk: fetched once, by whichever mount; whatever happens to the files, the right bytes."""

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import buckets
import mounts

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """nginx over a folder, and a dataset whose rows name its files."""
    sizes = random.Random(11)
    files = {f"small_{number}.bin": sizes.randrange(1, 200_000) for number in range(60)}
    folder = tmp_path_factory.mktemp("cached")
    with buckets.serving(folder, lambda root: buckets.fill(root, {"large.bin": 12 << 20, **files})) as bucket:
        yield SimpleNamespace(folder=folder, bucket=bucket.root, url=bucket.url, log=folder / "access.log")


@pytest.fixture
def dcfs(store, tmp_path):
    return mounts.Dcfs(tmp_path / "home")


def mounted(store, dcfs, point, *options):
    return dcfs.mount(store.folder, point, "--anon", "--endpoint-url", store.url, *options)


def requests(store):
    return len(store.log.read_text().splitlines())


def names(store):
    return sorted(path.name for path in store.bucket.iterdir())


def check(store, mount, name):
    """All bytes of a file are those in the store."""
    assert (mount.datasets / "static@1.0.0" / name).read_bytes() == (store.bucket / name).read_bytes(), name


def check_all(store, mount, workers=1):
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda name: check(store, mount, name), names(store)))


def objects(dcfs):
    """Folders, and the files of small objects."""
    return sorted(dcfs.cache.glob("dcfs/objects/*/*"))


def test_a_second_mount_asks_the_store_for_nothing(store, dcfs, tmp_path):
    before = requests(store)
    with mounted(store, dcfs, tmp_path / "mnt") as mount:
        check_all(store, mount)
    assert requests(store) > before
    before = requests(store)
    with mounted(store, dcfs, tmp_path / "mnt") as mount:
        check_all(store, mount, workers=4)
        with open(mount.datasets / "static@1.0.0" / "large.bin", "rb") as file:
            assert os.pread(file.fileno(), 100, 7 << 20) == (store.bucket / "large.bin").read_bytes()[7 << 20 :][:100]
    assert requests(store) == before
    assert dcfs.worries() == []


def test_without_a_size_nothing_is_kept(store, dcfs, tmp_path):
    with mounted(store, dcfs, tmp_path / "mnt", "--cache-size", "0") as mount:
        check_all(store, mount)
    assert objects(dcfs) == []


def test_a_small_cache_stays_small(store, dcfs, tmp_path):
    with mounted(store, dcfs, tmp_path / "mnt", "--cache-size", "2M") as mount:
        for _ in range(3):
            check_all(store, mount, workers=4)
        # Objects in use stay until they are closed; then they are removed.
        deadline = time.monotonic() + 60
        while json.loads(dcfs.ok("cache", "status", "--json"))["bytes"] > 2 << 20:
            assert time.monotonic() < deadline, dcfs.ok("cache", "status")
            check(store, mount, random.choice(names(store)))
            time.sleep(0.2)
    assert dcfs.worries() == []


def test_files_that_were_changed_between_mounts_never_show(store, dcfs, tmp_path):
    random.seed(12)
    with mounted(store, dcfs, tmp_path / "mnt") as mount:
        check_all(store, mount)
    for round in range(3):
        for found in objects(dcfs):
            harm(random.choice([found / "data", found / "map"]) if found.is_dir() else found)
        with mounted(store, dcfs, tmp_path / "mnt") as mount:
            check_all(store, mount, workers=4)


def test_a_large_file_is_marked_and_believed_until_somebody_writes_it(store, dcfs, tmp_path):
    with mounted(store, dcfs, tmp_path / "mnt") as mount:
        check(store, mount, "large.bin")
    with mounted(store, dcfs, tmp_path / "mnt") as mount:
        check(store, mount, "large.bin")
        live = json.loads((mount.datasets.parent / "_status.json").read_text())["store"]
        assert os.geteuid() != 0 or live["bytes_from_disk"] == 0, "the kernel reads it"
    before = requests(store)
    for at in (0, 5 << 20, (12 << 20) - 1):
        data = next(folder / "data" for folder in objects(dcfs) if (folder / "data").stat().st_size == 12 << 20)
        times = data.stat()
        with open(data, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0xFF]))
        os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))
        with mounted(store, dcfs, tmp_path / "mnt") as mount:
            check(store, mount, "large.bin")
        assert requests(store) > before, "the block was fetched again"
        before = requests(store)


def harm(file):
    """Damages a file in one of many ways."""
    whole = file.read_bytes()
    at = random.randrange(len(whole))
    changed = {
        "flipped": lambda: whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :],
        "shorter": lambda: whole[:at],
        "longer": lambda: whole + b"more",
        "zeros": lambda: bytes(len(whole)),
        "empty": lambda: b"",
    }
    what = random.choice([*changed, "gone", "directory"])
    file.unlink()
    if what == "directory":
        file.mkdir()
    elif what != "gone":
        file.write_bytes(changed[what]())


def test_two_mounts_share_what_they_fetch(store, dcfs, tmp_path):
    before = requests(store)
    with mounted(store, dcfs, tmp_path / "one") as one, mounted(store, dcfs, tmp_path / "two") as two:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: check(store, *job), [(mount, name) for name in names(store) for mount in (one, two)]))
    both = requests(store) - before
    assert both <= 2 * (len(names(store)) + 12)
    with mounted(store, dcfs, tmp_path / "one") as one:
        before = requests(store)
        check_all(store, one)
        assert requests(store) == before


def test_a_killed_mount_leaves_a_cache_that_is_right(store, dcfs, tmp_path):
    random.seed(13)
    for round in range(5):
        mount = mounted(store, dcfs, tmp_path / "mnt")
        with ThreadPoolExecutor(4) as pool:
            with mount:
                jobs = [pool.submit(read_quietly, store, mount, name) for name in random.sample(names(store), 40)]
                jobs[random.randrange(20)].result()
                mount.kill()
        with mounted(store, dcfs, tmp_path / "mnt") as mount:
            check_all(store, mount, workers=4)


def read_quietly(store, mount, name):
    """Reads until the mount is gone."""
    try:
        check(store, mount, name)
    except OSError:
        pass


@pytest.mark.root
def test_a_full_disk_is_no_error(store, dcfs, tmp_path):
    with mounts.small_disk(tmp_path / "tiny", "3m") as cache:
        with mounted(store, dcfs, tmp_path / "mnt", "--cache-dir", str(cache)) as mount:
            check_all(store, mount, workers=4)
            check_all(store, mount)
        assert len([line for line in dcfs.worries() if "cannot write below" in line]) <= 1


def test_the_command_tells_verifies_and_clears(store, dcfs, tmp_path):
    def ask(*words):
        return json.loads(dcfs.ok("cache", *words, "--json"))

    assert ask("status")["objects"] == 0
    with mounted(store, dcfs, tmp_path / "mnt") as mount:
        check_all(store, mount)
        # Bytes that were read are written a moment later.
        deadline = time.monotonic() + 60
        while (status := ask("status"))["objects"] < len(names(store)):
            assert time.monotonic() < deadline, status
        assert status["objects"] == len(names(store)) and status["bytes"] >= 12 << 20
        assert Path(status["folder"]) == dcfs.cache / "dcfs"
    assert ask("verify")["damaged"] == 0
    (folder,) = [found for found in objects(dcfs) if found.is_dir()]
    data = folder / "data"
    data.write_bytes(bytes(data.stat().st_size))
    assert ask("verify")["damaged"] > 0
    assert "1 object" in dcfs.ok("cache", "status") or "objects" in dcfs.ok("cache", "status")
    assert ask("clear")["removed"] == len(names(store))
    nothing = {"objects": 0, "bytes": 0, "tables": 0, "tables_bytes": 0}
    assert ask("status") == {"folder": str(dcfs.cache / "dcfs")} | nothing
    assert "removed 0 objects" in dcfs.ok("cache", "clear")
