"""Every command that writes servers, interrupted at each step: nothing half is to be seen, the message says what happened, and the same
command then does its work.

Each try has a catalog of its own, copied by the servers themselves from one that is prepared once. `DCFS_CUTS` is how many steps of
each conversation are tried (4, spread over it, and the last two in every manner).
"""

import json
import os
import shutil
import threading
import time
from collections import namedtuple

import pytest

import mounts
import servers
import taps

CUTS = int(os.environ.get("DCFS_CUTS", 4))

MANNERS = ["gone", "breaks", "killed"]
"""The server accepts nothing any more; the connection is lost, and the next one works; dcfs is killed."""

COMMANDS = {
    "index": ["index", "{files}", "--save", "more"],
    "index_again": ["index", "{files}", "--save", "files", "--delta"],
    "load": ["load", "{parts}", "--as", "new"],
    "load_again": ["load", "{parts}", "--as", "loaded", "--delta"],
    "map": ["map", "files", "--as", "counted", "--out", "n: int", "--local-root", "{files}", "--", "sh", "-c", "wc -c < \"$1\"", "sh", "{{}}"],
    "map_again": ["map", "files", "--as", "long", "--delta", "--out", "n: int", "--local-root", "{files}", "--", "sh", "-c", "wc -c < \"$1\"", "sh", "{{}}"],
    "describe": ["describe", "loaded", "--description", "records", "--attr", "a=b"],
    "describe_column": ["describe", "loaded", "n", "a number"],
    "save": ["save", "loaded", "--where", "n > 1 and name regexp \"..\"", "--as", "some"],
    "rm": ["rm", "loaded@1.0.0", "--yes"],
    "mv": ["mv", "loaded", "renamed"],
    "copy": ["catalog", "copy", "{catalog}", "{address}", "--dataset", "few"],
}

WORDS = ["cannot be reached", "in the middle of an answer", "not known whether", "lost for so long"]

