"""The command line: each error has its own message and exit code, each valid command its answer."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

import mounts
import sql

NOT_FOUND, USAGE = 1, 2


@pytest.fixture
def places(tmp_path, small_catalog):
    """Folders to go wrong with, by name."""
    folder = tmp_path / "places"
    for name in ("empty", "full", "no_catalog", "text", "other_db", "damaged", "newer", "older"):
        (folder / name).mkdir(parents=True)
    (folder / "file").write_text("x")
    (folder / "full" / "x").write_text("x")
    make_bad_catalogs(folder, small_catalog)
    return folder


OLD = """
    CREATE TABLE datasets (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, feature_schema JSON, sources TEXT);
    CREATE TABLE datasets_versions (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, dataset_id INTEGER NOT NULL, version INTEGER NOT NULL, status INTEGER NOT NULL);
    CREATE TABLE datasets_dependencies (id INTEGER PRIMARY KEY);
    CREATE TABLE jobs (id TEXT PRIMARY KEY);
    CREATE TABLE ds_pets_1 (sys__id INTEGER PRIMARY KEY, file__path VARCHAR);
"""
"""As DataChain 0.14 made one: versions are whole numbers, and no table says which schema it is."""


def make_bad_catalogs(folder, good):
    """Invalid files called `.datachain/db`."""
    for name in ("text", "other_db", "damaged", "newer", "older"):
        (folder / name / ".datachain").mkdir()
    (folder / "text" / ".datachain" / "db").write_text("this is no database\n" * 100)
    with sqlite3.connect(folder / "other_db" / ".datachain" / "db") as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    with sqlite3.connect(folder / "older" / ".datachain" / "db") as db:
        db.executescript(OLD)
    db.close()
    whole = (good / ".datachain" / "db").read_bytes()
    damaged = whole[:4096] + b"\xa5" * (len(whole) - 4096)
    (folder / "damaged" / ".datachain" / "db").write_bytes(damaged)
    (folder / "newer" / ".datachain" / "db").write_bytes(whole)
    sql.change(folder / "newer", "UPDATE meta SET schema_version = 99")


WRONG = [
    # arguments with {good} and places, exit code (None: any but 0), words of the message
    ("mount --catalog {good} missing/inside", NOT_FOUND, "does not exist"),
    ("mount --catalog {good} file", USAGE, "not a directory"),
    ("mount --catalog {good} full", USAGE, "not empty"),
    ("mount --catalog no_catalog empty", NOT_FOUND, "no_catalog"),
    ("mount --catalog missing empty", NOT_FOUND, "missing"),
    ("mount --catalog text empty", None, "not a"),
    ("mount --catalog other_db empty", None, "DataChain"),
    ("mount --catalog damaged empty", None, "damaged"),
    ("mount --catalog newer empty", None, "99"),
    ("mount --catalog {good} --wrong empty", USAGE, "--wrong"),
    ("mount --catalog {good} -o alow_other empty", USAGE, "alow_other"),
    ("mount --catalog {good} --timeout never empty", USAGE, "never"),
    ("mount --catalog {good}", USAGE, "MOUNTPOINT"),
    ("frobnicate", USAGE, "frobnicate"),
    ("", USAGE, "Usage"),
    ("unmount empty", NOT_FOUND, "not a dcfs mount"),
    ("unmount missing", NOT_FOUND, "not a dcfs mount"),
    ("ls --catalog no_catalog", NOT_FOUND, "no_catalog"),
    ("ls --catalog text", None, "not a"),
    ("ls --catalog newer", None, "99"),
    ("ls --catalog older", None, "of DataChain 0.14 or older"),
    ("mount --catalog older empty", None, "of DataChain 0.14 or older"),
    ("index file --save x --catalog older", None, "of DataChain 0.14 or older"),
    ("ls --catalog {good} nothing", NOT_FOUND, "nothing"),
    ("ls --catalog {good} fww", NOT_FOUND, "few"),
    ("schema --catalog {good} nothing", NOT_FOUND, "nothing"),
    ("schema --catalog {good} few@9.9.9", NOT_FOUND, "1.0.0"),
    ("schema --catalog {good} few@x", USAGE, "not a version"),
    ("schema --catalog {good} a.b.c.d", USAGE, "not a dataset"),
    ("lineage --catalog {good} few --format tex", USAGE, "tex"),
    ("completions csh", USAGE, "csh"),
]  # fmt: skip


@pytest.mark.mount
@pytest.mark.parametrize("words, code, message", WRONG)
def test_what_is_wrong_is_said(dcfs, places, small_catalog, words, code, message):
    arguments = [word.format(good=small_catalog) for word in words.split()]
    result = dcfs.run(*arguments, cwd=places)
    assert result.returncode == code if code else result.returncode > 0, result.stderr
    assert message in result.stderr
    assert result.stdout == "" and "panicked" not in result.stderr
    assert not mounts.mounted(places / "empty")


def test_a_wrong_catalog_is_left_as_it_was(dcfs, places):
    before = sorted(places.rglob("*"))
    for name in ("no_catalog", "text", "other_db", "damaged", "newer", "older"):
        dcfs.run("ls", "--catalog", places / name)
    after = [path for path in sorted(places.rglob("*")) if not path.name.endswith(("-wal", "-shm"))]
    assert after == before


@pytest.mark.mount
def test_mounting_twice_and_unmounting_twice(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        again = dcfs.run("mount", "--catalog", small_catalog, mount.path)
        assert again.returncode == USAGE and "already mounted" in again.stderr
        assert str(small_catalog) in again.stderr, "it says what is mounted there"
        mount.unmount()
        twice = dcfs.run("unmount", mount.path)
        assert twice.returncode == NOT_FOUND and "not a dcfs mount" in twice.stderr


@pytest.mark.mount
def test_mount_says_one_line_and_the_mount_answers(dcfs, small_catalog, tmp_path):
    (tmp_path / "mnt").mkdir()
    said = dcfs.ok("mount", "--catalog", small_catalog, tmp_path / "mnt")
    assert said.count("\n") == 1 and str(tmp_path / "mnt") in said
    assert (tmp_path / "mnt" / "datasets" / "few" / "a" / "0.txt").read_bytes() == b"a0\n" * 10
    dcfs.ok("unmount", tmp_path / "mnt")


@pytest.mark.mount
def test_a_mount_in_use_needs_force(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        with open(mount.datasets / "few" / "a" / "0.txt"):
            result = dcfs.run("unmount", mount.path)
            assert result.returncode != 0 and "--force" in result.stderr
            assert mounts.mounted(mount.path)
            dcfs.ok("unmount", "--force", mount.path)
            assert not mounts.mounted(mount.path)


@pytest.mark.mount
def test_status_tells_of_each_mount(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt one") as mount:
        status = json.loads(dcfs.ok("status", "--json"))
        assert str(mount.path) in json.dumps(status) and str(mount.daemon()) in json.dumps(status)
        assert str(mount.path) in dcfs.ok("status")
    assert str(mount.path) not in dcfs.ok("status")


@pytest.mark.mount
def test_status_shows_nothing_of_another_mount(dcfs, small_catalog, tmp_path):
    """As if another user mounted since: this user's note is about an earlier mount, or there is none."""
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        (note,) = (dcfs.home / "state").rglob("mounts/*.json")
        kept = note.read_text()
        note.write_text(json.dumps({**json.loads(kept), "pid": 1, "log": "/wrong.log", "since": 7}))
        for _ in range(2):
            (line,) = [line for line in json.loads(dcfs.ok("status", "--json")) if line["mountpoint"] == str(mount.path)]
            assert (line["log"], line["cache"], line["pid"]) == (None, None, mount.daemon())
            assert abs(line["since"] - time.time()) < 60
            shown = dcfs.ok("status")
            (row,) = [row for row in shown.splitlines() if str(mount.path) in row]
            assert "wrong.log" not in shown and "stderr" not in row and row.endswith("  -")
            note.unlink(missing_ok=True)
        note.write_text(kept)
        (line,) = [line for line in json.loads(dcfs.ok("status", "--json")) if line["mountpoint"] == str(mount.path)]
        assert line["log"].endswith(".log")


