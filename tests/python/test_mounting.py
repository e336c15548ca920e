"""Convenience of mounting: the mountpoint is created, `umount` is understood, copies and walks do what users expect."""

import os
import shutil
import stat
import subprocess

import pytest

import mounts

pytestmark = pytest.mark.mount


def test_the_place_is_made_in_a_folder_of_ours_and_umount_unmounts(dcfs, small_catalog, tmp_path):
    place = tmp_path / "new"
    result = dcfs.run("mount", "--catalog", small_catalog, place)
    assert result.returncode == 0 and "did not exist and was created" in result.stderr
    assert mounts.mounted(place)
    assert "is unmounted" in dcfs.ok("umount", place)
    assert not mounts.mounted(place) and place.is_dir()
    again = dcfs.run("mount", "--catalog", small_catalog, place)
    assert (again.returncode, again.stderr) == (0, "")
    dcfs.ok("unmount", place)


def test_a_place_that_cannot_be_made_is_told_with_the_command(dcfs, small_catalog, tmp_path):
    os.symlink("nowhere", tmp_path / "link")
    for place in (tmp_path / "no" / "where", tmp_path / "link"):
        result = dcfs.run("mount", "--catalog", small_catalog, place)
        assert result.returncode == 1 and "mkdir -p" in result.stderr, place
    assert not (tmp_path / "no").exists() and not (tmp_path / "nowhere").exists()


def test_no_place_is_made_where_the_mount_makes_no_sense(dcfs, tmp_path):
    assert dcfs.run("mount", "--catalog", tmp_path / "none", tmp_path / "new").returncode != 0
    assert not (tmp_path / "new").exists()


def test_a_slash_behind_the_latest_version_makes_copies_and_walks_of_it(dcfs, small_catalog, tmp_path):
    """The statement of README.md about the link to the latest version."""
    with dcfs.mount(small_catalog, tmp_path / "mnt", "--file-mode", "644", "--dir-mode", "755") as mount:
        latest = f"{mount.datasets}/few/"
        found = subprocess.run(["find", latest, "-type", "f"], capture_output=True, text=True, check=True)
        assert len(found.stdout.splitlines()) >= 9
        assert "`datasets/few/`" in (mount.path / "README.md").read_text()
        copy = tmp_path / "copy"
        subprocess.run(["cp", "-r", latest, copy], check=True)
        assert copy.is_dir() and not copy.is_symlink()
        for path in copy.rglob("*"):
            assert stat.S_IMODE(path.lstat().st_mode) == (0o755 if path.is_dir() else 0o644), path
        (copy / "_schema.json").write_text("ours now")
        shutil.rmtree(copy)
        subprocess.run(["cp", "-r", mount.datasets, copy], check=True)
        assert (copy / "few").is_symlink() and (copy / "few").resolve() == copy / "few@1.0.0", "links that survive"


@pytest.mark.root
def test_a_label_of_selinux_is_taken_and_left_out_where_there_is_none(dcfs, small_catalog, tmp_path):
    label = 'context="system_u:object_r:container_file_t:s0:c1,c2"'
    with dcfs.mount(small_catalog, tmp_path / "mnt", "-o", f"{label},xattr") as mount:
        assert os.path.isdir(mount.datasets)
    result = dcfs.run("mount", "--catalog", small_catalog, "--context", 'a:b",allow_other', tmp_path / "mnt")
    assert result.returncode == 2 and "SELinux label" in result.stderr
