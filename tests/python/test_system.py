"""mount(8), fstab, other users, read-only places: the uses of an administrator."""

import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

import mounts
import sql

pytestmark = [pytest.mark.mount, pytest.mark.root]

NOBODY = 65534

INCORRECT, FAILED = 1, 32
"""Exit codes of mount(8)."""

FSTAB = "_netdev,nofail,ro,allow_other,local_root=/,noauto,user,x-systemd.automount,x-systemd.idle-timeout=60"


@pytest.fixture
def helper():
    """The link by which mount(8) finds the binary, for the time of one test."""
    link = Path("/sbin/mount.fuse.dcfs")
    if os.path.lexists(link):
        pytest.skip(f"{link} exists already")
    link.symlink_to(mounts.DCFS)
    yield link
    link.unlink()


def mount8(dcfs, *arguments):
    """Runs mount(8) with the home, the cache and the log of `dcfs`."""
    return subprocess.run(["mount", *arguments], env=dcfs.environment, capture_output=True, text=True)


def test_mount_by_type_with_options_of_fstab(helper, dcfs, small_catalog, tmp_path):
    point = tmp_path / "mnt"
    point.mkdir()
    result = mount8(dcfs, "-t", "fuse.dcfs", small_catalog, point, "-o", FSTAB)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert mounts.mounted(point), "it returned when the mount stood"
    assert (point / "datasets" / "few" / "a" / "0.txt").read_bytes() == b"a0\n" * 10
    subprocess.run(["umount", point], check=True)
    assert not mounts.mounted(point)


def test_mount_from_a_line_of_fstab(helper, dcfs, small_catalog, tmp_path):
    point, table = tmp_path / "mnt", tmp_path / "fstab"
    point.mkdir()
    table.write_text(f"{small_catalog} {point} fuse.dcfs {FSTAB} 0 0\n")
    result = mount8(dcfs, "-T", table, point)
    assert (result.returncode, result.stderr) == (0, "")
    assert "few" in os.listdir(point / "datasets")
    dcfs.ok("unmount", point)


@pytest.mark.parametrize(
    "catalog, options, code",
    [("missing", "ro", FAILED), ("small", "alow_other", INCORRECT), ("small", "timeout=never", INCORRECT)],
)
def test_mount_fails_with_the_codes_of_mount8(helper, dcfs, small_catalog, tmp_path, catalog, options, code):
    point = tmp_path / "mnt"
    point.mkdir()
    spec = small_catalog if catalog == "small" else tmp_path / catalog
    result = mount8(dcfs, "-t", "fuse.dcfs", spec, point, "-o", options)
    assert result.returncode == code and result.stderr
    assert not mounts.mounted(point)


class Room:
    """A mount namespace of its own, where any user may open `/dev/fuse`, as on most machines."""

    def __init__(self, folder):
        self.process = subprocess.Popen(["unshare", "--mount", "sleep", "infinity"])
        device, conf = folder / "fuse", folder / "fuse.conf"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(10, 229))
        os.chmod(device, 0o666)
        conf.write_text("# without user_allow_other\n")
        self.wait()
        # Mounts of other tests: what is mounted here as well lives on when they unmount it.
        self.run("umount", "--all", "--lazy", "--no-canonicalize", "--types", "fuse.dcfs")
        for ours, place in [(device, "/dev/fuse"), (conf, "/etc/fuse.conf")]:
            self.run("mount", "--bind", ours, place, check=True)

    def wait(self):
        """`unshare` has made the namespace when it has become `sleep`."""
        while Path(f"/proc/{self.process.pid}/comm").read_text() != "sleep\n":
            assert self.process.poll() is None, "no namespace"
            time.sleep(0.01)

    def run(self, *command, user=None, **options):
        """Runs a command inside, as `user` if given."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        enter = ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt"]
        return subprocess.run([*enter, *become, *command], **options)

    def close(self):
        """Ends it, and with it all mounts inside."""
        self.process.kill()
        self.process.wait()


class Nobody(mounts.Dcfs):
    """A copy of the binary, run in a room by a user who is not root."""

    def __init__(self, folder):
        super().__init__(folder / "home")
        self.binary = shutil.copy(mounts.DCFS, folder / "dcfs")
        self.room, self.point = Room(folder), folder / "mnt"
        self.point.mkdir()
        for path in [self.home, *self.home.rglob("*"), self.point]:
            os.chown(path, NOBODY, NOBODY)

    def do(self, *command, user=NOBODY):
        """Runs any command as this user, or as `user`."""
        options = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60}
        return self.room.run(*command, user=user, **options)

    def run(self, *arguments):
        return self.do(self.binary, *arguments)


@pytest.fixture
def nobody(shared_folder, small_catalog):
    """Another user with a binary, a home, a mount point and a copy of a catalog to read."""
    try:
        user = Nobody(shared_folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespace with a device of its own here: {error}")
    sql.copy_catalog(small_catalog, shared_folder / "catalog")
    yield user
    user.do("umount", "-l", user.point, user=0)
    user.room.close()


def test_a_user_mounts_through_fusermount(nobody, shared_folder):
    nobody.ok("mount", "--catalog", shared_folder / "catalog", nobody.point)
    assert "few" in nobody.do("ls", nobody.point / "datasets").stdout
    others = nobody.do("ls", nobody.point, user=NOBODY - 1)
    assert others.returncode == 2 and "Permission denied" in others.stderr
    nobody.ok("unmount", nobody.point)
    assert nobody.do("ls", nobody.point).stdout == ""


def test_a_user_may_not_allow_others_unless_the_machine_does(nobody, shared_folder):
    result = nobody.run("mount", "--allow-other", "--catalog", shared_folder / "catalog", nobody.point)
    assert result.returncode == 5 and "user_allow_other" in result.stderr
    assert nobody.do("ls", nobody.point).stdout == ""


def test_a_user_may_not_mount_on_a_folder_of_others(nobody, shared_folder):
    (shared_folder / "roots").mkdir()
    result = nobody.run("mount", "--catalog", shared_folder / "catalog", shared_folder / "roots")
    assert result.returncode == 5 and "permission" in result.stderr


def look_as_nobody(folder):
    """The output of `ls` run by another user."""
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    return subprocess.run([*become, "ls", folder], capture_output=True, text=True)


def test_root_lets_others_in_only_if_told(dcfs, small_catalog, shared_folder):
    sql.copy_catalog(small_catalog, shared_folder / "catalog")
    for options, code in [((), 2), (("--allow-other",), 0)]:
        with dcfs.mount(shared_folder / "catalog", shared_folder / "mnt", *options) as mount:
            assert look_as_nobody(mount.datasets).returncode == code


def test_a_catalog_in_a_folder_that_cannot_be_written(dcfs, small_catalog, tmp_path):
    """A bind mount that even root cannot write to: an archived catalog, or one of another machine."""
    kept, shown = tmp_path / "kept", tmp_path / "shown"
    sql.copy_catalog(small_catalog, kept)
    shown.mkdir()
    subprocess.run(["mount", "--bind", kept, shown], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", shown], check=True)
        assert "few" in json.dumps(json.loads(dcfs.ok("ls", "--json", "--catalog", shown)))
        with dcfs.mount(shown, tmp_path / "mnt") as mount:
            assert (mount.datasets / "few" / "a" / "0.txt").read_bytes() == b"a0\n" * 10
    finally:
        subprocess.run(["umount", shown], check=True)
    assert sorted(os.listdir(kept / ".datachain")) == sorted(os.listdir(small_catalog / ".datachain"))
