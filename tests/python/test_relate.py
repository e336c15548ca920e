"""`dcfs group`, `merge`, `union` and `subtract`: the equivalents of `dcfs sql` without SQL."""

import json
import shutil

import pytest

FOLDS = ["--count", "--sum", "info.width", "--avg", "info.height", "--median", "info.width"]


@pytest.fixture
def run(dcfs, shapes_catalog, tmp_path):
    """Runs a command in a copy of the catalog of shapes; `run.rows` returns its output as JSON."""
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copytree(shapes_catalog / ".datachain", folder / ".datachain")

    def run(*arguments):
        return dcfs.run(*arguments, cwd=folder)

    run.ok = lambda *arguments: dcfs.ok(*arguments, cwd=folder)
    run.rows = lambda *arguments: [json.loads(line) for line in run.ok(*arguments, "--json").splitlines()]
    return run


def test_groups(run):
    found = run.rows("group", "pets_sized", "--by", "file.parent", *FOLDS)
    wanted = run.rows(
        "sql",
        'select file.parent, count(*) as count, sum(info.width) as "sum_info.width", avg(info.height) as "avg_info.height", '
        'median(info.width) as "median_info.width" from pets_sized group by all order by 1',
    )
    assert found == wanted and len(found) == 3
    assert run.rows("group", "pets_sized", "--count") == [{"count": 18}]
    assert run.ok("group", "pets_sized", "--by", "file.parent", "--count", "--as", "groups").startswith("saved groups@1.0.0: 3 rows")


@pytest.mark.parametrize("keep, rows, alone", [("left", 18, 9), ("none", 9, 0), ("right", 9, 0), ("both", 18, 9)])
def test_merges(run, keep, rows, alone):
    found = run.rows("merge", "pets_sized", "pets_masked", "--on", "file.path", "--keep", keep)
    assert len(found) == rows
    assert sum(row["right_file"]["path"] is None for row in found) == alone
    for row in found:
        assert row["right_file"]["path"] in (None, row["file"]["path"])


def test_what_is_merged_is_saved_with_its_parents(run):
    run.ok("merge", "pets_sized", "pets_masked", "--on", "file.path", "--right-on", "file.path", "--as", "merged")
    (parents,) = run.rows("sql", "select collect(parent) p from catalog.dependencies where dataset = 'merged'")
    assert sorted(json.loads(parents["p"]) if isinstance(parents["p"], str) else parents["p"]) == ["pets_masked", "pets_sized"]
    assert run.rows("sql", "select count(*) n from merged where mask.path is not null") == [{"n": 9}]


def test_unites_and_subtracts(run):
    assert len(run.rows("union", "pets_sized", "pets_sized", "pets_sized@1.0.0")) == 54
    assert run.ok("union", "pets_sized", "pets_sized", "--as", "twice").startswith("saved twice@1.0.0: 36 rows")
    assert list(run.rows("sql", "select * from twice limit 1")[0]) == ["file", "info"]
    left = run.rows("subtract", "pets_sized", "pets_masked", "--on", "file.path")
    masked = {row["p"] for row in run.rows("sql", "select file.path p from pets_masked")}
    assert len(left) == 9 and not masked & {row["file"]["path"] for row in left}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["group", "pets_sized", "--by", "file.parent"], "--count"),
        (["group", "pets_sized", "--by", "file.parnt", "--count"], "did you mean `file.parent`"),
        (["group", "pets_sized", "--by", 'x"; drop table y; --', "--count"], "no column"),
        (["merge", "pets_sized", "pets_masked", "--on", "file.pth"], "did you mean `file.path`"),
        (["merge", "pets_sized", "pets_masked", "--on", "file.path", "--right-on", "a,b"], "same number of columns"),
        (["union", "pets_sized"], "2 values required"),
        (["union", "pets_sized", "typed"], "info"),
        (["subtract", "pets_sized", "pets_masked"], "--on"),
    ],
)
def test_what_is_wrong_is_told(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 2 and message in result.stderr, result.stderr
