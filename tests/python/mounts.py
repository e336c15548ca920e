"""A real mount by the real binary, and its log."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from datachain_runs import clean_environment

ROOT = Path(__file__).parent.parent.parent

DCFS = Path(os.environ.get("DCFS_BIN", ROOT / "target" / "debug" / "dcfs")).resolve()


def why_no_mount():
    """Why this machine cannot mount; `None` if it can."""
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        return "no fusermount3 (apt install fuse3)"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    return None


def mounted(path):
    """Whether the kernel lists `path` as a mount point."""
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040").replace("\n", "\\012")
    with open("/proc/self/mountinfo") as table:
        return any(line.split(" ")[4] == escaped for line in table)


class Dcfs:
    """The binary with a home, a cache and a log of its own below `folder`."""

    def __init__(self, folder, **environment):
        self.home = Path(folder)
        self.home.mkdir(parents=True, exist_ok=True)
        self.cache = self.home / "cache"
        self.environment = clean_environment(
            self.home,
            XDG_STATE_HOME=str(self.home / "state"),
            XDG_CACHE_HOME=str(self.cache),
            XDG_RUNTIME_DIR=str(self.home / "run"),
            **environment,
        )
        (self.home / "run").mkdir(mode=0o700, exist_ok=True)

    def run(self, *arguments, timeout=60, **options):
        """Runs `dcfs ARGUMENTS`; the result has the exit code, the output and the errors."""
        return subprocess.run(
            [DCFS, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )

    def start(self, *arguments):
        """Begins `dcfs ARGUMENTS`; the process."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([DCFS, *arguments], env=self.environment, stdin=subprocess.DEVNULL, **pipes)

    def ok(self, *arguments, **options):
        """The output of `dcfs ARGUMENTS`, which must succeed."""
        result = self.run(*arguments, **options)
        assert result.returncode == 0, (arguments, result.returncode, result.stderr)
        return result.stdout

    def log(self):
        """Everything logged by mounts of this home."""
        files = sorted((self.home / "state").rglob("*.log*"))
        return "".join(file.read_text(errors="replace") for file in files)

    def worries(self):
        """The lines of the log that are warnings or errors."""
        return [line for line in self.log().splitlines() if " WARN " in line or "ERROR" in line]

    def mount(self, catalog, mountpoint, *options):
        """Mounts `catalog` and returns the mount."""
        return Mount(self, catalog, mountpoint, options)


class Mount:
    """A mount point, to be used in a `with`."""

    def __init__(self, dcfs, catalog, mountpoint, options=()):
        self.dcfs, self.catalog, self.options = dcfs, catalog, options
        self.path = Path(mountpoint)
        self.path.mkdir(parents=True, exist_ok=True)
        self.mount()

    @property
    def datasets(self):
        return self.path / "datasets"

    def mount(self):
        """Mounts, for the first time or again."""
        self.dcfs.ok("mount", "--catalog", self.catalog, *self.options, self.path)
        assert mounted(self.path), "`mount` returned before the mount stood"

    def daemon(self):
        """The process that serves this mount."""
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        (found,) = [pid for pid in pids if self.is_served_by(pid)]
        return found

    def is_served_by(self, pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return os.readlink(f"/proc/{pid}/exe") == str(DCFS) and bytes(self.path) in words
        except OSError:
            return False

    def kill(self):
        """Kills the daemon as a crash would, and waits until it is gone."""
        pid = self.daemon()
        os.kill(pid, signal.SIGKILL)
        while self.is_served_by(pid):
            time.sleep(0.01)

    def unmount(self):
        self.dcfs.ok("unmount", self.path)
        assert not mounted(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if mounted(self.path):
            result = self.dcfs.run("unmount", self.path)
            if result.returncode:
                force_unmount(self.path)
                raise AssertionError(f"`dcfs unmount` failed: {result.stderr}")


def force_unmount(path):
    """Unmounts whatever state the mount is in."""
    tool = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
    subprocess.run([*tool, path], stderr=subprocess.DEVNULL)


def force_unmount_below(folder):
    """The same for all mounts below a folder, innermost first."""
    with open("/proc/self/mountinfo") as table:
        points = [line.split(" ")[4] for line in table]
    for point in reversed([point for point in points if point.startswith(f"{folder}/")]):
        force_unmount(point)


@contextlib.contextmanager
def small_disk(folder, size):
    """A disk of its own at `folder`, of `size` as mount(8) takes it."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
