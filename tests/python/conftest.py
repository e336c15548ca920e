"""Shared by the tests: catalogs made once a run by real DataChain, mounts of them, servers.

Everything lives below pytest's temporary folder, and every mount left there by a failing test is
taken away at the end.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

import datachain_runs
import mounts
import programs
import servers
import shapes

CANNOT_MOUNT = mounts.why_no_mount()


def pytest_configure():
    assert mounts.DCFS.exists(), f"no binary at {mounts.DCFS}: cargo build, or set DCFS_BIN"


def pytest_report_header():
    """Says on the first lines which binary is tested, and aloud when the kernel is out of reach."""
    lines = [f"dcfs: {mounts.DCFS}"]
    if CANNOT_MOUNT:
        lines.append(f"*** NO MOUNT HERE: {CANNOT_MOUNT}; every test of a mount is skipped ***")
    return lines


def pytest_collection_modifyitems(items):
    """Skips tests, with the reason, that this machine or user cannot run."""
    for item in items:
        if item.get_closest_marker("mount") and CANNOT_MOUNT:
            item.add_marker(pytest.mark.skip(reason=CANNOT_MOUNT))
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session", autouse=True)
def no_mount_is_left(tmp_path_factory):
    """Whatever happens, nothing below the temporary folder stays mounted."""
    yield
    mounts.force_unmount_below(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def shapes_catalog(tmp_path_factory):
    """The folder of the catalog of shapes. Read-only by agreement."""
    folder = tmp_path_factory.mktemp("shapes")
    shapes.build(folder)
    return folder


@pytest.fixture(scope="session")
def small_catalog(tmp_path_factory):
    """A catalog with one dataset, `few`, of nine tiny files. Tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("small")
    datachain_runs.run("few", folder)
    return folder


@pytest.fixture
def dcfs(tmp_path):
    """The binary with a home of its own."""
    return mounts.Dcfs(tmp_path / "home")


@pytest.fixture(scope="session")
def shapes_mount(shapes_catalog, tmp_path_factory):
    """The catalog of shapes, mounted for the whole run."""
    folder = tmp_path_factory.mktemp("shapes_mount")
    with mounts.Dcfs(folder).mount(shapes_catalog, folder / "mnt") as mount:
        yield mount


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An empty S3."""
    with servers.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def shared_folder():
    """A folder that every user may enter; pytest's own do not allow that."""
    with tempfile.TemporaryDirectory(prefix="dcfs-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Problematic names, and folders to match patterns in."""
    root = tmp_path_factory.mktemp("tree") / "t.1 %20"
    names = [
        "a.jpg", "b.JPG", "x.jpg", "file1", "file2", "file10", "file03", ".hidden", "a b/\u00e9 \U0001f600.txt",
        "new\nline", "quote\"'`", "%41", "#a?b=c", "[x]", "{y}", "*", "a/x.jpg", "a/b/x.jpg", "a/b/c.png",
        "a/b/c/d/e.txt", "deep/**/n", "back\\slash", "-dash", "_x_y_z", "~tilde", "d/.hidden/f",
    ]  # fmt: skip
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number * 987_654_321_123))
    os.utime(root / "file1", ns=(0, -1_500_000_001))
    os.utime(root / "file2", ns=(0, 1_500))
    return root


@pytest.fixture
def here(tmp_path):
    """A folder to work in, with a dataset `f` of 30 files of 1 to 30 bytes."""
    folder = tmp_path / "here"
    (folder / "files").mkdir(parents=True)
    for n in range(30):
        (folder / "files" / f"f_{n:02}.txt").write_bytes(b"x" * (n + 1))
    return folder


@pytest.fixture
def work(dcfs, here):
    """Runs `dcfs` there."""
    dcfs.environment["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    work = programs.Work(dcfs, here)
    work.ok("index", "files", "--save", "f")
    return work
