"""The contenders that read the same bytes: dcfs in each mode, its floors, and the mounts people use instead.

Each can be mounted with nothing fetched yet (`empty`), and mounted again with what it kept. The floors have
their bytes in local files, so they are never cold.
"""

import contextlib
import os
import resource
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import machine
import store

NOBODY = 65534
VERSION = "datasets/bench@1.0.0"
PATIENCE = 180  # Seconds that one pass may take.


@dataclass(frozen=True)
class Programs:
    """Binaries, at a path that every user can execute; those of others only if installed."""

    dcfs: Path
    nullfs: Path
    reader: Path
    direct: Path
    keeper: Path
    delay: Path
    list: Path
    lister: Path
    rclone: str | None
    s3fs: str | None
    mountpoint: str | None = None


@dataclass(frozen=True)
class Account:
    """The account of a daemon and its reader, in a folder of their own."""

    title: str
    folder: Path
    prefix: tuple = ()
    room: int | None = None  # A process in the mount namespace where this account mounts, if it has one.

    @property
    def point(self):
        return self.folder / "mnt"

    @property
    def environment(self):
        """Nothing from the environment of the person who runs the bench: no settings, keys or proxies."""
        homes = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL")
        nothing = dict.fromkeys((*keys, "http_proxy", "HTTP_PROXY", "https_proxy"), "")
        return {**{name: str(self.folder) for name in homes}, **nothing}


@contextlib.contextmanager
def accounts(folder, catalog):
    """root and an ordinary user, or only the current user; each with a copy of the catalog."""
    if os.geteuid() != 0:
        yield [_furnished(Account("user", folder / "user"), catalog)]
        return
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with contextlib.ExitStack() as stack:
        room = None if os.stat("/dev/fuse").st_mode & 0o006 == 0o006 else stack.enter_context(_room(folder))
        enter = ("nsenter", f"--mount=/proc/{room}/ns/mnt") if room else ()
        people = [Account("root", folder / "root-home"), Account("user", folder / "user", (*enter, *become), room)]
        for one in people:
            _furnished(one, catalog)
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", people[1].folder], check=True)
        yield people


def _furnished(account, catalog):
    shutil.copytree(catalog, account.folder / "catalog")
    account.point.mkdir()
    (account.folder / "kept").mkdir()
    return account


@contextlib.contextmanager
def _room(folder):
    """A process in a mount namespace where any user may open `/dev/fuse`, as on most machines."""
    device = folder / "fuse"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
    device.chmod(0o666)
    bind = 'mount --bind "$0" /dev/fuse && echo ready && exec sleep infinity'
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", bind, device], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()


def retire(cache):
    """Puts a cache aside, its large files emptied, until the bench ends.

    Not removed: ext4 without a journal steps over every inode freed within a minute each time that it makes a
    file (`recently_deleted`), which took a tenth of a cold pass over small files.
    """
    if not cache.exists():
        return
    aside = cache.with_name("retired")
    aside.mkdir(exist_ok=True)
    old = cache.rename(aside / str(len(os.listdir(aside))))
    for folder, _, names in os.walk(old):
        for file in (Path(folder) / name for name in names):
            if file.stat().st_size > 4096:
                os.truncate(file, 0)


class Mounted:
    """A mount: where the bucket's objects are, and the daemon."""

    def __init__(self, root, process=None):
        self.root, self.pid = root, process and process.pid

    def memory(self):
        """Anonymous and resident MiB."""
        return self.pid and (machine.anonymous(self.pid), machine.resident(self.pid))


class Contender:
    """A program that mounts; `cpus` is the prefix of a pinned run."""

    fetches = True  # Whether it has to ask the server.
    peer = False

    def __init__(self, name, account):
        self.name, self.account = name, account
        self.cache = account.folder / "kept" / "".join(c if c.isalnum() else "-" for c in name)

    def empty(self):
        """Forgets everything fetched."""
        retire(self.cache)
        self.cache.mkdir()

    @contextlib.contextmanager
    def mounted(self, url, cpus=()):
        prefix = [*cpus, *self.account.prefix]
        command = [str(word) for word in self.command(url)]
        account = self.account
        with machine.serving(command, account.point, prefix, account.environment, account.room) as process:
            yield Mounted(self.root, process)

    @property
    def root(self):
        return self.account.point


