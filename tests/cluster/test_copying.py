"""`dcfs catalog copy`: between SQLite and servers, in both directions, with lineage, and again where it was interrupted."""

import contextlib
import json
import shutil
import sqlite3

import pytest

import mounts
import servers


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    cluster = servers.Cluster(tmp_path_factory.mktemp("copying"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture
def dcfs(tmp_path, own):
    return mounts.Dcfs(tmp_path / "home", **own.environment)


@pytest.fixture
def empty(own):
    return own.database("empty")


def told(dcfs, catalog):
    """All that is told of each version: what it is, its rows, where it came from."""
    versions = json.loads(dcfs.ok("ls", "--json", "--catalog", catalog))
    pick = ["dataset", "version", "uuid", "rows", "size", "created_at"]
    found = {}
    for one in versions:
        name = f"{one['dataset']}@{one['version']}"
        rows = dcfs.ok("show", name, "--all", "--json", "--catalog", catalog)
        # Jobs are not copied, and with them the path of a script and its Python.
        lines = dcfs.ok("lineage", name, "--catalog", catalog).splitlines()
        lineage = [line for line in lines if not line.startswith(("| script |", "| Python |"))]
        found[name] = ([one.get(key) for key in pick], rows, lineage)
    return found


def test_to_servers_and_back_all_is_as_it_was(catalog, empty, dcfs, tmp_path):
    dcfs.ok("save", "few", "--catalog", catalog, "--where", "file.size > 1", "--as", "child", "--description", "it's")
    dcfs.ok("describe", "child", "--catalog", catalog, "--description", "said")
    out = json.loads(dcfs.ok("catalog", "copy", catalog, empty, "--json"))
    assert out["copied"] >= 4 and out["there"] == 0, "listings are versions, too"
    wanted = told(dcfs, catalog)
    assert told(dcfs, empty) == wanted
    assert any("few@1.0.0" in line for line in wanted["child@1.0.0"][2])
    # Again: nothing is left to do.
    assert json.loads(dcfs.ok("catalog", "copy", catalog, empty, "--json")) == {"copied": 0, "rows": 0, "there": out["copied"]}
    back = tmp_path / "back"
    back.mkdir()
    assert json.loads(dcfs.ok("catalog", "copy", empty, back, "--json"))["copied"] == out["copied"]
    assert told(dcfs, back) == wanted


def test_one_that_is_killed_goes_on(catalog, empty, own, dcfs):
    whole = json.loads(dcfs.ok("catalog", "copy", catalog, empty, "--json"))["copied"]
    name = empty.split("/")[-1]
    own.postgres.sql(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")
    own.postgres.sql(f"CREATE DATABASE {name}", database="postgres")
    own.clickhouse.ask(f"DROP DATABASE {name}")
    own.clickhouse.ask(f"CREATE DATABASE {name}")
    process = dcfs.start("catalog", "copy", catalog, empty)
    count = "SELECT count(*) FROM datasets_versions"
    while process.poll() is None:
        try:
            if int(own.postgres.sql(count, database=name)) >= 1:
                break
        except RuntimeError:
            pass
    process.kill()
    process.wait()
    out = json.loads(dcfs.ok("catalog", "copy", catalog, empty, "--json"))
    assert out["there"] >= 1 and out["there"] + out["copied"] == whole
    assert told(dcfs, empty) == told(dcfs, catalog)


@pytest.fixture
def mine(catalog, tmp_path):
    """A catalog in SQLite that a test may change."""
    folder = tmp_path / "mine"
    shutil.copytree(catalog, folder)
    return folder


def asked(own, empty, sql):
    return own.postgres.sql(sql, database=empty.split("/")[-1]).strip()


def test_a_child_gets_its_parent_later(mine, empty, own, dcfs):
    edges = "SELECT count(*) FROM datasets_dependencies"
    dcfs.ok("save", "few", "--catalog", mine, "--where", "file.size > 2", "--as", "late")
    first = dcfs.run("catalog", "copy", mine, empty, "--dataset", "late")
    assert first.returncode == 0 and "few@1.0.0" in first.stderr, first
    assert asked(own, empty, edges) == "0"
    assert dcfs.run("catalog", "copy", mine, empty, "--dataset", "few").returncode == 0
    again = dcfs.run("catalog", "copy", mine, empty, "--dataset", "late", "--json")
    assert json.loads(again.stdout) == {"copied": 0, "rows": 0, "there": 1} and "few@1.0.0" not in again.stderr, again
    assert asked(own, empty, edges) == "1"
    dcfs.ok("catalog", "copy", mine, empty, "--dataset", "late")
    assert asked(own, empty, edges) == "1", "an edge is added once"


def test_a_lower_number_that_was_made_later_is_copied(mine, empty, dcfs):
    for number in ["1.0.0", "2.0.0"]:
        dcfs.ok("save", "few", "--catalog", mine, "--as", "turned", "--version", number)
    with contextlib.closing(sqlite3.connect(mine / ".datachain" / "db")) as db, db:
        # The higher number is the older one.
        of = "dataset_id = (SELECT id FROM datasets WHERE name = 'turned')"
        for was, to in [("1.0.0", "x"), ("2.0.0", "1.0.0"), ("x", "2.0.0")]:
            db.execute(f"UPDATE datasets_versions SET version = ? WHERE {of} AND version = ?", [to, was])
    for copied in [2, 0]:
        out = dcfs.run("catalog", "copy", mine, empty, "--dataset", "turned", "--json")
        assert out.returncode == 0 and json.loads(out.stdout)["copied"] == copied, out
    for number in ["1.0.0", "2.0.0"]:
        assert dcfs.ok("count", f"turned@{number}", "--catalog", empty).split()[0] == "9"


def test_what_people_say_there_stays(mine, empty, own, dcfs):
    of = "SELECT description FROM datasets WHERE name = 'spoken'"
    copy = ["catalog", "copy", mine, empty, "--dataset", "spoken", "--json"]
    dcfs.ok("save", "few", "--catalog", mine, "--as", "spoken")
    dcfs.ok("describe", "spoken", "--catalog", mine, "--description", "ours")
    assert json.loads(dcfs.run(*copy).stdout)["copied"] == 1
    assert asked(own, empty, of) == "ours"
    dcfs.ok("describe", "spoken", "--catalog", empty, "--description", "theirs")
    dcfs.ok("save", "few", "--catalog", mine, "--as", "spoken")
    assert json.loads(dcfs.run(*copy).stdout)["copied"] == 1
    assert asked(own, empty, of) == "theirs"
