"""`dcfs catalog copy`: between SQLite and servers, in both directions, with lineage, and again where it was interrupted."""

import json
import time

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
    name = f"empty{time.monotonic_ns()}"
    own.clickhouse.ask(f"CREATE DATABASE {name}")
    own.postgres.sql(f"CREATE DATABASE {name}", database="postgres")
    return f"clickhouse://dcfs@{own.clickhouse.authority}/{name}?metastore=postgresql://datachain@{own.postgres.authority}/{name}"


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
