"""Reads return the right bytes, whatever replaces a file of the cache and whatever happens to its folder.

The files that `test_cache.py` damages byte by byte are replaced here by other things, also while a mount has them open.
"""

import json
import os
import shutil
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

import buckets
import mounts

pytestmark = pytest.mark.mount

SAME = 1_300_000
"""Size of the objects whose files are exchanged: only their keys distinguish them. Each has a folder."""

SMALL = 150_000
"""Size of small objects, which have one file each."""


def fill(root):
    sizes = {f"{number}.bin": SAME for number in range(3)} | {f"small_{number}.bin": SMALL for number in range(8)}
    buckets.fill(root, sizes | {"large.bin": 3_000_000, "empty.bin": 0})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with buckets.serving(tmp_path_factory.mktemp("damaged"), fill) as bucket:
        yield bucket


@pytest.fixture
def dcfs(bucket, tmp_path):
    """A home whose cache holds every object."""
    dcfs = mounts.Dcfs(tmp_path / "home")
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        check_all(bucket, mount)
    return dcfs


def check_all(bucket, mount):
    with ThreadPoolExecutor(4) as pool:
        names = bucket.names()
        came = dict(zip(names, pool.map(lambda name: buckets.outcome(mount, bucket, name), names), strict=True))
    assert {name: what for name, what in came.items() if what != "right"} == {}


def files(dcfs):
    """All files of objects."""
    return [path for path in dcfs.cache.glob("dcfs/objects/**/*") if path.is_file()]


def objects(dcfs):
    """The folders of objects of the same size."""
    folders = [path.parent for path in dcfs.cache.glob("dcfs/objects/*/*/map")]
    return sorted(folder for folder in folders if (folder / "data").stat().st_size == SAME)


def small_objects(dcfs):
    """The files of the small objects."""
    return sorted(path for path in dcfs.cache.glob("dcfs/objects/*/*") if path.is_file() and path.stat().st_size == SMALL)


