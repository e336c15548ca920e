"""Objects of S3 servers: keys of every kind, objects that changed, servers that fail.

moto stands for S3 with its versions and conditions; nginx, a static server, for speed and for keys
that moto's router refuses. Rows for keys that DataChain's own listing skips are added in SQL.
"""

import errno
import hashlib
import os
import random
import shutil
import subprocess
import time
from types import SimpleNamespace

import pytest

import datachain_runs
import mounts
import servers
import sql

pytestmark = pytest.mark.mount

KEYS = [
    "a b", "%20", "%2E", "#", "[x]", "*", "?", "+", "&=", "a%2Fb", "'\"", "~", "back\\slash",
    " lead", "trail ", "a:b@c,d;e", "<x>", "deep/er/x", "\u00e9\u65e5\U0001f600",
]  # fmt: skip

SKIPPED = {"/lead": "%/lead", "trail/": "trail/%", "a//b": "a/%/b"}
"""Keys that DataChain does not list, and the names of the mount."""

REFUSED = ["tab\t"]
"""Keys that a client may refuse: some proxies and servers cut a line there."""

CHANGING = ["small.bin", "large.bin"]


def body(key):
    """The initial contents of the object `key`."""
    size = 12 << 20 if key == "large.bin" else 2000
    return (b"bytes of " + key.encode() + b" ").ljust(size, b".")


def row(key, answer):
    """The changed columns of a row for an object that was just stored."""
    return {
        "file__path": key,
        "file__size": len(body(key)),
        "file__version": answer.get("VersionId", ""),
        "file__etag": answer["ETag"].strip('"'),
    }


@pytest.fixture(scope="module")
def buckets(s3, tmp_path_factory):
    """The buckets `plain` and `kept` (versioned), their catalog, and a mount made before changes."""
    folder = tmp_path_factory.mktemp("buckets")
    skipped = {}
    for bucket in ("plain", "kept"):
        s3.bucket(bucket, versioned=bucket == "kept")
        for key in KEYS + REFUSED + CHANGING + ["gone.bin"]:
            s3.put(bucket, key, body(key))
        skipped[bucket] = [row(key, s3.put(bucket, key, body(key))) for key in SKIPPED]
    datachain_runs.run("buckets", folder, s3.url, "plain", "kept")
    for bucket, rows in skipped.items():
        sql.add_rows(folder, bucket, rows)
    dcfs = mounts.Dcfs(folder / "home", **servers.S3.KEYS)
    with dcfs.mount(folder, folder / "mnt", "--endpoint-url", s3.url, "--prefetch", "off") as mount:
        yield SimpleNamespace(s3=s3, folder=folder, dcfs=dcfs, mount=mount)


def file_of(buckets, bucket, key):
    return buckets.mount.datasets / f"{bucket}@1.0.0" / SKIPPED.get(key, key)


@pytest.mark.parametrize("bucket", ["plain", "kept"])
@pytest.mark.parametrize("key", KEYS + REFUSED + list(SKIPPED))
def test_every_key_is_read_or_refused(buckets, bucket, key):
    """The right bytes, or EIO and one line that names the key; never another object's bytes."""
    before = len(buckets.dcfs.worries())
    path = file_of(buckets, bucket, key)
    assert path.stat().st_size == len(body(key))
    try:
        assert path.read_bytes() == body(key)
        assert len(buckets.dcfs.worries()) == before
    except OSError as error:
        assert key not in KEYS, f"refused: {buckets.dcfs.worries()[before:]}"
        assert error.errno == errno.EIO
        (line,) = buckets.dcfs.worries()[before:]
        assert bucket in line and key.strip("\t") in line


def expect_stale(buckets, path, read):
    """`read` fails with ESTALE; returns the one line it left in the log."""
    before = len(buckets.dcfs.worries())
    with pytest.raises(OSError) as error:
        read(path)
    assert error.value.errno == errno.ESTALE
    lines = buckets.dcfs.worries()[before:]
    assert lines, "nothing was logged"
    assert all(path.name in line for line in lines)
    return lines[0]


def read_all(path):
    with open(path, "rb") as file:
        return file.read()


def test_an_overwritten_object_is_stale_and_the_log_says_why(buckets):
    path = file_of(buckets, "plain", "small.bin")
    answer = buckets.s3.put("plain", "small.bin", body("small.bin").upper())
    line = expect_stale(buckets, path, read_all)
    assert hashlib.md5(body("small.bin")).hexdigest() in line, "what the row recorded"
    assert answer["ETag"].strip('"') in line or "412" in line, "what was found"


def test_an_object_overwritten_while_open_is_never_mixed(buckets):
    path = file_of(buckets, "plain", "large.bin")
    with open(path, "rb") as file:
        start = file.read(4096)
        buckets.s3.put("plain", "large.bin", body("large.bin").upper())
        assert start == body("large.bin")[:4096]
        with pytest.raises(OSError) as error:
            file.seek(8 << 20)
            file.read(1 << 20)
        assert error.value.errno == errno.ESTALE


def test_a_deleted_object_is_stale(buckets):
    buckets.s3.client.delete_object(Bucket="plain", Key="gone.bin")
    expect_stale(buckets, file_of(buckets, "plain", "gone.bin"), read_all)


