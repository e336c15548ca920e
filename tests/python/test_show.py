"""`dcfs show`: rows without a mount, the same as those beside the files of one."""

import os
import pty
import subprocess

import pyarrow.ipc
import pyarrow.parquet
import pytest

import mounts


@pytest.fixture
def show(shapes_catalog, tmp_path):
    """Runs `dcfs show ARGUMENTS` in the catalog of shapes."""
    dcfs = mounts.Dcfs(tmp_path / "home")

    def run(*arguments, **options):
        options = {"cwd": shapes_catalog, **options}
        return dcfs.run("show", *arguments, **options)

    run.ok = lambda *arguments: dcfs.ok("show", *arguments, cwd=shapes_catalog)
    run.dcfs = dcfs
    return run


@pytest.mark.mount
@pytest.mark.parametrize("name", ["pets_masked", "typed", "pairs", "numbers", "empty", "members"])
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "arrow"])
def test_a_table_is_that_of_the_mount(show, shapes_mount, tmp_path, name, format):
    file = tmp_path / f"x.{format}"
    show.ok(name, "-o", file)
    assert file.read_bytes() == (shapes_mount.datasets / name / f"_rows.{format}").read_bytes()
    if format in ("jsonl", "csv"):
        assert show.ok(name, "--format", format) == file.read_bytes().decode()


def test_a_grid_has_two_lines_of_names(show):
    lines = show.ok("pets_sized", "--limit", "2", "--columns", "file.path,info").splitlines()
    assert [line.split() for line in lines[:2]] == [["file", "info", "info"], ["path", "width", "height"]]
    assert lines[3:] == [lines[3], "", "[2 of 18 rows]"]


def test_a_grid_shows_what_datachain_shows(show):
    header = show.ok("pets_sized").splitlines()[1].split()
    assert header == ["path", "size", "width", "height"], "hidden fields are left out"
    assert len(show.ok("pets_raw").splitlines()) == 2 + 18
    assert len(show.ok("typed", "--all").splitlines()) == 2 + 18


def test_columns_and_rows_are_chosen(show):
    assert show.ok("numbers", "--format", "csv", "--columns", "scores").splitlines() == ['"scores"', "1", "2", "3"]
    chosen = show.ok("numbers", "--format", "csv", "--columns", "sys__id,scores", "--offset", "1", "--limit", "1")
    assert chosen.splitlines() == ['"scores","sys__id"', "2,2"]
    assert show.ok("numbers", "--json", "--columns", "scores", "--limit", "1") == '{"scores":1}\n'
    assert show.ok("numbers", "--offset", "9").splitlines()[2:] == []


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["pets_sized", "--columns", "info.widht"], 2, "did you mean `info.width`"),
        (["pets_sized", "-o", "rows.xls"], 2, "--format"),
        (["pets_sized", "-o", "no such folder/rows.csv"], 1, "no such folder"),
        (["nothing"], 1, "no dataset `nothing`"),
        (["pets_sized", "--format", "xml"], 2, "possible values"),
        (["pets_sized", "--limit", "x"], 2, "--limit"),
    ],
)
def test_what_is_wrong_is_told(show, arguments, code, message):
    result = show(*arguments)
    assert result.returncode == code and message in result.stderr, result.stderr
    assert result.stdout == ""


def test_a_file_is_there_whole_or_not_at_all(show, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("before")
    result = show("pets_sized", "--columns", "no_such", "-o", file)
    assert result.returncode == 2
    assert file.read_text() == "before"
    refused = show("pets_sized", "-o", file)
    assert refused.returncode == 2 and "--force" in refused.stderr, "nobody's file is lost unasked"
    assert file.read_text() == "before"
    show.ok("pets_sized", "-o", file, "--force")
    assert file.read_text().startswith('"path","file.source",')
    assert sorted(os.listdir(tmp_path)) == ["home", "rows.csv"]


def test_parquet_is_not_for_a_terminal(show, shapes_catalog):
    master, slave = pty.openpty()
    try:
        result = subprocess.run(
            [mounts.DCFS, "show", "numbers", "--format", "parquet"],
            cwd=shapes_catalog, env=show.dcfs.environment, stdout=slave, stderr=subprocess.PIPE, text=True,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert result.returncode == 2 and "-o FILE" in result.stderr


def test_a_reader_that_has_seen_enough_is_no_error(show, shapes_catalog):
    for format in ("jsonl", "parquet", "arrow", "table"):
        command = [mounts.DCFS, "show", "typed", "--all" if format == "table" else "--limit=0", "--format", format]
        process = subprocess.Popen(command, cwd=shapes_catalog, env=show.dcfs.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_subset_as_parquet(show, tmp_path):
    file = tmp_path / "x.parquet"
    show.ok("pets_sized", "--columns", "info.width,path", "--limit", "3", "-o", file)
    table = pyarrow.parquet.read_table(file)
    show.ok("pets_sized", "--columns", "info.width,path", "--limit", "3", "-o", tmp_path / "x.arrow")
    assert pyarrow.ipc.open_file(tmp_path / "x.arrow").read_all().to_pylist() == table.to_pylist()
    assert table.num_rows == 3 and table.column_names == ["path", "info"]
