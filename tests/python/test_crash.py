"""The daemon is killed at bad moments; mounting again just works, and everything is right."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

import compare
import mounts
import sql

pytestmark = pytest.mark.mount

ROWS = 300_000


@pytest.fixture(scope="module")
def large_catalog(small_catalog, tmp_path_factory):
    """`few` with 300,000 more rows, all of one tiny file: only their names are used."""
    folder = sql.copy_catalog(small_catalog, tmp_path_factory.mktemp("large") / "catalog")
    sql.multiply(folder, "few", ROWS)
    return folder


def count_files(folder):
    return sum(len(names) for _, _, names in os.walk(folder))


def look(folder):
    """Another process that lists the folder, and so waits for the pack."""
    code = f"import os; os.listdir({os.fspath(folder)!r})"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_killed_while_a_pack_is_built(large_catalog, dcfs, tmp_path):
    mount = dcfs.mount(large_catalog, tmp_path / "mnt")
    with mount:
        version = mount.datasets / "few@1.0.0"
        for moment in (0.1, 0.4, 1.0):
            looker = look(version)
            time.sleep(moment)
            mount.kill()
            assert looker.wait(30) in (0, 1), "a reader of a dead mount gets an error, not a wait"
            mount.mount()
        assert count_files(version) == ROWS + 9 + 3
        assert (version / "a" / "0.txt").read_bytes() == b"a0\n" * 10
        assert len(list((dcfs.cache / "dcfs" / "packs").iterdir())) == 1, "nothing half made is left"
        assert not [line for line in dcfs.worries() if "panic" in line]


def test_killed_while_a_table_is_made(large_catalog, dcfs, tmp_path):
    mount = dcfs.mount(large_catalog, tmp_path / "mnt")
    with mount:
        version = mount.datasets / "few@1.0.0"
        os.listdir(version)
        for name, moment in (("_rows.parquet", 0.1), ("_rows.jsonl", 0.2), ("_rows.parquet", 0.5)):
            code = f"import os; os.stat({os.fspath(version / name)!r})"
            looker = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
            time.sleep(moment)
            mount.kill()
            assert looker.wait(30) in (0, 1)
            left = [file.name for file in (dcfs.cache / "dcfs").rglob("tables/*")]
            assert all(name.startswith(("parquet-", "jsonl-")) for name in left), left
            mount.mount()
        rows = pyarrow.parquet.read_table(version / "_rows.parquet")
        assert rows.num_rows == ROWS + 9
        with open(version / "_rows.jsonl") as lines:
            assert sum(1 for _ in lines) == ROWS + 9
        kept = [file.name for file in (dcfs.cache / "dcfs").rglob("tables/*")]
        assert sorted(name.split("-")[0] for name in kept) == ["jsonl", "parquet"]
        assert not [line for line in dcfs.worries() if "panic" in line]


def test_a_dead_mount_is_cleaned_by_the_next(small_catalog, dcfs, tmp_path):
    mount = dcfs.mount(small_catalog, tmp_path / "mnt")
    with mount:
        held = os.open(mount.datasets / "few" / "a" / "0.txt", os.O_RDONLY)
        mount.kill()
        with pytest.raises(OSError) as error:
            os.listdir(mount.datasets)
        assert error.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
        mount.mount()
        assert compare.content(mount.datasets / "few" / "a" / "0.txt") == b"a0\n" * 10
        with contextlib.suppress(OSError):
            os.close(held)


def test_a_dead_mount_can_be_unmounted(small_catalog, dcfs, tmp_path):
    mount = dcfs.mount(small_catalog, tmp_path / "mnt")
    mount.kill()
    mount.unmount()
    assert os.listdir(mount.path) == []


def test_a_mount_that_does_not_answer_can_be_told_and_forced_away(small_catalog, dcfs, tmp_path):
    """A daemon that hangs must not hang the commands that deal with it."""
    mount = dcfs.mount(small_catalog, tmp_path / "mnt")
    pid = mount.daemon()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert str(mount.path) in dcfs.run("status", timeout=20).stdout
        assert dcfs.run("mount", "--catalog", small_catalog, mount.path, timeout=20).returncode == 2
        dcfs.ok("unmount", "--force", mount.path, timeout=20)
        assert not mounts.mounted(mount.path)
    finally:
        os.kill(pid, signal.SIGKILL)


READER = """
import os, sys
while True:
    for folder, _, names in os.walk(sys.argv[1]):
        for name in names:
            open(os.path.join(folder, name), "rb").read()
    print("round", flush=True)
"""


def test_killed_while_read(small_catalog, dcfs, tmp_path):
    mount = dcfs.mount(small_catalog, tmp_path / "mnt")
    with mount:
        for _ in range(3):
            reader = subprocess.Popen(
                [sys.executable, "-c", READER, mount.datasets], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            reader.stdout.readline()
            mount.kill()
            # Data in the kernel's cache may still be read; the reader itself is ours to end.
            reader.terminate()
            reader.communicate(timeout=30)
            mount.mount()
            assert compare.content(mount.datasets / "few" / "b" / "1.txt") == b"b1\n" * 10


@pytest.mark.parametrize("polite", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_polite_signal_unmounts(small_catalog, dcfs, tmp_path, polite):
    mount = dcfs.mount(small_catalog, tmp_path / "mnt")
    pid = mount.daemon()
    os.kill(pid, polite)
    while mount.is_served_by(pid):
        time.sleep(0.02)
    assert os.listdir(mount.path) == [], "the mount point is an empty directory again"


DAMAGE = {"cut": lambda old: old[: len(old) // 2], "scribbled": lambda old: b"\xff" * len(old)}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_damaged_pack_is_rebuilt(small_catalog, dcfs, tmp_path, damage):
    """Each file of the pack in turn: the same tree afterwards, never a dead mount."""
    names = set()
    for turn in range(100):
        with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
            names.add(frozenset(compare.files_below(bytes(mount.datasets / "few@1.0.0"))))
            assert compare.content(mount.datasets / "few" / "c" / "2.txt") == b"c2\n" * 10
        packs = sorted(path for path in dcfs.cache.rglob("*") if path.is_file())
        assert packs, "the pack is kept in the cache"
        if turn >= len(packs):
            break
        packs[turn].write_bytes(DAMAGE[damage](packs[turn].read_bytes()))
    assert len(names) == 1