@pytest.mark.mount
def test_foreground_logs_to_stderr_and_ends_with_the_mount(dcfs, small_catalog, tmp_path):
    (tmp_path / "mnt").mkdir()
    process = subprocess.Popen(
        [mounts.DCFS, "mount", "-f", "--catalog", small_catalog, tmp_path / "mnt"],
        env=dcfs.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "is mounted at" in process.stderr.readline()
    assert "few" in os.listdir(tmp_path / "mnt" / "datasets")
    dcfs.ok("unmount", tmp_path / "mnt")
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_ls_lists_datasets_and_versions(dcfs, shapes_catalog):
    everything = dcfs.ok("ls", "--catalog", shapes_catalog)
    for name in ("pets_raw", "growing", "team.prod.of_the_team", "emoji \U0001f600"):
        assert name in everything
    assert "lst__" not in everything and "gone" not in everything
    versions = dcfs.ok("ls", "--catalog", shapes_catalog, "growing")
    assert {"1.0.0", "1.0.1", "2.0.0"} <= set(re.findall(r"\d\.\d\.\d", versions))
    assert "1.0.2" not in versions


def test_ls_json_is_json(dcfs, shapes_catalog):
    datasets = json.loads(dcfs.ok("ls", "--json", "--catalog", shapes_catalog))
    assert "pets_raw" in json.dumps(datasets) and len(datasets) > 20
    versions = json.loads(dcfs.ok("ls", "--json", "--catalog", shapes_catalog, "growing"))
    assert len(versions) == 3


def test_nothing_printed_can_move_the_terminal(dcfs, small_catalog, tmp_path):
    folder = sql.copy_catalog(small_catalog, tmp_path / "copy")
    sql.change(folder, "UPDATE datasets SET name = 'x' || char(27) || '[2Jy' WHERE name = 'few'")
    sql.change(folder, f'ALTER TABLE {sql.table_of("few")} RENAME TO "ds_local_local_x\x1b[2Jy_1_0_0"')
    printed = dcfs.ok("ls", "--catalog", folder)
    assert "\x1b" not in printed and "[2Jy" in printed


@pytest.mark.mount
def test_schema_and_lineage_are_the_pages_of_the_mount(dcfs, shapes_mount, shapes_catalog):
    folder = shapes_mount.datasets / "pets_masked"
    schema = dcfs.ok("schema", "--json", "--catalog", shapes_catalog, "pets_masked")
    assert json.loads(schema) == json.loads((folder / "_schema.json").read_text())
    lineage = dcfs.ok("lineage", "--catalog", shapes_catalog, "pets_masked")
    assert lineage == (folder / "_lineage.md").read_text()
    assert dcfs.ok("lineage", "--format", "md", "--catalog", shapes_catalog, "pets_masked") == lineage


def test_lineage_as_json_and_dot(dcfs, shapes_catalog):
    options = ("--catalog", shapes_catalog, "pets_masked")
    graph = json.dumps(json.loads(dcfs.ok("lineage", "--format", "json", *options)))
    dot = dcfs.ok("lineage", "--format", "dot", *options)
    assert dot.startswith("digraph") and dot.rstrip().endswith("}")
    for name in ("pets_large", "pets_sized", "pets_raw", "data/images"):
        assert name in graph and name in dot


def test_the_catalog_is_found_as_datachain_finds_it(dcfs, small_catalog, tmp_path):
    deep = tmp_path / "project" / "src" / "deep"
    deep.mkdir(parents=True)
    shutil.copytree(small_catalog / ".datachain", tmp_path / "project" / ".datachain")
    assert "few" in dcfs.ok("ls", cwd=tmp_path / "project")
    assert "few" in dcfs.ok("ls", cwd=deep), "found in a parent"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert dcfs.run("ls", cwd=elsewhere).returncode == NOT_FOUND
    for variable, value in [("DATACHAIN_DIR", ".datachain"), ("DATACHAIN_ROOT_DIR", ".")]:
        dcfs.environment[variable] = str(tmp_path / "project" / value)
        assert "few" in dcfs.ok("ls", cwd=elsewhere), variable
        del dcfs.environment[variable]


@pytest.mark.mount
def test_doctor_finds_nothing_missing_where_one_can_mount(dcfs, small_catalog, tmp_path):
    assert "/dev/fuse" in dcfs.ok("doctor", cwd=small_catalog)
    assert "catalog" in dcfs.run("doctor", cwd=tmp_path).stdout


def test_help_and_version(dcfs):
    assert "mount" in dcfs.ok("--help") and "--catalog" in dcfs.ok("mount", "--help")
    assert re.fullmatch(r"dcfs \d+\.\d+\.\d+\n", dcfs.ok("--version"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_completions(dcfs, shell):
    """A few lines that run the program at each tab."""
    assert "COMPLETE" in dcfs.ok("completions", shell)


def completed(dcfs, *words, **options):
    """The completions that a shell offers for the last of some words."""
    environment = {**dcfs.environment, "COMPLETE": "bash", "_CLAP_COMPLETE_INDEX": str(len(words)), "_CLAP_IFS": "\n"}
    done = subprocess.run([mounts.DCFS, "--", "dcfs", *words], env=environment, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout.splitlines()


def test_datasets_versions_and_columns_are_completed(dcfs, shapes_catalog, tmp_path):
    options = {"cwd": shapes_catalog}
    assert {"pets_raw", "pets_sized"} <= set(completed(dcfs, "show", "pets_", **options))
    assert not [name for name in completed(dcfs, "show", "pets_", **options) if not name.startswith("pets_")]
    assert completed(dcfs, "diff", "growing@1.0.0", "growing@1", **options) == ["growing@1.0.0", "growing@1.0.1"]
    assert completed(dcfs, "show", "pets_sized", "--columns", "info", **options) == ["info", "info.width", "info.height"]
    assert completed(dcfs, "show", "pets_sized", "--columns", "file.path,info.w", **options) == ["file.path,info.width"]
    assert "growing" in completed(dcfs, "mv", "gr", **options)
    # With the catalog given in each way; without one there are no completions, and no error.
    assert completed(dcfs, "show", "--catalog", shapes_catalog, "pets_siz", cwd=tmp_path) == ["pets_sized"]
    assert completed(dcfs, "show", "pets_", cwd=tmp_path) == []
    commands = completed(dcfs, "l", **options)
    assert "ls" in commands and "lineage" in commands and "list" not in commands


@pytest.mark.mount
def test_mountpoints_are_completed(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        assert str(mount.path) in completed(dcfs, "unmount", "")


def test_schema_is_a_tree_for_people(dcfs, shapes_catalog):
    tree = dcfs.ok("schema", "pets_sized", "--catalog", shapes_catalog)
    assert tree.startswith("file: ") and "\n  path: str\n" in tree and "\n  width: int\n" in tree, tree


def test_ctrl_c_says_what_was_kept(dcfs, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a").write_text("a")
    dcfs.ok("index", "photos", "--save", "x", cwd=tmp_path)
    for words, said in [
        (["index", "photos", "--save", "y"], "interrupted; nothing was saved"),
        (["save", "x", "--as", "y"], "interrupted; nothing was saved"),
    ]:
        # It waits for other writers.
        with closing(sqlite3.connect(tmp_path / ".datachain/db")) as db:
            db.execute("BEGIN IMMEDIATE")
            work = subprocess.Popen([mounts.DCFS, *words], env=dcfs.environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            time.sleep(2)
            work.send_signal(signal.SIGINT)
            _, errors = work.communicate(timeout=30)
            db.execute("ROLLBACK")
        assert work.returncode == -signal.SIGINT and said in errors, (words, work.returncode, errors)
    assert "y" not in dcfs.ok("ls", cwd=tmp_path).split()


def test_plan_takes_what_it_uses(dcfs, small_catalog):
    for flag in ("--jobs", "--timeout", "--memory", "--prefetch", "--region"):
        assert dcfs.run("plan", "few", flag, "3", "--catalog", small_catalog).returncode == USAGE, flag
    assert "few@1.0.0" in dcfs.ok("plan", "few", "--catalog", small_catalog)


def test_doctor_says_missing_of_what_is_missing(dcfs, small_catalog, tmp_path):
    (tmp_path / "config.toml").write_text("nonsense")
    done = dcfs.run("doctor", "--config", tmp_path / "config.toml", cwd=small_catalog)
    assert "WRONG    settings" in done.stdout and "MISSING" not in done.stdout and done.returncode != 0, done
    done = dcfs.run("doctor", "--catalog", tmp_path)
    assert "MISSING  catalog" in done.stdout, done


def test_a_pipe_in_place_of_the_catalog_is_told(dcfs, tmp_path):
    (tmp_path / ".datachain").mkdir()
    os.mkfifo(tmp_path / ".datachain/db")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a").write_text("a")
    for words in (["ls"], ["ls", "--catalog", tmp_path], ["index", "photos", "--save", "x"], ["mount", tmp_path / "mnt"]):
        done = dcfs.run(*words, cwd=tmp_path, timeout=20)
        assert done.returncode == USAGE and "not a catalog; move it away" in done.stderr, (words, done)


@pytest.mark.mount
def test_advice_where_there_is_no_home(dcfs, small_catalog, tmp_path):
    """A home folder in which nothing can be created, as for a user unknown to the password file."""
    dcfs.environment["HOME"] = "/proc/none"
    del dcfs.environment["XDG_STATE_HOME"]
    done = dcfs.run("mount", "--catalog", small_catalog, tmp_path / "mnt")
    assert done.returncode != 0 and "name another: `XDG_STATE_HOME`" in done.stderr, done
    del dcfs.environment["XDG_CACHE_HOME"]
    done = dcfs.run("mount", "--catalog", small_catalog, tmp_path / "mnt")
    assert done.returncode != 0 and "name another: `--cache-dir DIR`, or `XDG_CACHE_HOME`" in done.stderr, done


def test_what_was_made_is_counted_with_the_cache(dcfs, small_catalog):
    dcfs.ok("show", "few", "--format", "parquet", "-o", dcfs.home / "x.parquet", "--catalog", small_catalog)
    before = json.loads(dcfs.ok("cache", "status", "--json"))
    assert before["tables"] == 0
    dcfs.ok("cp", "--catalog", small_catalog, "few/_rows.parquet", dcfs.home)
    after = json.loads(dcfs.ok("cache", "status", "--json"))
    assert after["tables"] == 1 and after["tables_bytes"] > 0
    assert "tables and differences that were made: 1, " in dcfs.ok("cache", "status")


def test_a_reader_that_leaves_early_is_no_error(dcfs, shapes_catalog):
    """`dcfs ls | head -1` in a shell that reports any failure in the pipe."""
    command = f'set -o pipefail; "{mounts.DCFS}" ls --json --catalog "{shapes_catalog}" | head -n 1'
    result = subprocess.run(["bash", "-c", command], env=dcfs.environment, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
