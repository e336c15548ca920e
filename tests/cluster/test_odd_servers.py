"""Servers that are too old or full, and hosts whose clocks differ: clear errors, nothing half, nothing lost."""

import contextlib
import json
import os
import random
from pathlib import Path

import pytest

import copied
import mounts
import servers
import stand_ins
import taps
from test_writing import stages, state

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

COMMANDS = [["ls"], ["save", "few", "--as", "x"], ["catalog", "copy", "{catalog}"]]


@pytest.fixture
def own(tmp_path):
    """Servers of this test alone, which it starts."""
    cluster = servers.Cluster(tmp_path / "cluster")
    yield cluster
    cluster.stop()


def commands(address, catalog):
    """Commands that read and write the catalog at an address."""
    for command in COMMANDS:
        name, *rest = (word.format(catalog=catalog) for word in command)
        yield [name, *rest, address] if name == "catalog" else [name, *rest, "--catalog", address]


def told(result):
    assert result.returncode == 6 and servers.PASSWORD not in result.stderr, result
    return result.stderr


@pytest.mark.parametrize("version", ["22.8.21.38", "23.2.7.32", "18.16.1", "9"])
def test_a_clickhouse_that_is_too_old(version, there, cluster, catalog, dcfs):
    with stand_ins.clickhouse(version) as (port, asked):
        address = there.replace(cluster.clickhouse.authority, f"127.0.0.1:{port}")
        for command in commands(address, catalog):
            assert f"is of version {version}, and dcfs needs 23.3 or later" in told(dcfs.run(*command))
    assert set(asked) == {"SELECT version() FORMAT TSV"}


@pytest.mark.parametrize("version", ["9.6.24", "8.4"])
def test_a_postgresql_that_is_too_old(version, there, cluster, catalog, dcfs):
    with stand_ins.postgres(version) as (port, asked):
        address = there.replace(cluster.postgres.authority, f"127.0.0.1:{port}")
        for command in commands(address, catalog):
            assert f"is of version {version}, and dcfs needs 10 or later" in told(dcfs.run(*command))
    assert asked == []


def test_the_metastore_s_types_are_not_those_that_were_expected(cluster, there, catalog, dcfs):
    """Columns of names as text, uuid or json are read alike; what is no number or no schema is an error with the version's name."""
    wanted = dcfs.ok("show", "few", "--catalog", there, "--json")
    try:
        for column, kind in [("version", "varchar(40)"), ("uuid", "uuid"), ("num_objects", "numeric"), ("schema", "jsonb"), ("created_at", "text"), ("status", "text")]:
            cluster.postgres.sql(f"ALTER TABLE datasets_versions ALTER COLUMN {column} TYPE {kind} USING {column}::text::{kind}")
            result = dcfs.run("show", "few", "--catalog", there, "--json")
            assert result.stdout == wanted if result.returncode == 0 else "few" in result.stderr or "PostgreSQL at" in result.stderr, (column, result)
            assert "panicked" not in result.stderr
            copied.copy(catalog, cluster)
        for value in ["no JSON", "[]", "7", '{"file__path": 7}']:
            cluster.postgres.sql(f"UPDATE datasets_versions SET schema = '{json.dumps(value) if value == 'no JSON' else value}'")
            result = dcfs.run("show", "few", "--catalog", there)
            assert result.returncode in (0, 2, 6) and "panicked" not in result.stderr, (value, result)
            copied.copy(catalog, cluster)
    finally:
        copied.copy(catalog, cluster)


READS = {
    "show": ["show", "few", "--all", "--json"],
    "filter": ["count", "awkward", "--where", "n > 4 and s regexp \"..\""],
    "statement": ["sql", "--format", "jsonl", "select label, count(*) from awkward where n > 4 group by label"],
    "lineage": ["lineage", "few"],
    "schema": ["schema", "awkward", "--json"],
}

MOST = 200


@pytest.mark.parametrize("half", ["clickhouse", "postgres"])
@pytest.mark.parametrize("command", READS)
def test_a_connection_that_breaks_while_it_is_read_is_an_error_or_makes_no_difference(command, half, there, cluster, tmp_path):
    name, *rest = READS[command]
    wanted = mounts.Dcfs(tmp_path / "whole", **cluster.environment).ok(name, "--catalog", there, *rest)
    server = getattr(cluster, half)
    failed = 0
    for number in range(1, MOST):
        passed = []
        with taps.Tap(server.port, lambda piece, _: passed.append(piece) or piece != number) as tap:
            through = there.replace(server.authority, f"127.0.0.1:{tap.port}")
            dcfs = mounts.Dcfs(tmp_path / "home" / str(number), **cluster.environment)
            result = dcfs.run(name, "--catalog", through, *rest)
        if result.returncode == 0:
            assert result.stdout == wanted, number
        else:
            failed += 1
            told_why = ["cannot be reached", "in the middle of an answer", "does not understand"]
            assert result.returncode == 6 and any(words in result.stderr for words in told_why), (number, result)
            # What was packed of it is not believed.
            assert dcfs.ok(name, "--catalog", there, *rest) == wanted, number
        if len(passed) < number:
            break
    else:
        pytest.fail(f"more than {MOST} pieces")
    assert failed or half == "postgres", "some break is seen"


@contextlib.contextmanager
def filled(folder):
    """A disk with no room left."""
    fill = folder / "fill"
    with open(fill, "wb", buffering=0) as file:
        for size in [1 << 20, 1 << 16, 1 << 12, 1]:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        fill.unlink()


