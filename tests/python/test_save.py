"""`dcfs save`, `rm`, `mv` and `describe` beside real DataChain: it reads the result, and nothing is lost."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest

import catalog_model
import compare
import datachain_runs
import mounts
import sql
from written import COMPLETE, REMOVED, ask, check_whole, database, leftovers, versions

KILLS = int(os.environ.get("DCFS_KILLS", "20"))
"""How often a save is killed; `make soak` kills more."""


@pytest.fixture
def catalog(small_catalog, tmp_path):
    """A copy of the small catalog: `few`, nine files."""
    return sql.copy_catalog(small_catalog, tmp_path / "catalog")


@pytest.fixture(scope="module")
def large_catalog(small_catalog, tmp_path_factory):
    """`few` with half a million rows. Tests that change it copy it first."""
    folder = sql.copy_catalog(small_catalog, tmp_path_factory.mktemp("large") / "catalog")
    sql.multiply(folder, "few", 500_000)
    return folder


def start(dcfs, folder, *words):
    """`dcfs save few`, started."""
    command = [mounts.DCFS, "save", "--catalog", folder, "few", *words]
    return subprocess.Popen(command, env=dcfs.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_datachain_reads_what_was_saved(catalog, dcfs):
    where = "file.path ilike '%a/%' or file.size > 0 order by file.path desc limit 5"
    options = ("--where", where, "--description", "the last five", "--attr", "NLP", "--attr", "a=b")
    said = dcfs.ok("save", "--catalog", catalog, "few", "--as", "last", *options)
    assert said.startswith("saved last@1.0.0: 5 rows, "), said
    paths = "SELECT file__path FROM {} ORDER BY sys__id"
    everything = [path for (path,) in ask(catalog, paths.format(sql.table_of("few")))]
    found = [path for (path,) in ask(catalog, paths.format(sql.table_of("last")))]
    assert found == sorted(everything)[:-6:-1]

    datachain_runs.run("read_back", catalog, "last")
    assert "last" in datachain_runs.command(catalog, "dataset", "ls")
    shown = datachain_runs.command(catalog, "show", "last", "--version", "1.0.0", "--schema")
    assert "path" in shown, shown
    script = datachain_runs.command(catalog, "show", "last", "--version", "1.0.0", "--script")
    assert "dcfs save --catalog" in script and "order by file.path desc limit 5" in script, script

    assert versions(catalog, "last") == ["1.0.0", "1.0.1"]
    page = dcfs.ok("lineage", "--catalog", catalog, "last@1.0.1")
    assert "not recorded by DataChain" in page and "[last@1.0.0]" in page, page
    graph = json.loads(dcfs.ok("lineage", "--catalog", catalog, "last@1.0.0", "--json"))
    assert [node["name"] for node in graph["nodes"]][:2] == ["last@1.0.0", "few@1.0.0"]
    assert graph["saved"]["filter"].endswith("limit 5") and graph["saved"]["command"][:2] == ["dcfs", "save"]
    assert graph["author"] and graph["saved"]["host"] and graph["saved"]["folder"]
    assert dcfs.ok("describe", "--catalog", catalog, "last").split("\n")[1:3] == [
        "description  the last five",
        "attributes   NLP, a=b",
    ]


@pytest.mark.mount
def test_a_mount_shows_what_was_saved(catalog, dcfs, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        saved = json.loads(
            dcfs.ok("save", "--catalog", catalog, "few", "--as", "some", "--where", "rand < 0.7", "--json")
        )
        assert (saved["dataset"], saved["version"]) == ("some", "1.0.0")
        until = time.monotonic() + 10
        while not (mount.datasets / "some").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        model = catalog_model.read(catalog / ".datachain" / "db")
        (version,) = [version for version in model if version.name == "some"]
        assert version.rows == saved["rows"]
        compare.check_version(version, bytes(mount.datasets / "some@1.0.0"))
        assert "| author |" in (mount.datasets / "some@1.0.0" / "_lineage.md").read_text()


def check_saved(folder, dcfs, names):
    """Saves each of `(namespace, project, name, version)` as another dataset; all columns and types stay."""
    pairs = []
    for number, (namespace, project, name, version) in enumerate(names):
        dcfs.ok("save", "--catalog", folder, f"{namespace}.{project}.{name}@{version}", "--as", f"copy {number}", "--allow-empty")
        original = f"ds_{namespace}_{project}_{name}_{version.replace('.', '_')}".replace('"', '""')
        same_tables(folder, f'"{original}"', f'"ds_local_local_copy {number}_1_0_0"')
        wanted = {"name": f"{namespace}.{project}.{name}" if namespace != "local" else name, "version": version}
        pairs.append(json.dumps([wanted, {"name": f"copy {number}", "version": "1.0.0"}]))
    schemas = (
        "SELECT count(DISTINCT coalesce(v.schema, '') || coalesce(v.feature_schema, '')), count(DISTINCT v.size)"
        " FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id WHERE v.uuid IN (?, ?)"
    )
    uuids = (
        "SELECT v.uuid FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id"
        " WHERE d.name = ? AND v.version = ?"
    )
    for number, (_, _, name, version) in enumerate(names):
        ((original,),) = ask(folder, uuids, name, version)
        ((copy,),) = ask(folder, uuids, f"copy {number}", "1.0.0")
        assert ask(folder, schemas, original, copy)[0][0] == 1, name
    return pairs


def same_tables(folder, original, copy):
    """Both tables declare the same and hold the same, storage classes included."""
    with database(folder) as db:
        db.text_factory = bytes
        columns = [db.execute(f"PRAGMA table_info({table})").fetchall() for table in (original, copy)]
        assert columns[0] == columns[1]
        quoted = ['"' + column[1].decode().replace('"', '""') + '"' for column in columns[0]]
        listed = ", ".join(f"{name}, typeof({name})" for name in quoted if name != '"sys__id"')
        rows = [db.execute(f"SELECT {listed} FROM {table} ORDER BY sys__id").fetchall() for table in (original, copy)]
        assert rows[0] == rows[1]


def names_of(folder):
    question = (
        "SELECT n.name, p.name, d.name, v.version FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id"
        " JOIN projects p ON p.id = d.project_id JOIN namespaces n ON n.id = p.namespace_id"
        " WHERE v.status = ? AND n.name <> 'system' AND d.name NOT LIKE 'session_%'"
    )
    return ask(folder, question, COMPLETE)


def same_values(folder, pairs):
    """Every value is the same to DataChain."""
    script = datachain_runs.SCRIPTS / "same_values.py"
    process = datachain_runs.start(
        script, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    told, _ = process.communicate("\n".join(pairs) + "\n", timeout=180)
    assert process.returncode == 0, told


def test_every_shape_is_saved_as_it_is(shapes_catalog, dcfs, tmp_path):
    folder = sql.copy_catalog(shapes_catalog, tmp_path / "catalog")
    names = names_of(folder)
    assert len(names) > 25
    pairs = check_saved(folder, dcfs, names)
    # Python cannot decode the path that is not UTF-8, and asks Studio about other namespaces.
    unreadable = ('"odd"', "team.")
    same_values(folder, [pair for pair in pairs if not any(word in pair for word in unreadable)])


def test_awkward_values_are_saved_as_they_are(dcfs, tmp_path):
    folder = tmp_path / "catalog"
    folder.mkdir()
    datachain_runs.run("awkward", folder)
    same_values(folder, check_saved(folder, dcfs, names_of(folder)))


def test_the_same_dataset_gets_its_next_version(catalog, dcfs):
    save = ("save", "--catalog", catalog, "few", "--as", "few")
    first = save[:3] + ("few@1.0.0",) + save[4:]
    for more, version, rows in [
        (("--where", "file.size > 1000000"), "1.0.1", 0),
        (("--where", "file.path like 'a/%'", "--bump", "minor"), "1.1.0", 3),
        (("--bump", "major"), "2.0.0", 9),
        (("--version", "2.5.7"), "2.5.7", 9),
        ((), "2.5.8", 9),
    ]:
        if rows == 0:
            # It would be the latest: it has to be requested, otherwise it is not saved.
            before = versions(catalog, "few")
            result = dcfs.run(*first, *more)
            assert (result.returncode, result.stdout) == (1, "") and "`--allow-empty` saves" in result.stderr, result
            assert versions(catalog, "few") == before
            more += ("--allow-empty",)
        result = dcfs.run(*first, *more)
        assert result.stdout.startswith(f"saved few@{version}: {rows} rows"), result
    assert versions(catalog, "few") == ["1.0.0", "1.0.1", "1.1.0", "2.0.0", "2.5.7", "2.5.8"]
    check_whole(catalog, {})
    datachain_runs.run("read_back", catalog, "few")
    assert versions(catalog, "few")[-1] == "2.5.9"


@pytest.mark.parametrize(
    "words, code, message",
    [
        ("save few --as FEW", 2, "there is `few` already"),
        ("save few --as lst__x", 2, "begin the names of DataChain's own datasets"),
        ("save few --as session_x", 2, "begin the names of DataChain's own datasets"),
        ("save few --as team.prod.x", 2, "is in another project"),
        ("save few --as x@1.0.0", 2, "without a version"),
        ("save few --as few --version 1.0.0", 2, "versions only go up"),
        ("save few --as x --version 1", 2, "write MAJOR.MINOR.PATCH"),
        ("save few --as x --version 1.0.0 --bump major", 2, "cannot be used with"),
        ("save few", 2, "--as"),
        ("save fex --as x", 1, "few"),
        ("save few@7 --as x", 1, "has no version 7"),
        ("save few --as x --where file.sise>1", 2, "did you mean `file.size`"),
        ("rm few", 2, "there is few@1.0.0; or say `--all`"),
        ("rm few@latest", 2, "there is no terminal to ask on; add `--yes`"),
        ("rm few@1 --yes", 2, "there is few@1.0.0; or say `--all`"),
        ("rm few@1.0.0", 2, "there is no terminal to ask on; add `--yes`"),
        ("rm few@2.0.0 --yes", 1, "has no version 2.0.0"),
        ("rm fex --yes --all", 1, "no dataset `fex`"),
        ("mv few lst__x", 2, "begin the names of DataChain's own datasets"),
        ("mv few@1.0.0 x", 2, "without a version"),
        ("mv fex x", 1, "few"),
        ("describe fex", 1, "few"),
        ("describe few --attr=", 2, "a label cannot be empty"),
        ("describe few --attr a --no-attrs", 2, "cannot be used with"),
    ],
)
def test_what_would_lose_something_is_refused_before_any_work(catalog, dcfs, words, code, message):
    before = (catalog / ".datachain" / "db").read_bytes()
    verb, *rest = words.split(" ")
    result = dcfs.run(verb, "--catalog", catalog, *rest, stdin=subprocess.DEVNULL)
    assert (result.returncode, message in result.stderr) == (code, True), result
    assert (catalog / ".datachain" / "db").read_bytes() == before
    assert not (catalog / ".datachain" / "db-wal").exists() or leftovers(catalog) == []
    assert not dcfs.cache.exists(), "nothing was packed"


def test_versions_are_removed_as_datachain_removes_them(catalog, dcfs):
    for name in ("one", "two"):
        dcfs.ok("save", "--catalog", catalog, "few", "--as", name)
    result = dcfs.run("rm", "--catalog", catalog, "few@1.0.0", "two@1.0.0", "two@1.0.0", "--yes")
    assert result.stdout == "removed few@1.0.0\nremoved two@1.0.0\n", result
    assert result.stderr == "dcfs: one@1.0.0 was computed from few@1.0.0, and will stay\n"
    taken = dcfs.run("mv", "--catalog", catalog, "one", "few")
    assert (taken.returncode, "its name and numbers stay taken" in taken.stderr) == (2, True), taken
    question = (
        "SELECT v.status, v.removed_at IS NULL FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id"
        " WHERE d.name IN ('few', 'two')"
    )
    assert ask(catalog, question) == [(REMOVED, 0)] * 2
    listed = datachain_runs.command(catalog, "dataset", "ls")
    assert "one" in listed and "few" not in listed and "two" not in listed
    assert "few@1.0.0 (removed)" in dcfs.ok("lineage", "--catalog", catalog, "one")
    assert dcfs.ok("save", "--catalog", catalog, "one", "--as", "two").startswith("saved two@1.0.1")
    dcfs.ok("save", "--catalog", catalog, "one", "--as", "two")
    assert dcfs.ok("rm", "--catalog", catalog, "two@latest", "--yes") == "removed two@1.0.2\n"
    told = json.loads(dcfs.ok("rm", "--catalog", catalog, "two", "one", "--all", "--yes", "--json"))
    assert [(one["dataset"], one["version"], one["rows"]) for one in told] == [("two", "1.0.1", 9), ("one", "1.0.0", 9)]
    check_whole(catalog, {})


def test_a_person_is_asked(catalog, dcfs):
    """On a terminal, made by `script`."""
    if not shutil.which("script"):
        pytest.skip("no `script`")
    for answer, left in [("n", ["1.0.0"]), ("", ["1.0.0"]), ("y", [])]:
        command = f"'{mounts.DCFS}' rm --catalog '{catalog}' few@1.0.0"
        result = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            input=f"{answer}\n",
            env=dcfs.environment,
            capture_output=True,
            text=True,
        )
        assert "few@1.0.0: 9 rows" in result.stdout and "Remove this version? [y/N]" in result.stdout, result
        assert versions(catalog, "few") == left, (answer, result)


def test_a_dataset_is_renamed_and_described(catalog, dcfs):
    dcfs.ok("save", "--catalog", catalog, "few", "--as", "few")
    assert dcfs.ok("mv", "--catalog", catalog, "few", "Many files") == "few is now Many files\n"
    assert versions(catalog, "Many files") == ["1.0.0", "1.0.1"]
    assert json.loads(dcfs.ok("mv", "--catalog", catalog, "Many files", "dogs", "--json")) == {
        "from": "Many files",
        "to": "dogs",
    }
    datachain_runs.run("read_back", catalog, "dogs")
    assert json.loads(dcfs.ok("lineage", "--catalog", catalog, "dogs@1.0.1", "--json"))["author"], "found by its uuid"
    describe = ("describe", "--catalog", catalog, "dogs")
    assert dcfs.ok(*describe) == "dogs\nno description\nno labels\n"
    assert (
        dcfs.ok(*describe, "--description", "all\nof them", "--attr", "NLP")
        == "dogs\ndescription  all\nof them\nattributes   NLP\n"
    )
    assert json.loads(dcfs.ok(*describe, "--no-attrs", "--json"))["attrs"] == []
    assert json.loads(dcfs.ok(*describe, "--description", "", "--json")) == {
        "dataset": "dogs",
        "description": None,
        "attrs": [],
        "columns": {},
    }


def git(folder, *words):
    identity = ("-c", "user.name=Somebody", "-c", "user.email=else@example.org")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_lineage_tells_who_saved_it(catalog, dcfs):
    if not shutil.which("git"):
        pytest.skip("no git")
    git(catalog, "init", "-q")
    (catalog / "code.py").write_text("x = 1\n")
    git(catalog, "add", "code.py")
    git(catalog, "commit", "-qm", "one")
    git(catalog, "config", "user.name", "Ann | Lee")
    git(catalog, "config", "user.email", "ann@example.org")
    hook = catalog / "hook"
    hook.write_text("#!/bin/sh\ntouch '%s'\n" % (catalog / "ran"))
    hook.chmod(0o755)
    git(catalog, "config", "core.fsmonitor", str(hook))
    where = 'file.source != "http://ann:secret@host/x?sig=abc"'
    dcfs.ok("save", "few@1.0.0", "--as", "few", "--where", where, cwd=catalog)
    told = json.loads(dcfs.ok("lineage", "few", "--json", cwd=catalog))
    assert told["author"] == "Ann | Lee <ann@example.org>"
    by = told["saved"]
    assert (by["git"]["dirty"], len(by["git"]["commit"])) == (None, 40), "only git could tell, and it is not run"
    assert by["folder"] == str(catalog)
    assert "ann:secret" not in json.dumps(told) and "sig=abc" not in json.dumps(told)
    assert "http://ann:***@host/x?sig=***" in told["script"]
    page = dcfs.ok("lineage", "few", cwd=catalog)
    assert "| author | Ann \\| Lee \\<ann \\@example.org\\> |" in page
    assert "```sh\ndcfs save few@1.0.0 --as few" in page
    assert "saved by Ann | Lee" in dcfs.ok("lineage", "few", "--format", "dot", cwd=catalog)
    assert not (catalog / "ran").exists(), "no hook runs"


def test_git_is_not_run(catalog, dcfs, tmp_path):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nsleep 60\n")
    slow.chmod(0o755)
    dcfs.environment["PATH"] = f"{slow.parent}:{dcfs.environment['PATH']}"
    dcfs.ok("save", "--catalog", catalog, "few", "--as", "x")
    assert not (tmp_path / "ran").exists()


def test_a_script_and_dcfs_save_side_by_side(catalog, dcfs):
    script = datachain_runs.SCRIPTS / "saving.py"
    python = datachain_runs.start(script, catalog, "shared", "8", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ours = []
    while python.poll() is None or len(ours) < 8:
        ours.append(json.loads(dcfs.ok("save", "--catalog", catalog, "few", "--as", "shared", "--json"))["version"])
        # DataChain gives up after six numbers in a row were taken before it could take them.
        time.sleep(0.3)
    told, errors = python.communicate(timeout=60)
    assert python.returncode == 0, errors
    saved = versions(catalog, "shared")
    assert len(saved) == len(set(saved)) == len(ours) + 8
    assert set(ours) <= set(saved)
    check_whole(catalog, {"shared": 9})
    assert leftovers(catalog) == []
    datachain_runs.run("read_back", catalog, "shared")


def test_two_dcfs_save_at_a_time(catalog, dcfs):
    sql.multiply(catalog, "few", 20_000)
    for _ in range(5):
        both = [start(dcfs, catalog, "--as", "shared", "--where", "file.size >= 0") for _ in range(2)]
        for process in both:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    saved = versions(catalog, "shared")
    assert len(saved) == len(set(saved)) == 10
    check_whole(catalog, {"shared": 20_009})
    assert leftovers(catalog) == []


def test_others_come_to_their_turn(large_catalog, dcfs, tmp_path):
    folder = sql.copy_catalog(large_catalog, tmp_path / "catalog")
    waits, over = [], threading.Event()

    def take_turns():
        with database(folder) as db:
            while not over.is_set():
                began = time.monotonic()
                db.execute("BEGIN IMMEDIATE")
                waits.append(time.monotonic() - began)
                db.execute("ROLLBACK")

    neighbour = threading.Thread(target=take_turns)
    neighbour.start()
    began = time.monotonic()
    dcfs.ok("save", "--catalog", folder, "few", "--as", "copy", timeout=300)
    took = time.monotonic() - began
    over.set()
    neighbour.join()
    print(f"a save of {took:.2f} s, {len(waits)} turns, the longest wait {max(waits):.3f} s")
    assert len(waits) > 3
    check_whole(folder, {"copy": 500_009})


def test_a_lock_is_waited_for(catalog, dcfs):
    with database(catalog) as db:
        db.execute("BEGIN IMMEDIATE")
        waiting = start(dcfs, catalog, "--as", "x")
        time.sleep(2)
        assert waiting.poll() is None
        db.execute("ROLLBACK")
    told, errors = waiting.communicate(timeout=60)
    assert told.startswith("saved x@1.0.0"), errors


@pytest.mark.root
def test_a_full_disk_leaves_the_catalog_as_it_was(catalog, dcfs, tmp_path):
    sql.multiply(catalog, "few", 50_000)
    size = (catalog / ".datachain" / "db").stat().st_size
    with mounts.small_disk(tmp_path / "disk", size + (4 << 20)) as disk:
        shutil.copytree(catalog / ".datachain", disk / ".datachain")
        for _ in range(3):
            result = dcfs.run("save", "--catalog", disk, "few", "--as", "x")
            assert (result.returncode, "is full" in result.stderr) == (7, True), result
            assert versions(disk, "x") == []
            check_whole(disk, {"few": 50_009})
        subprocess.run(["mount", "-o", "remount,size=500m", disk], check=True)
        dcfs.ok("save", "--catalog", disk, "few", "--as", "x")
        check_whole(disk, {"x": 50_009})
        assert leftovers(disk) == []


@pytest.mark.root
@pytest.mark.parametrize("is_open", [False, True])
def test_a_catalog_that_cannot_be_written_says_so(catalog, dcfs, tmp_path, is_open):
    """With the files that SQLite keeps beside a database in use, and without: then it cannot even be opened."""
    own = sql.copy_catalog(catalog, tmp_path / "own")
    with mounts.small_disk(tmp_path / "disk", "50m") as disk, closing(sqlite3.connect(own / ".datachain/db")) as connection:
        if is_open:
            connection.execute("SELECT count(*) FROM meta").fetchone()
        shutil.copytree(own / ".datachain", disk / ".datachain")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for words in (
            ["save", "few", "--as", "x"],
            ["rm", "few@1.0.0", "-y"],
            ["mv", "few", "x"],
            ["describe", "few", "--attr", "x"],
        ):
            result = dcfs.run(words[0], "--catalog", disk, *words[1:])
            assert result.returncode == 5 and "may not be written" in result.stderr, result


def test_killed_at_any_moment_nothing_half_is_left(large_catalog, dcfs, tmp_path):
    folder = sql.copy_catalog(large_catalog, tmp_path / "catalog")
    random.seed(61)
    half = "file.path >= '500'"
    some = int(dcfs.ok("count", "--catalog", folder, "few", "--where", half))
    assert 200_000 < some < 300_000
    began = time.monotonic()
    dcfs.ok("save", "--catalog", folder, "few", "--as", "x", timeout=300)
    took = time.monotonic() - began
    for number in range(KILLS):
        process = start(dcfs, folder, "--as", "x", *(["--where", half] if number % 2 else []))
        time.sleep(random.random() * took * 1.1)
        process.kill()
        process.communicate(timeout=60)
        assert ask(folder, "PRAGMA quick_check") == [("ok",)]
    check_whole(folder, {})
    counts = ask(
        folder,
        "SELECT v.num_objects FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id" " WHERE d.name = 'x'",
    )
    assert set(counts) <= {(500_009,), (some,)} and len(counts) <= KILLS, "some were killed"
    dcfs.ok("save", "--catalog", folder, "few", "--as", "y", "--where", "file.path like '000/%'")
    assert leftovers(folder) == []
    check_whole(folder, {})


def test_datachains_gc_leaves_what_was_saved(catalog, dcfs):
    for name in ("kept", "gone"):
        dcfs.ok("save", "--catalog", catalog, "few", "--as", name)
    dcfs.ok("rm", "--catalog", catalog, "gone@1.0.0", "--yes")
    # Old enough to be considered failed.
    sql.change(catalog, "UPDATE datasets_versions SET created_at = '2020-01-01 00:00:00' WHERE status = 4")
    before = ask(catalog, "SELECT * FROM dcfs_provenance ORDER BY uuid")
    datachain_runs.command(catalog, "gc")
    assert versions(catalog, "kept") == ["1.0.0"] and len(before) == 2
    assert ask(catalog, "SELECT * FROM dcfs_provenance ORDER BY uuid") == before
    check_whole(catalog, {"kept": 9})
    datachain_runs.run("read_back", catalog, "kept")


def test_a_catalog_of_an_older_shape_says_what_to_do(catalog, dcfs):
    sql.change(catalog, "ALTER TABLE datasets_versions DROP COLUMN pending_metadata_drop")
    result = dcfs.run("save", "--catalog", catalog, "few", "--as", "x")
    assert (result.returncode, "open it once with a current DataChain" in result.stderr) == (6, True), result
    assert dcfs.ok("count", "--catalog", catalog, "few") == "9\n"


def test_a_table_in_the_way_costs_a_number(catalog, dcfs):
    """DataChain leaves the tables of versions that were never completed."""
    sql.change(catalog, 'CREATE TABLE "ds_local_local_X_1_0_0" (sys__id INTEGER NOT NULL PRIMARY KEY)')
    result = dcfs.run("save", "--catalog", catalog, "few", "--as", "x", "--version", "1.0.0")
    assert (result.returncode, "belongs to no version" in result.stderr) == (6, True), result
    assert dcfs.ok("save", "--catalog", catalog, "few", "--as", "x").startswith("saved x@1.0.1")


def test_a_dataset_of_another_project_is_a_source_and_no_target(shapes_catalog, dcfs, tmp_path):
    folder = sql.copy_catalog(shapes_catalog, tmp_path / "catalog")
    team = "team.prod.of_the_team"
    assert dcfs.ok("save", "--catalog", folder, team, "--as", "ours").startswith("saved ours@1.0.0")
    assert "is in another project" in dcfs.run("save", "--catalog", folder, team, "--as", team).stderr
    assert "is in another project" in dcfs.run("mv", "--catalog", folder, team, "x").stderr
    dcfs.ok("describe", "--catalog", folder, team, "--description", "theirs")
    dcfs.ok("rm", "--catalog", folder, f"{team}@1.0.0", "--yes")
    assert f"{team}@1.0.0 (removed)" in dcfs.ok("lineage", "--catalog", folder, "ours")