Prepared = namedtuple("Prepared", "cluster folder words wanted")
"""`wanted`: by command, the state that it leaves, and pieces of its conversation with each server."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, catalog):
    folder = tmp_path_factory.mktemp("cuts")
    cluster = servers.Cluster(folder / "cluster")
    files, parts = folder / "files", folder / "parts"
    try:
        cluster.start()
        dcfs = mounts.Dcfs(folder / "home", **cluster.environment)
        for number in range(12):
            write(files / f"{number:02}.txt", "x" * number)
            write(parts / f"{number:02}.csv", f"name,n\nname {number},{number}\n")
        words = {"files": files, "parts": parts, "catalog": catalog}
        address = addressed(cluster, "base")
        cluster.clickhouse.ask("CREATE DATABASE base")
        cluster.postgres.sql("CREATE DATABASE base", database="postgres")
        dcfs.ok("index", files, "--save", "files", "--catalog", address)
        dcfs.ok("load", parts, "--as", "loaded", "--catalog", address)
        name, *rest = spelled("map_again", words, address)
        dcfs.ok(name, *rest)
        dcfs.ok("index", files, "--save", "files", "--catalog", address)
        # What is new for `--delta`.
        write(files / "new.txt", "new")
        write(parts / "05.csv", "name,n\nother,5\n")
        write(parts / "new.csv", "name,n\nnew,13\n")
        (parts / "07.csv").unlink()
        dcfs.ok("index", files, "--save", "files", "--catalog", address)
        write(files / "newer.txt", "newer")
        yield Prepared(cluster, folder, words, {})
    finally:
        cluster.stop()


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def addressed(cluster, database, clickhouse=None, postgres=None):
    """The address of a catalog, through taps where they are given."""
    ports = clickhouse or cluster.clickhouse.port, postgres or cluster.postgres.port
    return f"clickhouse://dcfs@127.0.0.1:{ports[0]}/{database}?metastore=postgresql://datachain@127.0.0.1:{ports[1]}/{database}"


def spelled(command, words, address):
    """A command for a catalog."""
    name, *rest = (word.format(**words, address=address) for word in COMMANDS[command])
    return [name, *rest] if name == "catalog" else [name, "--catalog", address, *rest]


class Catalog:
    """A copy of the prepared one, gone at the end."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.name = f"cut{time.monotonic_ns()}"

    def __enter__(self):
        ask = self.cluster.clickhouse.ask
        self.cluster.postgres.sql(f"CREATE DATABASE {self.name} TEMPLATE base", database="postgres")
        ask(f"CREATE DATABASE {self.name}")
        for table in self.tables("base"):
            ask(f"CREATE TABLE {self.name}.`{table}` AS base.`{table}`")
            ask(f"ALTER TABLE {self.name}.`{table}` ATTACH PARTITION ALL FROM base.`{table}`")
        return self

    def __exit__(self, *_):
        self.cluster.postgres.sql(f"DROP DATABASE {self.name} WITH (FORCE)", database="postgres")
        self.cluster.clickhouse.ask(f"DROP DATABASE {self.name}")

    def tables(self, database=None):
        sql = f"SELECT name FROM system.tables WHERE database = '{database or self.name}' ORDER BY name FORMAT TSVRaw"
        return self.cluster.clickhouse.ask(sql).decode().split("\n")[:-1]

    def asked(self, sql):
        return self.cluster.postgres.sql(sql, database=self.name).split("\n")[:-1]

    def state(self):
        """What is to be seen: each version with a sum of its rows, and what is said of datasets. A version is whole."""
        # Numbers of datasets, and of listings, depend on how often something was tried.
        sql = """SELECT concat_ws(chr(9), n.name, p.name, d.name, v.version, v.num_objects) FROM datasets_versions v
                 JOIN datasets d ON d.id = v.dataset_id JOIN projects p ON p.id = d.project_id
                 JOIN namespaces n ON n.id = p.namespace_id WHERE v.status = 4"""
        versions = {}
        for line in self.asked(sql):
            namespace, project, name, number, rows = line.split("\t")
            kind = "src" if "://" in name else "ds"
            table = f"{kind}_{namespace}_{project}_{name}_{number.replace('.', '_')}"
            sum_of = "SELECT count(), sum(cityHash64(* EXCEPT (sys__rand)))"
            count, content = self.cluster.clickhouse.ask(f"{sum_of} FROM {self.name}.`{table}` FORMAT TSV").decode().split()
            assert count == rows, (name, number)
            versions[name, number] = content
        said = self.asked("SELECT concat_ws(chr(9), name, description, attrs) FROM datasets ORDER BY name")
        columns = "SELECT to_regclass('dcfs_annotations') IS NOT NULL"
        if self.asked(columns) == ["t"]:
            said += self.asked("SELECT concat_ws(chr(9), dataset, name, description, owner, caveat) FROM dcfs_annotations ORDER BY 1")
        return versions, said

    def leftovers(self):
        """Notes of stages, and tables that are of no version."""
        noted = self.asked("SELECT to_regclass('dcfs_stages') IS NOT NULL")
        notes = self.asked("SELECT id FROM dcfs_stages") if noted == ["t"] else []
        return notes, [table for table in self.tables() if table.startswith("dcfs_stage_")]


class Cut:
    """What happens at a piece of a conversation."""

    def __init__(self, tap, manner, number):
        self.tap, self.manner, self.number = tap, manner, number
        self.process = None
        self.started = threading.Event()
        self.happened = False

    def at(self, piece, _):
        if piece != self.number:
            return True
        self.happened = True
        if self.manner == "killed":
            self.started.wait()
            self.process.kill()
            self.process.wait()
        if self.manner == "gone":
            self.tap.go()
        return False

    def run(self, dcfs, command):
        """The exit code and the message."""
        self.process = dcfs.start(*command)
        self.started.set()
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors


def run(prepared, catalog, command, half, manner, number):
    """A command through a tap that cuts at a piece; what it says, what happened there, and how many pieces passed."""
    cluster = prepared.cluster
    dcfs = mounts.Dcfs(prepared.folder / "homes" / catalog.name, **cluster.environment)
    with taps.Tap(getattr(cluster, half).port) as tap:
        cut = Cut(tap, manner, number)
        tap.at = cut.at
        address = addressed(cluster, catalog.name, **{half: tap.port})
        code, errors = cut.run(dcfs, spelled(command, prepared.words, address))
    return code, errors, cut.happened, tap.pieces


