"""A Python process writes the catalog while the mount is walked: nothing incomplete is ever seen."""

import errno
import os
import shutil
import subprocess
import time

import pytest

import compare
import datachain_runs

pytestmark = pytest.mark.mount

SECONDS = int(os.environ.get("DCFS_SOAK_SECONDS", "20"))
"""How long to walk; `make soak` walks longer."""

SOON = 5
"""Seconds within which a commit must be seen: the promise is one, the machine may be busy."""


def until(condition, seconds=SOON):
    """Waits until `condition()` holds, and fails where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time promised"
        time.sleep(0.02)


@pytest.fixture
def catalog(small_catalog, tmp_path):
    """A catalog of its own over the files of the small one."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    shutil.copytree(small_catalog / "data", folder / "data")
    datachain_runs.run("few", folder)
    return folder


class Writer:
    """`scripts/live.py`, running."""

    def __init__(self, folder):
        script = datachain_runs.SCRIPTS / "live.py"
        self.errors = open(folder / "writer.log", "w+")
        self.process = datachain_runs.start(
            script, folder, "data", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )

    def stop(self):
        """Lets it finish the current version; returns the versions saved and removed."""
        output, _ = self.process.communicate("stop\n", timeout=60)
        self.errors.seek(0)
        assert self.process.returncode == 0, self.errors.read()
        words = [line.split() for line in output.splitlines()]
        return [[name for verb, name in words if verb == wanted] for wanted in ("saved", "removing")]


def read_version(folder):
    """`{path: bytes}` of a version; `None` if it was removed meanwhile."""
    try:
        paths = compare.files_below(os.fsencode(folder))
        return {path: compare.content(os.path.join(os.fsencode(folder), path)) for path in paths}
    except OSError as error:
        assert error.errno in (errno.ESTALE, errno.ENOENT), error
        return None


def rows_of(files):
    return {path: content for path, content in files.items() if not path.startswith(b"_")}


def walk(mount, whole, seen):
    """Walks every version of `live` once; each is complete or was removed."""
    for name in os.listdir(mount.datasets):
        if not name.startswith("live@"):
            continue
        files = read_version(mount.datasets / name)
        if files is None:
            seen["lost"].add(name)
        else:
            assert rows_of(files) == whole, f"{name} is half a version"
            seen["whole"].add(name)


def test_walking_beside_a_writer(catalog, dcfs, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        whole = rows_of(read_version(mount.datasets / "few@1.0.0"))
        assert len(whole) == 9
        seen, writer = {"whole": set(), "lost": set()}, Writer(catalog)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            walk(mount, whole, seen)
        saved, removed = writer.stop()
        assert len(seen["whole"]) > 3 and len(removed) > 3
        assert seen["lost"] <= {f"live@{version}" for version in removed}
        left = {f"live@{version}" for version in saved if version not in removed}
        until(lambda: {n for n in os.listdir(mount.datasets) if n.startswith("live@")} == left)
        assert os.readlink(mount.datasets / "live") == f"live@{saved[-1]}"
        walk(mount, whole, seen)
        assert left <= seen["whole"]


def test_a_new_dataset_appears_without_a_remount(catalog, dcfs, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        assert not (mount.datasets / "live").exists(), "remembered as missing for a moment"
        writer = Writer(catalog)
        until(lambda: (mount.datasets / "live").exists(), seconds=30)
        saved, _ = writer.stop()
        until(lambda: os.readlink(mount.datasets / "live") == f"live@{saved[-1]}")


def test_what_is_open_when_its_version_is_removed_stays_readable(catalog, dcfs, tmp_path):
    (kept, *_), _ = Writer(catalog).stop()
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        folder = mount.datasets / f"live@{kept}"
        with open(folder / "a" / "0.txt", "rb") as file:
            datachain_runs.run("remove", catalog, "live", kept)
            until(lambda: f"live@{kept}" not in os.listdir(mount.datasets))
            assert file.read() == b"a0\n" * 10
        until(lambda: not folder.exists())
        with pytest.raises(OSError) as error:
            (folder / "b" / "0.txt").read_bytes()
        assert error.value.errno in (errno.ESTALE, errno.ENOENT)


def test_a_catalog_deleted_while_mounted_and_made_anew(catalog, dcfs, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        assert "few@1.0.0" in os.listdir(mount.datasets)
        shutil.rmtree(catalog / ".datachain")
        until(lambda: "few@1.0.0" not in listed_or_empty(mount.datasets))
        assert any("db" in line for line in dcfs.worries()), "the log says what is gone"
        datachain_runs.run("few", catalog)
        until(lambda: "few" in listed_or_empty(mount.datasets))
        assert (mount.datasets / "few" / "a" / "0.txt").read_bytes() == b"a0\n" * 10


def listed_or_empty(folder):
    """The names in `folder`; none while the catalog cannot be read."""
    try:
        return os.listdir(folder)
    except OSError as error:
        assert error.errno == errno.EIO
        return []