def gone(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def nothing(path, other):
    gone(path)


def symlink(path, other):
    gone(path)
    path.symlink_to(other)


def symlink_to_nothing(path, other):
    gone(path)
    path.symlink_to(path)


def device(path, other):
    gone(path)
    path.symlink_to("/dev/zero")


def fifo(path, other):
    gone(path)
    os.mkfifo(path)


def directory(path, other):
    gone(path)
    (path / "not" / "empty").mkdir(parents=True)


def of_another(path, other):
    gone(path)
    if other.is_dir():
        shutil.copytree(other, path)
    else:
        shutil.copyfile(other, path)


def linked_to_another(path, other):
    if path.is_file():
        gone(path)
        os.link(other, path)


def empty(path, other):
    if path.is_file():
        path.write_bytes(b"")


def huge(path, other):
    if path.is_file():
        os.truncate(path, 1 << 40)


def unreadable(path, other):
    path.chmod(0)


def file(path, other):
    gone(path)
    path.write_bytes(b"no folder")


def of_another_size(path, other):
    """A map that claims, with the right checksum, that the object is longer."""
    if path.name != "map":
        return
    header = bytearray(path.read_bytes())
    header[16:24] = (SAME + 1).to_bytes(8, "little")
    header[40:44] = zlib.crc32(header[:40]).to_bytes(4, "little")
    path.write_bytes(header)


def full_of_lies(path, other):
    """A map whose blocks are all there, with checksums of something else."""
    if path.name == "map":
        whole = path.read_bytes()
        path.write_bytes(whole[:64] + b"\x01" * (len(whole) - 64))


def marked_wrong(path, other):
    """The mark of another object."""
    if path.is_file() and MARK in os.listxattr(path):
        os.setxattr(path, MARK, os.getxattr(other, MARK))


def unmarked(path, other):
    """The state after a kill."""
    if path.is_file() and MARK in os.listxattr(path):
        os.removexattr(path, MARK)


def flipped(path, other):
    """One bit, changed by somebody who hides the write."""
    if path.is_file():
        before = path.stat()
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 4
        with open(path, "r+b") as opened:
            opened.write(whole)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchanged(path, other):
    """Complete and marked, but belonging to another object."""
    path.rename(path.with_name(".aside"))
    other.rename(path)
    path.with_name(".aside").rename(other)


MARK = "user.dcfs"

HARMS = [
    symlink, symlink_to_nothing, device, fifo, directory, of_another, linked_to_another, empty, huge, unreadable,
    file, of_another_size, full_of_lies, nothing,
]  # fmt: skip


@pytest.mark.parametrize("what", ["data", "map", ""])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_something_else_in_place_of_a_file(bucket, dcfs, tmp_path, harm, what):
    """One object is damaged; it and the one that was exchanged with it are read correctly, twice."""
    harmed, other, *_ = objects(dcfs)
    harm(harmed / what, other / what)
    for _ in range(2):
        with bucket.mount(dcfs, tmp_path / "mnt") as mount:
            check_all(bucket, mount)
            assert not [line for line in dcfs.worries() if "panic" in line]


@pytest.mark.parametrize("harm", [*HARMS, marked_wrong, unmarked, flipped, exchanged], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("asked", ["read", "command"])
def test_something_else_in_place_of_a_small_object(bucket, dcfs, tmp_path, harm, asked):
    harmed, other, *_ = small_objects(dcfs)
    harm(harmed, other)
    if asked == "command":
        assert dcfs.ok("cache", "status", timeout=30)
        dcfs.run("cache", "verify", timeout=30)
    for _ in range(2):
        with bucket.mount(dcfs, tmp_path / "mnt") as mount:
            check_all(bucket, mount)
            assert not [line for line in dcfs.worries() if "panic" in line]
    for words in ("verify", "clear"):
        dcfs.run("cache", words, timeout=30)


@pytest.mark.parametrize("what", ["data", "map", ""])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_the_command_lives_with_something_else(bucket, dcfs, tmp_path, harm, what):
    """`verify` and `clear` end, and remove only what belongs to the cache."""
    harmed, other, *_ = objects(dcfs)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "map").write_bytes(b"mine")
    harm(harmed / what, precious if harm is symlink and not what else other / what)
    for words in ("status", "verify", "clear"):
        dcfs.run("cache", words, timeout=30)
    assert (precious / "map").read_bytes() == b"mine"
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        check_all(bucket, mount)
    assert dcfs.ok("cache", "verify", timeout=30)


@pytest.mark.parametrize("level", ["objects", "shelf"])
@pytest.mark.parametrize("harm", [file, symlink, symlink_to_nothing, directory], ids=lambda harm: harm.__name__)
def test_something_else_in_place_of_a_folder(bucket, dcfs, tmp_path, harm, level):
    """Something can be stored there or not; nothing outside is touched."""
    folder = dcfs.cache / "dcfs" / "objects"
    folder = folder if level == "objects" else objects(dcfs)[0].parent
    outside = tmp_path / "outside"
    (outside / "mine").mkdir(parents=True)
    harm(folder, outside)
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        check_all(bucket, mount)
    for words in ("status", "verify", "clear"):
        dcfs.run("cache", words, timeout=30)
    assert (outside / "mine").is_dir()


def forget_pages(bucket, mount):
    """Drops the kernel's copies of all files, so that the daemon is asked again."""
    for name in bucket.names():
        with open(buckets.version(mount) / name, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def closed(mount, dcfs):
    """Waits until the kernel has released every file, and fetched bytes are written."""
    live = mount.datasets.parent / "_status.json"
    while json.loads(live.read_text())["open"] > 1:
        pass

    def written():
        return {path: path.stat().st_mtime_ns for path in files(dcfs)}

    before = None
    while before != (before := written()):
        time.sleep(0.5)


@pytest.mark.parametrize("level", ["objects", "."])
def test_the_cache_is_removed_while_mounted(bucket, dcfs, tmp_path, level):
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        with open(buckets.version(mount) / "large.bin", "rb") as held:
            assert held.read(100) == bucket.truth("large.bin")[:100]
            for _ in range(3):
                shutil.rmtree(dcfs.cache / "dcfs" / level, ignore_errors=True)
                forget_pages(bucket, mount)
                check_all(bucket, mount)
                assert os.pread(held.fileno(), 100, 2_000_000) == bucket.truth("large.bin")[2_000_000:][:100]
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        check_all(bucket, mount)


@pytest.mark.parametrize("size", [0, 1000, 64 << 10])
def test_files_are_cut_while_mounted(bucket, dcfs, tmp_path, size):
    """No crash of a mapped file, no bytes that do not exist: files that were open before are checked when opened
    again. (What root has open meanwhile, the kernel reads by itself.)"""
    with bucket.mount(dcfs, tmp_path / "mnt") as mount:
        check_all(bucket, mount)
        for _ in range(2):
            closed(mount, dcfs)
            for path in files(dcfs):
                os.truncate(path, min(size, path.stat().st_size))
            check_all(bucket, mount)
            forget_pages(bucket, mount)
            check_all(bucket, mount)


@pytest.mark.root
def test_the_cache_becomes_read_only(bucket, tmp_path):
    """Cached bytes are read, the rest comes from the store, and one line says so."""
    dcfs, disk = mounts.Dcfs(tmp_path / "home"), tmp_path / "disk"
    with mounts.small_disk(disk, "64m"), bucket.mount(dcfs, tmp_path / "mnt", "--cache-dir", str(disk)) as mount:
        for name in bucket.names()[:4]:
            assert buckets.outcome(mount, bucket, name) == "right"
        subprocess.run(["mount", "-o", "remount,ro", disk])
        forget_pages(bucket, mount)
        check_all(bucket, mount)
        check_all(bucket, mount)
        mount.unmount()
    assert len([line for line in dcfs.worries() if "cannot write below" in line]) <= 1


@pytest.mark.root
def test_the_cache_of_another_user(bucket, shared_folder):
    """A user without access to it gets an error at once, or a mount that works without it."""
    dcfs = mounts.Dcfs(shared_folder / "home")
    cache = shared_folder / "cache"
    cache.mkdir(mode=0o700)
    subprocess.run(["chown", "-R", "65534:65534", shared_folder / "home"], check=True)
    mine = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", mounts.DCFS, "cache", "status"]
    told = subprocess.run(
        [*mine, "--cache-dir", cache], env=dcfs.environment, capture_output=True, text=True, timeout=30
    )
    assert "panic" not in told.stderr
    assert told.returncode != 0 or "0 objects" in told.stdout, told
