"""Differences between versions, from `dcfs diff` and below `_views/diff/`, compared with DataChain's."""

import errno
import json
import os
import shutil
import time

import pytest

import datachain_runs
import mounts

HELPERS = {"_README.md", "_lineage.md", "_schema.json"}

STATUS = {"A": "added", "M": "changed", "D": "removed", "S": "same"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffs")
    datachain_runs.run("diffs", folder)
    return folder


@pytest.fixture(scope="module")
def expected(catalog):
    """DataChain's result: for each direction, the paths of every status."""
    told = json.loads((catalog / "expected.json").read_text())
    return {
        way: {name: sorted(path for path, status in rows if STATUS[status] == name) for name in STATUS.values()}
        for way, rows in told.items()
    }


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return mounts.Dcfs(tmp_path_factory.mktemp("diff_home"))


@pytest.fixture(scope="module")
def mount(catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff_mount")
    with mounts.Dcfs(folder / "home").mount(catalog, folder / "mnt") as mount:
        yield mount


def diff(program, catalog, *arguments):
    return json.loads(program.ok("diff", "--catalog", catalog, "--json", *arguments))


def paths(rows):
    return sorted(row["path"] for row in rows)


def tree(folder):
    """The files below a directory, with inode and bytes; helpers left out."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in set(names) - HELPERS:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = (os.stat(path).st_ino, file.read())
    return found


def ends(paths):
    """The last two segments, which identify a file here."""
    return sorted("/".join(path.split("/")[-2:]) for path in paths)


def test_the_command_says_what_datachain_says(program, catalog, expected):
    ways = {"up": ("moving@1.0.0", "moving@1.0.1"), "down": ("moving@1.0.1", "moving@1.0.0")}
    for way, versions in ways.items():
        found = diff(program, catalog, *versions)
        assert found["on"] == ["file.source", "file.path"]
        for name in ("added", "changed", "removed"):
            assert paths(found[name]) == expected[way][name], (way, name)
        assert found["rows"] == {name: len(rows) for name, rows in expected[way].items()}
    assert expected["up"]["removed"] and expected["up"]["added"] and len(expected["up"]["changed"]) == 3


def test_the_columns_that_changed_are_told_with_both_values(program, catalog):
    found = diff(program, catalog, "moving@1.0.0", "moving@1.0.1")
    counted = {change["column"]: change["rows"] for change in found["columns"]["changed"]}
    assert counted.pop("label") == 1 and counted.pop("score") == 3
    assert set(counted) == {"file.size", "file.etag", "file.last_modified"} and set(counted.values()) == {1}
    (one,) = [row for row in found["changed"] if row["path"].endswith("c/1.txt")]
    assert one["changed"] == [
        {"column": "label", "from": "c", "to": "x"},
        {"column": "score", "from": 3.0, "to": 7.5},
    ]
    assert all(isinstance(row, int) for row in one["rows"])
    text = program.ok("diff", "--catalog", catalog, "moving@1.0.0", "moving@1.0.1")
    assert "13 same, 4 added, 3 changed, 2 removed\n" in text
    assert "label: c -> x, score: 3.0 -> 7.5\n" in text


def test_files_of_several_sources_are_told_apart(program, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
        program.ok("index", f"{name}/", "--save", name, cwd=tmp_path)
    text = program.ok("diff", "one", "two", cwd=tmp_path)
    assert f"file://{tmp_path}/two/a.txt" in text and f"file://{tmp_path}/one/a.txt" in text
    (added,) = diff(program, tmp_path, "one", "two")["added"]
    assert (added["source"], added["path"]) == (f"file://{tmp_path}/two", "a.txt")
    program.ok("index", "two/", "--save", "two", cwd=tmp_path)
    (tmp_path / "two" / "b.txt").write_text("new")
    program.ok("index", "two/", "--save", "two", "--update", cwd=tmp_path)
    assert "\nb.txt " in program.ok("diff", "two", cwd=tmp_path), "of one source paths tell enough"


def test_columns_of_one_side_are_told_and_not_compared(program, catalog):
    found = diff(program, catalog, "moving")
    assert (found["from"], found["to"]) == ("moving@1.0.1", "moving@2.0.0")
    assert found["columns"] == {"added": ["twice"], "removed": [], "changed": [], "retyped": []}
    assert found["rows"] == {"same": 20, "added": 0, "changed": 0, "removed": 0}
    assert diff(program, catalog, "moving@2.0.0", "moving@1.0.1")["columns"]["removed"] == ["twice"]


def test_other_datasets_other_keys_and_none(program, catalog):
    found = diff(program, catalog, "moving@1.0.1", "other@1.0.0")
    assert found["rows"]["added"] == found["rows"]["changed"] == 0
    assert found["rows"]["same"] + found["rows"]["removed"] == 20 and found["rows"]["removed"] > 0
    flat = diff(program, catalog, "flat")
    assert flat["on"] == ["n", "t"]
    assert flat["rows"] == {"same": 2, "added": 1, "changed": 0, "removed": 1}
    assert flat["added"] == [{"key": {"n": 3, "t": "c"}, "rows": [None, 3]}]
    assert flat["removed"] == [{"key": {"n": 1, "t": "a"}, "rows": [2, None]}]
    by_number = diff(program, catalog, "--on", "n", "flat")
    assert by_number["on"] == ["n"] and by_number["rows"] == flat["rows"]


def test_the_limit_bounds_rows_and_not_counts(program, catalog):
    whole = diff(program, catalog, "--limit", "0", "moving@1.0.0", "moving@1.0.1")
    two = diff(program, catalog, "--limit", "2", "moving@1.0.0", "moving@1.0.1")
    assert two["rows"] == whole["rows"] and two["columns"] == whole["columns"]
    for name in ("added", "changed", "removed"):
        assert two[name] == whole[name][:2]
    text = program.ok("diff", "--catalog", catalog, "--limit", "1", "moving@1.0.0", "moving@1.0.1")
    assert "and 3 more; `--limit 0` prints all" in text


def test_exit_codes_and_wrong_words(program, catalog):
    def code(*arguments):
        result = program.run("diff", "--catalog", catalog, *arguments)
        return result.returncode, result.stderr

    assert code("moving@1.0.0", "moving@1.0.1")[0] == 0
    assert code("--exit-code", "moving@1.0.0", "moving@1.0.1")[0] == 1
    assert code("--exit-code", "moving@1.0.0", "moving@1.0.0") == (0, "")
    for arguments, said in [
        (("moving@1.0.0", "1.0.1"), "write `moving@1.0.1`"),
        (("moving@1.0.0",), "is the first version"),
        (("--on", "labl", "moving"), "did you mean `label`?"),
    ]:
        wrong, message = code(*arguments)
        assert wrong == 2 and said in message, (arguments, message)


@pytest.mark.mount
def test_the_mount_shows_the_rows_that_differ(mount, expected):
    new, old = (mount.datasets / f"moving@{version}" for version in ("1.0.1", "1.0.0"))
    whole = {"added": tree(new), "changed": tree(new)}
    below = new / "_views" / "diff" / "1.0.0"
    assert set(os.listdir(below)) == {"added", "changed", "removed"}
    for name in ("added", "changed"):
        found = tree(below / name)
        assert ends(found) == ends(expected["up"][name])
        assert found == {path: whole[name][path] for path in found}
        assert int((below / name / "_count").read_text()) == len(found)
    # Files that the newer one rewrote are stale in the older one.
    removed = tree(below / "removed")
    assert ends(removed) == ends(expected["up"]["removed"])
    for path, (inode, text) in removed.items():
        assert os.stat(old / path).st_ino == inode and (old / path).read_bytes() == text
    up, down = (tree(old / "_views" / "diff" / "1.0.1" / name) for name in ("added", "removed"))
    assert up == removed and down == tree(below / "added")


@pytest.mark.mount
def test_a_diff_directory_is_a_query_directory(mount):
    below = mount.datasets / "moving@1.0.1" / "_views" / "diff" / "1.0.0"
    assert ends(tree(below / "changed" / 'label = "x"')) == ["c/1.txt"]
    assert len(tree(below / "removed" / "limit 1")) == 1
    rows = [json.loads(line) for line in (below / "changed" / "_rows.jsonl").read_text().splitlines()]
    assert sorted(row["score"] for row in rows) == [7.5, 7.5, 13.0]
    assert os.listdir(below / "removed" / "_views" / "by" / "label") == ["a"]
    assert not HELPERS & set(os.listdir(below / "removed"))
    assert all((below / "removed" / name).is_file() for name in HELPERS)
    assert "not in moving@1.0.1" in (below / "removed" / "_README.md").read_text()
    assert os.path.samefile(below / "removed" / "..", below)
    assert json.loads((below / "added" / "_schema.json").read_text())["query"]["diff"] == "not in moving@1.0.0"
    assert not (below / "added" / "_views" / "diff").exists()


@pytest.mark.mount
def test_the_pages_tell_the_numbers(mount, program, catalog):
    diffs = mount.datasets / "moving@1.0.1" / "_views" / "diff"
    assert set(os.listdir(diffs)) == {"_README.md", "1.0.0", "2.0.0"}
    assert "diff" in os.listdir(diffs.parent)
    summary = json.loads((diffs / "1.0.0" / "_summary.json").read_text())
    said = diff(program, catalog, "moving@1.0.0", "moving@1.0.1")
    assert summary == {name: said[name] for name in ("from", "to", "on", "rows", "columns")}
    page = (diffs / "1.0.0" / "_summary.md").read_bytes()
    assert b"| added | 4 |" in page and len(page) == os.stat(diffs / "1.0.0" / "_summary.md").st_size
    assert "`added/`" in (diffs / "_README.md").read_text()
    for name in ("1.0.1", "latest", "1", "1.0", "01.0.0", "9.0.0", "x"):
        assert not (diffs / name).exists(), name


@pytest.mark.mount
def test_versions_come_and_go_beside_a_mount(catalog, tmp_path):
    folder = tmp_path / "catalog"
    shutil.copytree(catalog, folder, ignore=shutil.ignore_patterns("data"))
    with mounts.Dcfs(tmp_path / "home").mount(folder, tmp_path / "mnt") as mount:
        diffs = mount.datasets / "moving@1.0.1" / "_views" / "diff"
        inside = diffs / "1.0.0" / "removed"
        assert int((inside / "_count").read_text()) == 2
        names = [os.path.join(place, name) for place, _, names in os.walk(inside) for name in set(names) - HELPERS]
        directory = os.open(inside, os.O_RDONLY)
        datachain_runs.run("remove", folder, "moving", "1.0.0")
        end = time.monotonic() + 5
        while inside.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not inside.exists() and "1.0.0" not in os.listdir(diffs)
        # Programs still below it see the old names, and no bytes.
        with pytest.raises(OSError) as stale:
            os.open(os.path.relpath(names[0], inside), os.O_RDONLY, dir_fd=directory)
        assert stale.value.errno == errno.ESTALE
        os.close(directory)