def test_a_versioned_bucket_gives_the_old_bytes(buckets):
    for key in CHANGING:
        buckets.s3.put("kept", key, body(key).upper())
        assert file_of(buckets, "kept", key).read_bytes() == body(key)
    buckets.s3.client.delete_object(Bucket="kept", Key="gone.bin")
    assert file_of(buckets, "kept", "gone.bin").read_bytes() == body("gone.bin")


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """nginx over a folder, a dataset whose rows name its files, and the folder for changing them."""
    if not shutil.which("nginx"):
        pytest.skip("no nginx (apt install nginx-light)")
    folder = tmp_path_factory.mktemp("static")
    bucket = folder / "root" / "b"
    bucket.mkdir(parents=True)
    random.seed(7)
    (bucket / "large.bin").write_bytes(random.randbytes(64 << 20))
    for name in ("new\nline", "a b", "%20", "#", "[x]", "*", "+", "dir/a"):
        (bucket / name).parent.mkdir(exist_ok=True)
        (bucket / name).write_bytes(name.encode() * 100)
    datachain_runs.run("static", folder, str(bucket))
    nginx = servers.nginx(folder, folder / "root")
    with nginx as url:
        dcfs = mounts.Dcfs(folder / "home")
        options = ("--anon", "--endpoint-url", url, "--timeout", "5s")
        with dcfs.mount(folder, folder / "mnt", *options) as mount:
            yield SimpleNamespace(
                catalog=folder, bucket=bucket, url=url, dcfs=dcfs, root=mount.datasets / "static@1.0.0"
            )


def test_static_names(static):
    for path in static.bucket.rglob("*"):
        if path.is_file() and path.name not in ("large.bin", "new\nline"):
            assert (static.root / path.relative_to(static.bucket)).read_bytes() == path.read_bytes()
    assert static.dcfs.worries() == []


def test_a_newline_in_a_key_is_read_or_refused(static):
    try:
        assert (static.root / "new\nline").read_bytes() == b"new\nline" * 100
    except OSError as error:
        assert error.errno == errno.EIO
        assert len(static.dcfs.worries()) == 1, "one line, whatever the name holds"


def test_a_large_object_read_through(static):
    wanted = hashlib.sha256((static.bucket / "large.bin").read_bytes()).hexdigest()
    assert subprocess.check_output(["sha256sum", static.root / "large.bin"]).split()[0].decode() == wanted


def test_a_large_object_read_here_and_there(static):
    whole = (static.bucket / "large.bin").read_bytes()
    random.seed(8)
    with open(static.root / "large.bin", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in range(100):
            offset, size = random.randrange(len(whole)), random.choice([1, 4096, 100_000, 3 << 20])
            assert os.pread(file.fileno(), size, offset) == whole[offset : offset + size]


def test_a_server_that_cannot_be_reached_is_an_error_in_time(tmp_path, static):
    """EIO within the bound, one line, and the mount continues."""
    dcfs = mounts.Dcfs(tmp_path / "home")
    url = f"http://127.0.0.1:{servers.free_port()}"
    options = ("--anon", "--endpoint-url", url, "--timeout", "3s")
    with dcfs.mount(static.catalog, tmp_path / "mnt", *options) as mount:
        path = mount.datasets / "static@1.0.0" / "a b"
        begun = time.monotonic()
        with pytest.raises(OSError) as error:
            path.read_bytes()
        assert error.value.errno == errno.EIO
        assert time.monotonic() - begun < 30
        assert any("a b" in line for line in dcfs.worries())
        assert path.stat().st_size == 300, "names and sizes need no network"


CLIMBING = {"dir/../a b": "a b", "./a b": "a b", "dir/./a": "dir/a", "../b/a b": "a b"}
"""Keys, and the objects that a tidying HTTP client would ask for instead."""


def test_a_path_that_climbs_never_gives_another_object(static, tmp_path):
    """Even where size and etag are those of the other object: EIO, and one line."""
    catalog = sql.copy_catalog(static.catalog / ".datachain", tmp_path / "c" / ".datachain").parent
    sql.change(catalog, "UPDATE ds_local_local_static_1_0_0 SET file__path = file__path || '/' || sys__id")
    sql.add_rows(catalog, "static", [climbing_row(static, *pair) for pair in CLIMBING.items()])
    dcfs = mounts.Dcfs(tmp_path / "home")
    with dcfs.mount(catalog, tmp_path / "mnt", "--anon", "--endpoint-url", static.url) as mount:
        for name in ("dir/%2E./a b", "%2E/a b", "dir/%2E/a", "%2E./b/a b"):
            with pytest.raises(OSError) as error:
                (mount.datasets / "static@1.0.0" / name).read_bytes()
            assert error.value.errno == errno.EIO
    assert len(dcfs.worries()) == len(CLIMBING)


def climbing_row(static, key, target):
    """A row for `key` with everything else from `target`."""
    found = (static.bucket / target).stat()
    etag = f"{int(found.st_mtime):x}-{found.st_size:x}"
    return {"file__path": key, "file__size": found.st_size, "file__etag": etag}
