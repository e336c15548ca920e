"""Versions that are saved on ClickHouse and PostgreSQL: as those in SQLite, whole or not at all, whoever dies and whoever else writes."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

import copied
import mounts
import servers
import taps


@pytest.fixture(scope="module")
def own(tmp_path_factory, catalog):
    """Servers of this module alone, with the catalog on them."""
    cluster = servers.Cluster(tmp_path_factory.mktemp("own"))
    try:
        cluster.start()
        copied.copy(catalog, cluster)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def there(own):
    return own.address(user="dcfs")


@pytest.fixture
def dcfs(tmp_path, own):
    return mounts.Dcfs(tmp_path / "home", **own.environment)


@pytest.fixture
def local(tmp_path, catalog):
    """The binary with another home, and a copy of the catalog in SQLite."""
    folder = tmp_path / "copy"
    shutil.copytree(catalog, folder)
    dcfs = mounts.Dcfs(tmp_path / "local")
    dcfs.copy = folder
    return dcfs


def both(dcfs, there, local, *command):
    """The same command on servers and in SQLite."""
    name, *rest = command
    return [dcfs.ok(name, "--catalog", there, *rest), local.ok(name, "--catalog", local.copy, *rest)]


def tables(cluster, database="datachain"):
    sql = f"SELECT name FROM system.tables WHERE database = '{database}' ORDER BY name FORMAT TSV"
    return cluster.clickhouse.ask(sql).decode().split("\n")[:-1]


def assert_alike(dcfs, there, local, version):
    """Everything that is told of a version, but for when and by whom it was made."""
    for command in [("show", version, "--all", "--json"), ("count", version)]:
        on_servers, in_file = both(dcfs, there, local, *command)
        assert on_servers == in_file, command
    on_servers, in_file = (json.loads(text) for text in both(dcfs, there, local, "schema", version, "--json"))
    for told in (on_servers, in_file):
        told.update(uuid=None, created_at=None)
    assert on_servers == in_file


SAVED = {
    "all": [],
    "told": ["--where", "n > 4 and info.label like \"a%\""],
    "here": ["--where", "s regexp \"...\""],
    "both": ["--where", "n > -100 and not s regexp \"....................\""],
    "ordered": ["--where", "small > 0 order by small desc, n limit 37"],
    "none": ["--where", "n > 4 and n < 4", "--allow-empty"],
}


@pytest.mark.parametrize("case", SAVED)
def test_a_version_is_saved_as_in_sqlite(case, there, dcfs, local):
    name = f"saved_{case}"
    rest = [*SAVED[case], "--as", name, "--description", "it's \\ \"so\"", "--json"]
    for told in both(dcfs, there, local, "save", "awkward", *rest):
        assert json.loads(told)["version"] == "1.0.0"
    assert_alike(dcfs, there, local, name)
    on_servers, in_file = (json.loads(text) for text in both(dcfs, there, local, "ls", "--json"))
    pick = lambda all: next((one["rows"], one["size"]) for one in all if one["dataset"] == name)  # noqa: E731
    assert pick(on_servers) == pick(in_file)
    assert not [table for table in tables_of(there, dcfs) if table.startswith("dcfs_stage_")]


def tables_of(there, dcfs):
    """The tables of the servers at an address."""
    port = there.split("@127.0.0.1:")[1].split("/")[0]
    sql = "SELECT name FROM system.tables WHERE database = 'datachain' FORMAT TSV"
    return servers.ClickHouse("/", int(port)).ask(sql).decode().split("\n")[:-1]


def test_who_saved_it_and_of_what(there, own, dcfs, tmp_path):
    dcfs.ok("save", "few", "--catalog", there, "--where", "file.size > 1", "--as", "told", cwd=tmp_path)
    row = own.postgres.sql("SELECT filter, command::text FROM dcfs_provenance p JOIN datasets_versions v ON v.uuid = p.uuid JOIN datasets d ON d.id = v.dataset_id WHERE d.name = 'told'")
    assert row.startswith("file.size > 1|") and "--as" in row
    with dcfs.mount(there, tmp_path / "mnt") as mount:
        lineage = (mount.datasets / "told" / "_lineage.md").read_text()
        assert "few@1.0.0" in lineage and "file.size > 1" in lineage
        assert "told@1.0.0" in (mount.datasets / "few" / "_lineage.md").read_text()


def test_rows_of_a_filter_that_is_told_never_leave_the_server(own, there, dcfs):
    table = "datachain.`ds_local_local_wide_1_0_0`"
    dcfs.ok("save", "few", "--catalog", there, "--as", "wide")
    rows = "SELECT t.sys__id + n.number * 10 + 100, t.sys__rand, t.* EXCEPT (sys__id, sys__rand) REPLACE (concat(ifNull(file__path, ''), repeat('x', 100), toString(number)) AS file__path)"
    own.clickhouse.ask(f"INSERT INTO {table} {rows} FROM {table} AS t CROSS JOIN numbers(20000) AS n")
    with taps.Tap(own.clickhouse.port) as tap:
        through = there.replace(own.clickhouse.authority, f"127.0.0.1:{tap.port}")
        dcfs.ok("save", "wide", "--catalog", through, "--where", "file.path like \"%x1%\"", "--as", "narrow")
        saved = int(own.clickhouse.ask("SELECT count() FROM datachain.`ds_local_local_narrow_1_0_0` FORMAT TSV"))
        assert saved > 50_000
        # Some rows are the preview.
        assert tap.answered < 100_000 and tap.asked < 100_000, (tap.answered, tap.asked)
    ids = "SELECT count(), min(sys__id), max(sys__id), uniqExact(sys__id) FROM datachain.`ds_local_local_narrow_1_0_0` FORMAT TSV"
    assert own.clickhouse.ask(ids).decode().split() == [str(n) for n in (saved, 1, saved, saved)]


@pytest.fixture
def empty(own, tmp_path):
    """Servers with nothing on them yet: their address."""
    address = own.database("empty")
    yield address
    name = address.rsplit("/", 1)[1]
    own.clickhouse.ask(f"DROP DATABASE {name}")


def rows(dcfs, catalog, dataset, columns):
    text = dcfs.ok("show", dataset, "--catalog", catalog, "--columns", columns, "--all", "--json")
    return [json.loads(line) for line in text.splitlines()]


def test_folders_are_indexed_into_empty_servers_and_again(empty, dcfs, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.txt").write_text("x" * number)
    file = tmp_path / "sqlite"
    file.mkdir()
    # In SQLite, and on servers: first all of them, then what changed.
    for catalog in [file, empty]:
        dcfs.ok("index", folder, "--catalog", catalog, "--save", "files")
    (folder / "05.txt").write_text("other")
    (folder / "20.txt").write_text("new")
    (folder / "07.txt").unlink()
    for catalog in [file, empty]:
        dcfs.ok("index", folder, "--catalog", catalog, "--save", "files", "--delta")
    for version in ["files@1.0.0", "files@1.0.1"]:
        wanted = rows(dcfs, file, version, "sys__id,file.path,file.size,file.source")
        assert rows(dcfs, empty, version, "sys__id,file.path,file.size,file.source") == wanted
    assert len(wanted) == 20
    again = dcfs.ok("index", folder, "--catalog", empty, "--save", "files", "--delta")
    assert "files@1.0.1" in again or "nothing" in again, again


def test_a_program_makes_a_version(empty, dcfs, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.txt").write_text("x" * number)
    dcfs.ok("index", folder, "--catalog", empty, "--save", "files")
    count = ["--", "sh", "-c", "wc -c < \"$1\"", "sh", "{}"]
    count = ["--local-root", folder, *count]
    dcfs.ok("map", "files", "--catalog", empty, "--as", "long", "--out", "n: int", *count)
    assert [row["n"] for row in rows(dcfs, empty, "long", "n")] == list(range(9))
    # Only what is new is computed.
    (folder / "9.txt").write_text("x" * 9)
    dcfs.ok("index", folder, "--catalog", empty, "--save", "files")
    dcfs.ok("map", "files", "--catalog", empty, "--as", "long", "--out", "n: int", "--delta", *count)
    assert [row["n"] for row in rows(dcfs, empty, "long@1.0.1", "n")] == list(range(10))


def test_what_is_removed_and_renamed(own, there, dcfs):
    for _ in range(2):
        dcfs.ok("save", "few", "--catalog", there, "--as", "first")
    dcfs.ok("describe", "first", "--catalog", there, "--description", "said")
    wanted = dcfs.ok("show", "first", "--catalog", there, "--all", "--json")
    dcfs.ok("rm", "first@1.0.0", "--yes", "--catalog", there)
    assert "ds_local_local_first_1_0_0" not in tables(own)
    dcfs.ok("mv", "first", "second", "--catalog", there)
    assert [table for table in tables(own) if "first" in table] == []
    assert dcfs.ok("show", "second@1.0.1", "--catalog", there, "--all", "--json") == wanted
    assert "said" in own.postgres.sql("SELECT description FROM datasets WHERE name = 'second'")
    # Numbers stay taken, and names that are used.
    assert dcfs.run("show", "first", "--catalog", there).returncode == 1
    dcfs.ok("save", "few", "--catalog", there, "--as", "second")
    assert '"1.0.2"' in dcfs.ok("ls", "--json", "--catalog", there)
    assert "there is a dataset `few` already" in dcfs.run("mv", "second", "few", "--catalog", there).stderr
    assert not [table for table in tables(own) if table.startswith("dcfs_stage_")]


def test_two_hosts_that_save_at_once_get_two_numbers(own, there, tmp_path):
    hosts = [mounts.Dcfs(tmp_path / f"host{number}", **own.environment) for number in range(4)]
    began = [host.start("save", "few", "--catalog", there, "--as", "race") for host in hosts for _ in range(2)]
    for process in began:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    sql = "SELECT version FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id WHERE d.name = 'race' ORDER BY v.id"
    assert own.postgres.sql(sql).split() == [f"1.0.{number}" for number in range(8)]
    for number in range(8):
        assert hosts[0].ok("count", f"race@1.0.{number}", "--catalog", there).split()[0] == "9"


def test_names_in_sqlite_and_rows_in_clickhouse(own, local, dcfs):
    address = f"clickhouse://dcfs@{own.clickhouse.authority}/datachain?metastore={local.copy}"
    dcfs.ok("save", "few", "--catalog", address, "--where", "file.size > 1", "--as", "halves")
    wanted = dcfs.ok("show", "few", "--catalog", address, "--where", "file.size > 1", "--columns", "file.path", "--all", "--json")
    assert dcfs.ok("show", "halves", "--catalog", address, "--columns", "file.path", "--all", "--json") == wanted
    dcfs.ok("rm", "halves@1.0.0", "--yes", "--catalog", address)
    assert "ds_local_local_halves_1_0_0" not in tables(own)
    assert not [path for path in (local.copy / ".datachain").iterdir() if path.name.endswith(".lock")]


def state(cluster):
    """What is to be seen of the catalog: versions, and the tables of rows."""
    sql = "SELECT d.name, v.version, v.num_objects FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id WHERE v.status = 4 ORDER BY 1, 2"
    return cluster.postgres.sql(sql).split("\n")[:-1], tables(cluster)


def stages(cluster):
    if "t" not in cluster.postgres.sql("SELECT to_regclass('dcfs_stages') IS NOT NULL"):
        return []
    return cluster.postgres.sql("SELECT id FROM dcfs_stages").split()


def settle(cluster, dcfs, there):
    """Another writer comes, which clears away what the dead left; PostgreSQL needs a moment to see that a client is gone."""
    end = time.monotonic() + 30
    while True:
        dcfs.ok("describe", "few", "--catalog", there, "--description", "x")
        if not stages(cluster) or time.monotonic() > end:
            return
        time.sleep(0.1)


STEPS = {
    "save": ["save", "few", "--where", "file.size > 1", "--as", "killed"],
    "save_here": ["save", "few", "--where", "file.path regexp \"..\"", "--as", "killed"],
    "rm": ["rm", "victim@1.0.0", "--yes"],
    "mv": ["mv", "victim", "killed"],
}

MOST = 300

STRIDE = int(os.environ.get("DCFS_STRIDE", 3))
"""Of the pieces of a conversation with PostgreSQL, one of so many. Questions and answers alternate, so an odd number meets both;
two of three are left out, for time: `DCFS_STRIDE=1` tries all. The answer to each COMMIT, where most depends on it, has a test of its own."""


def begin(own, dcfs, there, command):
    """Before each try: no dataset `killed`, and one `victim` if the command is about it. The state then."""
    for name in ["killed", "victim"]:
        own.postgres.sql(f"DELETE FROM datasets_versions WHERE dataset_id IN (SELECT id FROM datasets WHERE name = '{name}'); DELETE FROM datasets WHERE name = '{name}'")
        own.clickhouse.ask(f"DROP TABLE IF EXISTS datachain.ds_local_local_{name}_1_0_0")
    if command in ("rm", "mv"):
        dcfs.ok("save", "few", "--catalog", there, "--as", "victim")
    return state(own)


def outcome(own, dcfs, there, command, before, number):
    """`before` or `after`: all of the command, or nothing of it, and nothing that is left over."""
    settle(own, dcfs, there)
    after = state(own)
    assert stages(own) == [] and not [table for table in after[1] if table.startswith("dcfs_")], number
    if after[0] == before[0]:
        assert after == before, number
        return "before"
    name = "victim" if command == "rm" else "killed"
    has = f"ds_local_local_{name}_1_0_0" in after[1]
    assert has is (command != "rm") and ("victim" in str(after) and command == "mv") is False, number
    if command != "rm":
        assert dcfs.ok("count", "killed", "--catalog", there).split()[0] != "0"
    return "after"


@pytest.mark.parametrize("half", ["clickhouse", "postgres"])
@pytest.mark.parametrize("command", STEPS)
def test_a_kill_at_each_step_leaves_nothing_half(command, half, own, there, tmp_path):
    """The program is killed at each piece that passes between it and a server, until one run comes to its end."""
    dcfs = mounts.Dcfs(tmp_path / "home", **own.environment)
    server = getattr(own, half)
    kinds = set()
    # PostgreSQL is asked one small thing after another, each a step of its own.
    for number in range(1, MOST, STRIDE if half == "postgres" else 1):
        before = begin(own, dcfs, there, command)
        killed = []

        def at(piece, is_asked):
            if piece == number:
                killed.append(piece)
                process.kill()
                process.wait()
                return False
            return True

        with taps.Tap(server.port) as tap:
            through = there.replace(server.authority, f"127.0.0.1:{tap.port}")
            name, *rest = STEPS[command]
            process = dcfs.start(name, "--catalog", through, *rest)
            tap.at = at
            process.communicate(timeout=60)
        kinds.add(outcome(own, dcfs, there, command, before, number))
        if not killed:
            break
    else:
        pytest.fail(f"more than {MOST} pieces")
    assert kinds == {"before", "after"}


def assert_told(result, kind, number):
    """A command that succeeded did all of its work. One that failed changed nothing."""
    assert result.returncode >= 0 and result.returncode != 101, (number, result)
    assert kind == ("after" if result.returncode == 0 else "before"), (number, result.stderr)


@pytest.mark.parametrize("half", ["clickhouse", "postgres"])
@pytest.mark.parametrize("command", STEPS)
def test_a_connection_that_breaks_at_each_step_is_an_error_and_leaves_nothing_half(command, half, own, there, tmp_path):
    dcfs = mounts.Dcfs(tmp_path / "home", **own.environment)
    server = getattr(own, half)
    name, *rest = STEPS[command]
    for number in range(1, MOST, STRIDE if half == "postgres" else 1):
        before = begin(own, dcfs, there, command)
        passed = []
        with taps.Tap(server.port, lambda piece, _: passed.append(piece) or piece != number) as tap:
            through = there.replace(server.authority, f"127.0.0.1:{tap.port}")
            result = dcfs.run(name, "--catalog", through, *rest)
        assert_told(result, outcome(own, dcfs, there, command, before, number), number)
        if len(passed) < number:
            break
    else:
        pytest.fail(f"more than {MOST} pieces")


@pytest.mark.parametrize("command", STEPS)
def test_a_connection_that_is_lost_behind_a_commit_is_asked_what_became_of_it(command, own, there, tmp_path):
    """The server commits, and its answer is lost: at each transaction of a command, one after another."""
    dcfs = mounts.Dcfs(tmp_path / "home", **own.environment)
    name, *rest = STEPS[command]
    kinds = []
    for number in range(1, MOST):
        before = begin(own, dcfs, there, command)
        commits, cut = [], []

        def at(piece, is_asked):
            if is_asked and b"COMMIT\0" in tap.piece:
                commits.append(piece)
            elif len(commits) == number and not cut and not is_asked:
                cut.append(piece)
                return False
            return True

        with taps.Tap(own.postgres.port) as tap:
            tap.at = at
            through = there.replace(own.postgres.authority, f"127.0.0.1:{tap.port}")
            result = dcfs.run(name, "--catalog", through, *rest)
        kinds.append(outcome(own, dcfs, there, command, before, number))
        assert_told(result, kinds[-1], number)
        if not cut:
            break
    # The last is the whole run; before it, one was cut behind the commit that made the change.
    assert len(kinds) >= 2 and kinds[-2:] == ["after", "after"], kinds


def test_users_that_may_not_write(own, there, dcfs, tmp_path):
    reader = there.replace("dcfs@", "reader@")
    before = state(own)
    result = dcfs.run("save", "few", "--catalog", reader, "--as", "x")
    assert "does not allow this to `reader`" in result.stderr and result.returncode == 5, result
    password = servers.PASSWORD
    own.postgres.sql(f"DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN PASSWORD '{password}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
    looker = there.replace("postgresql://datachain@", "postgresql://looker@")
    result = dcfs.run("save", "few", "--catalog", looker, "--as", "x")
    assert "does not allow this to `looker`" in result.stderr and result.returncode == 5, result
    own.postgres.sql("DROP OWNED BY looker; DROP ROLE looker")
    assert state(own) == before and stages(own) == []


def test_a_table_in_the_way_takes_its_number(own, there, dcfs):
    own.clickhouse.ask("CREATE TABLE datachain.ds_local_local_way_1_0_0 (x Int8) ENGINE = MergeTree ORDER BY x")
    assert "way@1.0.1" in dcfs.ok("save", "few", "--catalog", there, "--as", "way"), "the number is taken"
    result = dcfs.run("save", "few", "--catalog", there, "--as", "way", "--version", "1.0.0")
    assert result.returncode == 2, result
    own.clickhouse.ask("DROP TABLE datachain.ds_local_local_way_1_0_0")


def test_another_writer_that_holds_its_turn_is_waited_for(own, there, dcfs):
    """Whoever holds the turn of writers for a moment is waited for, and the version comes after."""
    command = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(own.postgres.port), "-U", "datachain", "datachain"]
    sql = f"BEGIN; SELECT pg_advisory_xact_lock({0x64636673}); SELECT pg_sleep(3); COMMIT;"
    environment = {**os.environ, "PGPASSWORD": servers.PASSWORD}
    holds = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
    holds.stdin.write(sql.encode())
    holds.stdin.close()
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1684235891"
    while own.postgres.sql(waits).strip() == "0":
        time.sleep(0.05)
    dcfs.ok("save", "few", "--catalog", there, "--as", "patient")
    assert holds.wait(timeout=30) == 0, sys.stderr


def test_a_table_of_a_version_is_never_dropped_as_part_of_a_stage(own, there, dcfs):
    """A published table keeps the comment of its stage: a note of that name must not cost it its rows."""
    dcfs.ok("save", "few", "--catalog", there, "--as", "kept")
    table = "ds_local_local_kept_1_0_0"
    comment = own.clickhouse.ask(f"SELECT comment FROM system.tables WHERE database = 'datachain' AND name = '{table}' FORMAT TSV").decode().strip()
    stage = comment.removeprefix("dcfs stage ")
    assert len(stage) == 32
    own.postgres.sql(f"INSERT INTO dcfs_stages (id, begun_at) VALUES ('{stage}', now())")
    own.clickhouse.ask(f"CREATE TABLE datachain.dcfs_stage_{stage}_0 (x Int8) ENGINE = MergeTree ORDER BY x")
    settle(own, dcfs, there)
    assert stages(own) == []
    assert f"dcfs_stage_{stage}_0" not in tables(own) and table in tables(own)
    assert dcfs.ok("count", "kept", "--catalog", there).split()[0] == "9"


def test_a_table_of_the_dead_that_cannot_be_dropped_stops_nobody(own, there, dcfs):
    stage = "0123456789abcdef" * 2
    dcfs.ok("save", "few", "--catalog", there, "--as", "first_of_all")
    own.postgres.sql(f"INSERT INTO dcfs_stages (id, begun_at) VALUES ('{stage}', now())")
    own.clickhouse.ask(f"CREATE TABLE datachain.dcfs_stage_{stage} ENGINE = MergeTree ORDER BY number AS SELECT number FROM numbers(1000)")
    # A user whose tables may not be dropped with rows in them writes all the same.
    dcfs.ok("save", "few", "--catalog", there.replace("dcfs@", "fixed@"), "--as", "onward")
    assert stages(own) == [stage] and f"dcfs_stage_{stage}" in tables(own)
    # One that may say so drops it.
    settle(own, dcfs, there.replace("dcfs@", "small@"))
    assert stages(own) == [] and f"dcfs_stage_{stage}" not in tables(own)


def test_names_of_many_columns_are_no_longer_than_a_request_may_be(there, dcfs, tmp_path):
    """A statement that names its columns is longer than an address may be, and goes with its rows."""
    table = tmp_path / "wide.csv"
    names = [f"column_with_a_long_name_{number:04}" for number in range(1500)]
    table.write_text(",".join(names) + "\n" + ",".join(str(number) for number in range(1500)) + "\n")
    dcfs.ok("load", table, "--catalog", there, "--as", "many_columns")
    assert dcfs.ok("count", "many_columns", "--catalog", there).split()[0] == "1"
    assert [str(row[names[-1]]) for row in rows(dcfs, there, "many_columns", names[-1])] == ["1499"]


def test_an_id_below_zero_is_refused_and_nothing_is_saved(empty, local, dcfs, tmp_path):
    db = sqlite3.connect(local.copy / ".datachain" / "db")
    with db:
        db.execute('UPDATE "ds_local_local_few_1_0_0" SET sys__id = -1 WHERE sys__id = (SELECT min(sys__id) FROM "ds_local_local_few_1_0_0")')
    db.close()
    result = dcfs.run("catalog", "copy", local.copy, empty, "--dataset", "few")
    assert result.returncode == 2 and "the id -1" in result.stderr, result
    assert "few" not in dcfs.run("ls", "--catalog", empty).stdout