class Dcfs(Contender):
    """Versions are packed before anything is measured: only the bytes are cold."""

    def __init__(self, programs, account, options=(), title=""):
        super().__init__(f"dcfs, {title or account.title}", account)
        self.binary, self.options = programs.dcfs, options
        self.packed = self.cache.with_name(f"{self.cache.name}-packed")

    def empty(self):
        retire(self.cache)
        subprocess.run(["cp", "-a", self.packed, self.cache], check=True)

    def pack(self, lab, url):
        """Builds the pack of the version, once."""
        with self.mounted(url) as mount:
            lab.read((), 1, "list", mount.root, account=self.account)
        self.cache.rename(self.packed)

    def command(self, url):
        places = ["--catalog", self.account.folder / "catalog", "--cache-dir", self.cache]
        return [
            self.binary, "mount", "-f", *places, "--anon", "--endpoint-url", url, "--timeout", "30m", *self.options,
            self.account.point,
        ]

    @property
    def root(self):
        return self.account.point / VERSION


class Null(Contender):
    """The do-nothing file system over the same local files."""

    fetches = False

    def __init__(self, programs, account, data, mode):
        super().__init__(f"do-nothing, {mode}, {account.title}", account)
        self.binary, self.data, self.mode = programs.nullfs, data, mode

    def empty(self):
        pass

    def command(self, url):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        every_file_open = ["prlimit", f"--nofile={most}:{most}"]
        return [*every_file_open, self.binary, self.data.folder / "tree", self.account.point, self.data.bucket, self.mode]


class Local(Contender):
    """No FUSE at all: the files in place."""

    fetches = False

    def __init__(self, account, data):
        kind = subprocess.run(["stat", "-f", "-c", "%T", data.folder], check=True, capture_output=True, text=True)
        super().__init__({"ext2/ext3": "ext4"}.get(kind.stdout.strip(), kind.stdout.strip()), account)
        self.data = data

    def empty(self):
        pass

    @contextlib.contextmanager
    def mounted(self, url, cpus=()):
        yield Mounted(self.data.bucket)


class Rclone(Contender):
    """rclone mount with its full cache, without work that a read-only user would not need."""

    peer = True

    def __init__(self, programs, account):
        super().__init__("rclone, cache full", account)
        self.binary = programs.rclone

    def command(self, url):
        cache = ["--vfs-cache-mode", "full", "--cache-dir", self.cache, "--dir-cache-time", "1h", "--config", ""]
        quick = ["--read-only", "--no-checksum", "--use-server-modtime", "--vfs-fast-fingerprint"]
        server = ["--s3-provider", "Other", "--s3-endpoint", url]
        return [self.binary, "mount", f":s3:{store.BUCKET}", self.account.point, *cache, *quick, *server]


class S3fs(Contender):
    """s3fs with its cache; it keeps its metadata."""

    peer = True

    def __init__(self, programs, account):
        super().__init__("s3fs, cache", account)
        self.binary = programs.s3fs

    def command(self, url):
        options = f"url={url},use_path_request_style,public_bucket=1,ro,use_cache={self.cache},stat_cache_expire=3600"
        return [self.binary, store.BUCKET, self.account.point, "-f", "-o", options]


def known(programs):
    """The options that this `dcfs mount` supports, from its help and its error for a wrong one."""
    asked = [["mount", "--help"], ["mount", "-o", "no-such-option", "/nonexistent"]]
    told = [subprocess.run([programs.dcfs, *words], capture_output=True, text=True) for words in asked]
    text = "".join(one.stdout + one.stderr for one in told)
    return {word for word in ("--prefetch", "noopen") if word in text}