def assert_full(result):
    assert result.returncode == 7 and "has no room" in result.stderr and "nothing was saved" in result.stderr, result


@pytest.mark.parametrize("half", ["clickhouse", "postgres"])
def test_a_full_disk_of_a_server_saves_nothing_and_reads_go_on(half, own, catalog, dcfs):
    own.folder.mkdir()
    own.folder.chmod(0o711)
    with mounts.small_disk(own.folder / half, "192m"):
        own.start()
        copied.copy(catalog, own)
        there = own.address(user="dcfs")
        dcfs.ok("save", "few", "--catalog", there, "--as", "first")
        wanted = dcfs.ok("show", "awkward", "--catalog", there, "--all", "--json")
        before = state(own)
        # More than any page has room for, and nothing that can be made shorter.
        text = "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=100_000))
        save = ["save", "few", "--catalog", there, "--as", "second", "--description", text]
        with filled(own.folder / half):
            assert_full(dcfs.run(*save))
            assert_full(dcfs.run("save", "awkward", "--catalog", there, "--where", "s regexp \"..\"", "--as", "third", "--description", text))
            assert dcfs.ok("show", "awkward", "--catalog", there, "--all", "--json") == wanted
            assert state(own)[0] == before[0]
        # With room again the same command does it, and clears away what is left.
        dcfs.ok(*save)
        assert stages(own) == []
        after = state(own)
        assert len(after[0]) == len(before[0]) + 1 and not [table for table in after[1] if table.startswith("dcfs_stage_")]
        own.stop()


class Host(mounts.Dcfs):
    """The binary on a host whose clock is ahead by so many days."""

    def __init__(self, folder, days, **environment):
        super().__init__(folder, **environment)
        # The clock of the day alone: a file system has times of its own, as on a network, and waiting is not by that clock.
        self.environment.update(LD_PRELOAD=str(FAKETIME), FAKETIME=f"{days:+}d", FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1")


skewed = pytest.mark.skipif(FAKETIME is None, reason="no libfaketime: run `tests/setup cluster`")


@skewed
def test_hosts_whose_clocks_differ_save_in_the_order_of_their_numbers(own, catalog, tmp_path):
    own.start()
    copied.copy(catalog, own)
    there = own.address(user="dcfs")
    ahead, behind = (Host(tmp_path / str(days), days, **own.environment) for days in (400, -400))
    for number, host in enumerate([ahead, behind, ahead, behind]):
        dataset = f"chain@1.0.{number - 1}" if number else "few"
        host.ok("save", dataset, "--catalog", there, "--where", f"file.size >= {number}", "--as", "chain")
    assert stages(own) == [], "nobody took another for dead"
    dates = own.postgres.sql("SELECT DISTINCT date_part('year', v.created_at) FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id WHERE d.name = 'chain'")
    assert len(dates.split()) > 1, "the clocks do differ"
    for host in [ahead, behind]:
        (latest,) = [one["version"] for one in json.loads(host.ok("ls", "--json", "--catalog", there)) if one["dataset"] == "chain"][-1:]
        assert latest == "1.0.3"
        assert host.ok("count", "chain", "--catalog", there) == host.ok("count", "chain@1.0.3", "--catalog", there)
        lineage = host.ok("lineage", "chain@1.0.3", "--catalog", there)
        assert all(f"chain@1.0.{number}" in lineage for number in range(3)) and "few@1.0.0" in lineage
    ahead.ok("rm", "chain@1.0.3", "--yes", "--catalog", there)
    assert behind.ok("count", "chain", "--catalog", there) == behind.ok("count", "chain@1.0.2", "--catalog", there)


@skewed
def test_a_host_that_is_ahead_takes_no_new_object_for_an_old_one(own, catalog, tmp_path):
    """`gc` on a host that is days ahead leaves what another host is just writing; age is by the clock of the folder."""
    own.start()
    copied.copy(catalog, own)
    there = own.address(user="dcfs")
    shared = tmp_path / "shared"
    shared.mkdir()
    config = tmp_path / "config.toml"
    config.write_text(f'[shared]\nprefix = "file://{shared}"\nwrite = true\n')
    host = mounts.Dcfs(tmp_path / "host", DCFS_CONFIG=str(config), **own.environment)
    host.ok("warm", "--to-shared", "few", "--catalog", there)
    folder = next(path for path in shared.rglob("*") if path.is_file()).parent
    left = folder / ("0" * 64)
    left.write_text("just written")
    ahead = Host(tmp_path / "ahead", 400, DCFS_CONFIG=str(config), **own.environment)
    gc = ["cache", "shared", "gc", "--catalog", there, "--json"]
    assert json.loads(ahead.ok(*gc))["removed"]["objects"] == 0 and left.exists()
    # And one that is behind keeps no old one.
    behind = Host(tmp_path / "behind", -400, DCFS_CONFIG=str(config), **own.environment)
    old = left.stat().st_mtime - 2 * 86400
    os.utime(left, (old, old))
    assert json.loads(behind.ok(*gc))["removed"]["objects"] == 1 and not left.exists()
    assert not [path for path in shared.rglob("*") if "clock" in path.name]
    # What was shared is used by all of them.
    for other in [ahead, behind]:
        other.ok("count", "few", "--catalog", there, "--where", "file.size > 1")
