"""Stores that are unreachable for a while or for ever, and stores whose address differs from the one at indexing: how long commands
wait, and their messages.

`fault_proxy.py` stands in front of moto, and refuses connections on demand. Times are compared with the cost of one time-out per file.
"""

import contextlib
import threading
import time
from types import SimpleNamespace

import pytest

import mounts
import servers
import sql

FILES = 300

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """A bucket behind the proxy, indexed as `d` by way of it."""
    folder = tmp_path_factory.mktemp("away")
    with servers.moto(folder) as store, servers.faulty(folder, store.url) as proxy:
        store.bucket("box", False)
        for number in range(FILES):
            store.put("box", f"d/{number:03}", b"x" * 10)
        dcfs = mounts.Dcfs(folder / "home", **KEYS)
        flags = ("--catalog", folder, "--endpoint-url", proxy.url)
        dcfs.ok("index", "s3://box/d/", "--save", "d", *flags)
        yield SimpleNamespace(folder=folder, proxy=proxy, dcfs=dcfs, flags=flags)


@contextlib.contextmanager
def refusing(proxy):
    """Nothing listens until the block ends."""
    proxy.refuse(True)
    try:
        yield
    finally:
        proxy.refuse(False)


@contextlib.contextmanager
def refusing_for(proxy, seconds):
    """Nothing listens for a while."""
    proxy.refuse(True)
    timer = threading.Timer(seconds, proxy.refuse, [False])
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_store_that_starts_again_is_waited_for(away, tmp_path):
    with refusing_for(away.proxy, 3):
        assert away.dcfs.ok("cat", "d/d/000", *away.flags) == "x" * 10
    with refusing_for(away.proxy, 3):
        flags = ("--catalog", tmp_path, *away.flags[2:])
        away.dcfs.ok("index", "s3://box/d/", "--save", "again", *flags)


def test_a_store_that_wants_rest_is_left_alone_and_read_then(away):
    away.proxy.rules(("/box/d/001", "status_503", {"times": 4}))
    assert away.dcfs.ok("cat", "d/d/001", *away.flags) == "x" * 10


@pytest.mark.parametrize("command", [["index", "--save", "x"], ["list"]])
def test_who_waits_for_a_store_that_is_away_hears_of_it(dcfs, tmp_path, command):
    flags = ("--catalog", tmp_path) if command[0] == "index" else ()
    result = dcfs.run(*command, "s3://box/", "--endpoint-url", "http://127.0.0.1:1", "--anon", "--timeout", "5s", *flags, cwd=tmp_path)
    assert result.returncode == 6
    told, *_, end = result.stderr.splitlines()
    assert "asking `http://127.0.0.1:1`: Connection refused" in told and "; trying for another " in told and told.endswith(" s")
    assert "Connection refused" in end and "trying" not in end


@pytest.mark.parametrize("command", ["warm", "verify"])
def test_a_store_that_is_away_is_not_waited_for_by_each_file(away, tmp_path, command):
    began = time.monotonic()
    with refusing(away.proxy):
        cache = ("--cache-dir", tmp_path, "--timeout", "6s")
        result = away.dcfs.run(command, "d", *away.flags, *cache, "--jobs", "4", timeout=120)
    # Each file by itself would take 300 / 4 times 6 s.
    assert time.monotonic() - began < 60
    assert result.returncode == 6 and "Connection refused" in result.stdout + result.stderr, result.stderr


def test_verify_and_doctor_say_the_whole_cause_once(away, tmp_path):
    with refusing(away.proxy):
        began = time.monotonic()
        result = away.dcfs.run("verify", "d", *away.flags, timeout=120)
        doctor = away.dcfs.run("doctor", *away.flags, timeout=120).stdout
        # Against a time-out of 60 s for each.
        assert time.monotonic() - began < 40
    cause = f"could not be read: asking `{away.proxy.url}`: Connection refused (os error 111)"
    [line] = [line for line in result.stdout.splitlines() if "not asked for" in line]
    assert cause in line and f"and {FILES - 1} objects like it" in line
    assert [line for line in doctor.splitlines() if line.startswith("note") and cause in line]
    well = away.dcfs.ok("doctor", *away.flags)
    assert "`s3://box`: the requested object is the recorded one" in well


@pytest.mark.mount
def test_what_index_was_told_is_advice_and_never_used(away, tmp_path):
    advice = f"`s3://box` was indexed with `--endpoint-url {away.proxy.url}`"
    # An invalid region: no request is sent.
    dcfs = mounts.Dcfs(tmp_path / "home", **KEYS, AWS_REGION="nowhere-1")
    before = away.proxy.counts()["requests"]
    bare = ("--catalog", away.folder, "--timeout", "3s")
    for command in (["verify", "d"], ["cat", "d/d/000"]):
        result = dcfs.run(*command, *bare, timeout=120)
        assert result.returncode != 0 and advice in result.stderr, (command, result.stderr)
    assert advice in dcfs.run("doctor", *bare, timeout=120).stdout
    (tmp_path / "mnt").mkdir()
    mount = dcfs.run("mount", *bare, tmp_path / "mnt")
    dcfs.ok("unmount", tmp_path / "mnt")
    assert advice in mount.stderr
    assert away.proxy.counts()["requests"] == before
    with_flag = away.dcfs.run("verify", "d", *away.flags)
    assert with_flag.returncode == 0 and advice not in with_flag.stderr


def test_a_catalog_of_an_earlier_dcfs_gets_the_column(away, tmp_path):
    catalog = sql.copy_catalog(away.folder / ".datachain", tmp_path / ".datachain").parent
    sql.change(catalog, "ALTER TABLE dcfs_provenance DROP COLUMN settings")
    flags = ("--catalog", catalog, *away.flags[2:])
    assert away.dcfs.run("verify", "d", *flags).returncode == 0
    away.dcfs.ok("index", "s3://box/d/", "--save", "d", "--update", *flags)
    result = mounts.Dcfs(tmp_path / "home", **KEYS).run("verify", "d", "--catalog", catalog, timeout=120)
    assert "was indexed with" in result.stderr
