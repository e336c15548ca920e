"""A catalog on ClickHouse and PostgreSQL gives the same answers as the same catalog in SQLite."""

import json
import shutil
import time

import pytest

import copied
import mounts

COMMANDS = [
    ["ls"],
    ["ls", "--json"],
    ["schema", "awkward"],
    ["schema", "few", "--json"],
    ["count", "few"],
    ["show", "few", "--json"],
    ["show", "awkward", "--json"],
    ["show", "awkward", "--where", "info.score > 0 order by info.score desc, sys__id limit 20", "--json"],
    ["show", "awkward", "--columns", "sys__id,s,t,ints", "--format", "csv", "--all"],
    ["sql", "select label, count(*) as n from awkward group by label order by n desc, label"],
    ["stats", "few"],
]  # fmt: skip


@pytest.fixture
def local(tmp_path):
    """The binary with another home and cache: for the catalog in SQLite."""
    return mounts.Dcfs(tmp_path / "local")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_answer_alike(command, catalog, there, dcfs, local):
    name, *rest = command
    assert dcfs.ok(name, "--catalog", there, *rest) == local.ok(name, "--catalog", catalog, *rest)


def tree(root):
    """Every path below a directory, and the bytes of each file."""
    found = {}
    for path in sorted(root.rglob("*")):
        found[str(path.relative_to(root))] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.mount
def test_a_mount_shows_the_same_tree_and_the_same_bytes(catalog, there, dcfs, local, tmp_path):
    with local.mount(catalog, tmp_path / "a") as own, dcfs.mount(there, tmp_path / "b", "--local-root", catalog) as remote:
        names = sorted(path.name for path in own.datasets.iterdir())
        assert sorted(path.name for path in remote.datasets.iterdir()) == names
        assert tree(remote.datasets / "few@1.0.0") == tree(own.datasets / "few@1.0.0")
        for dataset in ["few", "awkward"]:
            for file in ["_rows.jsonl", "_rows.csv", "_rows.parquet", "_schema.json", "_lineage.md", "_count"]:
                wanted = (own.datasets / dataset / file).read_bytes()
                assert (remote.datasets / dataset / file).read_bytes() == wanted, (dataset, file)
    assert not dcfs.worries(), dcfs.worries()


@pytest.mark.mount
def test_local_files_of_a_server_s_rows_are_read_only_where_that_is_said(there, dcfs, tmp_path):
    with dcfs.mount(there, tmp_path / "mnt") as mount:
        with pytest.raises(PermissionError):
            (mount.datasets / "few" / "a" / "0.txt").read_bytes()


@pytest.mark.mount
def test_new_versions_are_followed(changing, cluster, there, dcfs, local, tmp_path):
    with dcfs.mount(there, tmp_path / "mnt") as mount:
        assert not (mount.datasets / "later").exists()
        local.ok("save", "--catalog", changing, "few", "--where", "file.path like \"a%\"", "--as", "later")
        copied.copy(changing, cluster)
        end = time.monotonic() + 30
        while not (mount.datasets / "later@1.0.0").exists() and time.monotonic() < end:
            time.sleep(0.2)
        assert sorted(path.name for path in (mount.datasets / "later" / "a").iterdir()) == ["0.txt", "1.txt", "2.txt"]
        assert "few@1.0.0" in (mount.datasets / "later" / "_lineage.md").read_text()
        assert "later@1.0.0" in (mount.datasets / "few" / "_lineage.md").read_text()


def test_names_may_be_in_sqlite_and_rows_in_clickhouse(catalog, cluster, there, dcfs, local):
    address = f"clickhouse://reader@{cluster.clickhouse.authority}/datachain?metastore={catalog}"
    assert dcfs.ok("show", "--catalog", address, "few", "--json") == local.ok("show", "--catalog", catalog, "few", "--json")


SAID = [
    ("n > 4", "n > 4", None),
    ("n > 4 and round(f) > 2", "n > 4", "round(f) > 2"),
    ("s regexp \"a+\"", None, "s regexp \"a+\""),
    ("info.label like \"%a%\" or b", "info.label like \"%a%\" or b", None),
]  # fmt: skip


@pytest.mark.parametrize("text, sent, here", SAID, ids=[text for text, *_ in SAID])
def test_explain_tells_who_evaluates_what(text, sent, here, there, dcfs):
    explained = json.loads(dcfs.ok("explain", "--catalog", there, "awkward", text, "--json"))
    assert (explained.get("sent"), explained.get("here")) == (sent, here)


def test_a_table_may_lie_in_another_order_and_have_gaps(catalog, cluster, dcfs, local, tmp_path):
    """Rows written by another program: in another order, with gaps in the ids, with texts that are not UTF-8."""
    folder = tmp_path / "gaps"
    shutil.copytree(catalog, folder)
    db = copied.opened(folder)
    db.execute("UPDATE ds_local_local_awkward_1_0_0 SET sys__id = sys__id * 1000003 - 5000000000")
    db.execute("UPDATE ds_local_local_awkward_1_0_0 SET sys__id = sys__id + 5000000000")
    odd = {1: "61ff62", 2: "6162ff", 3: "ff6162", 4: "610062", 5: "41ff42", 6: "ff"}
    for row, text in odd.items():
        db.execute(f"UPDATE ds_local_local_awkward_1_0_0 SET s = CAST(x'{text}' AS TEXT) WHERE sys__id = {row} * 1000003")
    db.commit()
    copied.copy(folder, cluster)
    try:
        table, schema = next((table, schema) for table, schema in copied.versions(db) if "awkward" in table)
        copied.rows(db, table, schema, cluster.clickhouse, order="s")
        patterns = ["a%b", "%b", "a%", "%a%", "A%b", "%", "", "a", "ab%b"]
        likes = [f'{sign} {word} "{pattern}"' for pattern in patterns for sign, word in [("s", "like"), ("s", "ilike"), ("upper(s)", "not like")]]
        # While `s` is not packed yet, the server is queried.
        for text in [*likes, "n > 4", "s like \"%a%\" and length(s) > 1", "length(s) = 3", "s like \"a%%b\" or s like \"%a%b%\"", "maybe is null order by s, sys__id limit 5"]:
            command = ["awkward", "--where", text, "--columns", "sys__id,s", "--json"]
            rows = dcfs.ok("show", "--catalog", cluster.address(), *command)
            assert rows == local.ok("show", "--catalog", folder, *command), text
    finally:
        copied.copy(catalog, cluster)