def whole(prepared, command, half):
    """The states before a command and after it, and its pieces: found once."""
    known = prepared.wanted.setdefault(command, {})
    if half not in known:
        with Catalog(prepared.cluster) as catalog:
            before = catalog.state()
            code, errors, _, pieces = run(prepared, catalog, command, half, "whole", -1)
            assert code == 0, errors
            known[half] = before, catalog.state(), pieces
            assert catalog.leftovers() == ([], [])
    return known[half]


def is_between(state, before, after):
    """Some commands publish several versions, one after another: a listing, then a dataset."""
    versions, all_of_before, all_of_after = state[0].items(), before[0].items(), after[0].items()
    return versions <= (all_of_before | all_of_after) and (versions >= all_of_before or versions >= all_of_after)


def steps(pieces):
    """Some of so many, the first and the last among them."""
    last = max(CUTS - 1, 1)
    return sorted({1 + round(number * (pieces - 1) / last) for number in range(CUTS)})


def cuts(command, pieces):
    """Pieces and manners: in turn, beginning with another for each command; at the last two, where changes are committed, all."""
    begin = list(COMMANDS).index(command)
    for turn, number in enumerate(sorted({*steps(pieces), max(pieces - 1, 1)})):
        manners = MANNERS if number >= pieces - 1 else [MANNERS[(turn + begin) % len(MANNERS)]]
        for manner in manners:
            yield number, manner


def assert_told(result, command, where):
    code, errors = result
    # 5: a run that keeps what was done.
    codes = (0, 4, 5, 6, -9) if "the same command goes on" in errors else (0, 4, 6, -9)
    assert code in codes and "panicked" not in errors and servers.PASSWORD not in errors, (where, result)
    if code > 0:
        assert any(words in errors for words in WORDS), (where, errors)


def finish(prepared, catalog, command, is_done, where):
    """The same command again, as another process of the same user; then nothing is left of the first."""
    dcfs = mounts.Dcfs(prepared.folder / "homes" / catalog.name, **prepared.cluster.environment)
    again = spelled(command, prepared.words, addressed(prepared.cluster, catalog.name))
    # PostgreSQL may need a moment to see that a client is gone.
    for _ in range(100):
        result = dcfs.run(*again)
        if result.returncode != 4:
            break
        time.sleep(0.1)
    told = (1, 2) if is_done and command in ("rm", "mv") else (0,)
    assert result.returncode in told, (where, result)
    end = time.monotonic() + 30
    while catalog.leftovers() != ([], []) and time.monotonic() < end:
        dcfs.ok("describe", "files", "--owner", "", "--catalog", addressed(prepared.cluster, catalog.name))
    assert catalog.leftovers() == ([], []), where
    shutil.rmtree(dcfs.home)


@pytest.mark.parametrize("half", ["clickhouse", "postgres"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_writer_that_is_interrupted_leaves_nothing_half_and_its_command_is_repeatable(command, half, prepared):
    before, after, pieces = whole(prepared, command, half)
    happened_at = []
    for number, manner in cuts(command, pieces):
        where = f"{command}, {half}, piece {number} of {pieces}, {manner}"
        with Catalog(prepared.cluster) as catalog:
            code, errors, happened, _ = run(prepared, catalog, command, half, manner, number)
            # A conversation may be shorter than the first one was.
            assert happened or code == 0, (where, code, errors)
            happened_at += [where] if happened else []
            state = catalog.state()
            print(where, code, state == before, state == after, errors.strip().splitlines()[-1:] if code else "")
            assert_told((code, errors), command, where)
            if state not in (before, after):
                assert is_between(state, before, after), (where, state)
            if code == 0:
                assert state == after, where
            # A copy goes on after its last version.
            if code > 0 and state == after != before and command != "copy":
                assert "not known whether" in errors or "the change was made" in errors, (where, errors)
            finish(prepared, catalog, command, state == after, where)
            final = catalog.state()
            assert final[1] == after[1] and final[0].items() >= after[0].items(), (where, final, after)
    assert happened_at, f"{command}, {half}: nothing was cut"
