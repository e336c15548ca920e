"""DataChain by `dcfs.datachain` and the program `dcfs` on one catalog on servers: each reads what the other writes, whoever is at work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import datachain_runs
import datachain_there
import mounts
import secured
import servers

PROGRAM = mounts.DCFS.parent / "examples" / "roundtrip"

ROUNDS = 15
"""Random datasets that go to the servers, through DataChain, and back."""

PLAIN_LISTS = [f"list[{item}]" for item in ("int", "float", "str", "bool")]
"""Lists that are `Array` there, which knows no NULL."""

FILTERS = 250

ARITHMETIC = re.compile(r" [-+*] |\(-[CFs(]")
"""Sums, differences, products and negatives of 64 bits: beyond them SQLite goes on with floats, ClickHouse begins anew."""


def tables(cluster, address):
    name = address.split("?")[0].rsplit("/", 1)[1]
    return cluster.clickhouse.ask(f"SELECT name FROM system.tables WHERE database = '{name}' ORDER BY name FORMAT TSV").decode().split("\n")[:-1]


@pytest.fixture(scope="module")
def home(tmp_path_factory, cluster):
    """The binary for fixtures of this module."""
    return mounts.Dcfs(tmp_path_factory.mktemp("home"), **cluster.environment)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for number in range(1, 6):
        (folder / f"{number}.txt").write_text("x" * number)
    return folder


@pytest.fixture(scope="module")
def chains(catalog, cluster, home, files, tmp_path_factory):
    """A catalog after `scripts/chains.py`, in SQLite and on servers: each is its address and what was printed."""
    done = []
    for where in ("sqlite", "servers"):
        folder = tmp_path_factory.mktemp(where)
        if where == "sqlite":
            shutil.copytree(catalog / ".datachain", folder / ".datachain")
            address, environment = folder, {}
        else:
            address = cluster.database("python")
            home.ok("catalog", "copy", catalog, address)
            environment = datachain_there.environment(address)
        process = datachain_runs.start(
            datachain_runs.SCRIPTS / "chains.py", folder, files, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-4000:]
        # Bars of progress stand before the lines.
        lines = [line[line.index('["') :] for line in re.split(r"[\r\n]", output) if '["' in line]
        done.append((address, dict(map(json.loads, lines))))
    return done


def test_chains_give_what_they_give_in_sqlite(chains):
    (_, in_file), (_, on_servers) = chains
    assert len(in_file) > 30
    assert on_servers == in_file


def test_dcfs_reads_what_datachain_saved(chains, home):
    (in_file, _), (on_servers, _) = chains
    listed = [{one["dataset"]: (one["rows"], one["size"]) for one in json.loads(home.ok("ls", "--json", "--catalog", catalog))} for catalog in (in_file, on_servers)]
    assert listed[0] == listed[1] and len(listed[0]) > 15
    for name in listed[0]:
        for command in (["schema", name, "--json"], ["show", name, "--all", "--json"]):
            told = [home.ok(*command, "--catalog", catalog) for catalog in (in_file, on_servers)]
            if command[0] == "schema":
                told = [json.loads(text) | {"uuid": None, "created_at": None} for text in told]
            elif name in ("groups", "collected", "aggregated", "union", "merged", "listed", "delta"):
                # Their order is not promised; a list of a group has none either.
                told = [sorted(re.sub(r"\[.*?\]|\"last_modified\":\"[^\"]*\"", "", re.sub(r'"sys__id":\d+', "", line)) for line in text.splitlines()) for text in told]
            assert told[0] == told[1], (name, command)
    lineage = home.ok("lineage", "mapped", "--catalog", on_servers)
    assert "kinds@1.0.0" in lineage and "chains.py" in lineage
    assert home.ok("count", "kinds", "--where", "k > 1 and s like \"%.%\"", "--catalog", on_servers).strip() == "2"


@pytest.mark.mount
def test_a_mount_shows_what_datachain_saved(chains, home, files, tmp_path):
    address, _ = chains[1]
    with home.mount(address, tmp_path / "mnt", "--local-root", files) as mount:
        assert {"kinds", "listed", "delta"} <= {path.name for path in mount.datasets.iterdir()}
        found = {path.name: path.read_text() for path in (mount.datasets / "listed").rglob("*.txt")}
        assert found == {f"{number}.txt": "x" * number for number in range(1, 6)}
        narrow = mount.datasets / "delta" / "n > 3"
        assert sorted(path.name for path in narrow.rglob("*.txt")) == ["4.txt", "5.txt"]


def test_filters_mean_what_they_mean_in_sqlite(catalog, cluster, home, tmp_path):
    """Random ones over awkward values: the same rows, or an error that says what to do."""
    address = cluster.database("python")
    home.ok("catalog", "copy", catalog, address)
    answers = []
    for where in (None, address):
        file = tmp_path / f"{where is None}.jsonl"
        arguments = [str(file), "3", str(FILTERS)]
        if where is None:
            datachain_runs.run("filter_rows", catalog, *arguments, timeout=300)
        else:
            datachain_there.run("filter_rows", tmp_path, where, *arguments, timeout=600)
        answers.append([json.loads(line) for line in file.read_text().splitlines()])
    asked = same = 0
    for wanted, found in zip(*answers, strict=True):
        if "error" in wanted or ARITHMETIC.search(wanted["source"]):
            continue
        asked += 1
        if "error" in found:
            # Not said by ClickHouse, or of mixed types.
            assert re.search("CompileError|supertype|Illegal types|inf or nan", found["error"]), (wanted["source"], found["error"])
            continue
        assert found["rows"] == wanted["rows"], wanted["source"]
        same += 1
    assert same > asked * 0.6 and same > FILTERS / 4, (same, asked)


def leveled(side):
    """With an empty list for none."""
    kinds = [kind for _, kind, _ in side["signals"]]
    rows = [[[] if cell is None and kind in PLAIN_LISTS else cell for cell, kind in zip(row, kinds)] for row in side["rows"]]
    return side | {"rows": rows}


def test_values_come_back(cluster, home, tmp_path):
    """From dcfs in SQLite to the servers, through DataChain there, and back: cell by cell."""
    assert PROGRAM.exists(), f"no {PROGRAM}: cargo build --example roundtrip"

    def program(*words):
        return json.loads(subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True, text=True, encoding="utf-8").stdout)

    here, back, address = tmp_path / "here", tmp_path / "back", cluster.database("python")
    file = here / ".datachain" / "db"
    file.parent.mkdir(parents=True)
    wanted = {f"drawn_{seed}": leveled(program("write", file, seed, f"drawn_{seed}")) for seed in range(ROUNDS)}
    (tmp_path / "side.json").write_text(json.dumps(wanted))
    home.ok("catalog", "copy", here, address)
    datachain_there.run("roundtrip", tmp_path, address, str(tmp_path / "side.json"), timeout=60 + 20 * ROUNDS)
    (back / ".datachain").mkdir(parents=True)
    home.ok("catalog", "copy", address, back)
    for name, side in wanted.items():
        for suffix in ("", "_copy", "_remade"):
            assert leveled(program("read", back / ".datachain" / "db", name + suffix)) == side, (name, suffix)


def test_datachain_reads_what_dcfs_saved(cluster, home, files, tmp_path):
    """Into servers on which there was nothing, by dcfs; then on top of it, by DataChain; then by dcfs again."""
    address = cluster.database("python")
    home.ok("index", files, "--catalog", address, "--save", "files")
    home.ok("save", "files", "--where", "file.size > 2", "--as", "large", "--catalog", address)
    count = ["--", "sh", "-c", "wc -c < \"$1\"", "sh", "{}"]
    home.ok("map", "large", "--catalog", address, "--as", "long", "--out", "n: int", "--local-root", files, *count)
    for name in ("files", "large", "long"):
        datachain_there.run("read_back", tmp_path, address, name)
    shown = [json.loads(line) for line in home.ok("show", "long@1.0.1", "--catalog", address, "--columns", "n,again", "--json").splitlines()]
    assert shown == [{"n": n, "again": 1} for n in (3, 4, 5)]
    assert "long@1.0.0" in home.ok("lineage", "long@1.0.1", "--catalog", address)


def test_an_empty_database_is_made_by_datachain(cluster, home, tmp_path):
    """Its tables are those that dcfs works with."""
    address = cluster.database("python")
    datachain_there.run("few", tmp_path, address)
    home.ok("save", "few", "--where", "file.path like \"%/1.txt\"", "--as", "ones", "--catalog", address)
    assert home.ok("count", "ones", "--catalog", address).strip() == "3"
    home.ok("mv", "ones", "firsts", "--catalog", address)
    home.ok("rm", "few@1.0.0", "--yes", "--catalog", address)
    datachain_there.run("read_back", tmp_path, address, "firsts")


def test_two_writers_take_two_numbers(cluster, home, tmp_path):
    address = cluster.database("python")
    datachain_there.run("few", tmp_path, address)
    options = {"environment": datachain_there.environment(address), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Scripts of two names: a second run of one goes on from the first, and saves nothing that the first saved.
    scripts = [shutil.copy(datachain_runs.SCRIPTS / "saving.py", tmp_path / f"saving{number}.py") for number in range(2)]
    writers = [datachain_runs.start(script, tmp_path, "shared", "4", **options) for script in scripts]
    mine = 0
    while any(writer.poll() is None for writer in writers):
        home.ok("save", "few", "--as", "shared", "--catalog", address)
        mine += 1
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors[-3000:]
    assert mine
    versions = [one["version"] for one in json.loads(home.ok("ls", "shared", "--json", "--catalog", address))]
    assert len(versions) == len(set(versions)) == mine + 8
    for version in versions:
        assert home.ok("count", f"shared@{version}", "--catalog", address).strip() == "9"


def test_gc_drops_nothing_of_dcfs(cluster, home, tmp_path):
    address = cluster.database("python")
    datachain_there.run("few", tmp_path, address)
    home.ok("save", "few", "--as", "kept", "--catalog", address)
    name = address.split("?")[0].rsplit("/", 1)[1]
    # A stage of another host, and a table that another DataChain is filling.
    for table in ("dcfs_stage_00000000000000000000000000000001", "tmp_abcdef"):
        cluster.clickhouse.ask(f"CREATE TABLE {name}.{table} (sys__id UInt64) ENGINE = MergeTree ORDER BY sys__id")
    before = tables(cluster, address)
    done = subprocess.run(
        [Path(sys.executable).parent / "datachain", "gc"],
        cwd=tmp_path,
        env=datachain_runs.clean_environment(tmp_path, **datachain_there.environment(address)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lost = set(before) - set(tables(cluster, address))
    assert all(table.startswith("udf_") for table in lost), lost
    for version in ("few", "kept"):
        assert home.ok("count", version, "--catalog", address).strip() == "9"


def python(code, home, **environment):
    """Runs code with the package: the JSON that it prints, or the last line of its error."""
    paths = datachain_there.environment("")["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=datachain_runs.clean_environment(home, PYTHONPATH=paths, **environment), capture_output=True, text=True
    )
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


CONNECT = """
import json, sys
from dcfs.datachain._postgres import PostgresEngine
from dcfs.datachain._clickhouse import ClickHouseEngine
engine = {engine}({address!r})
print(json.dumps(engine.execute_str("SELECT 1").fetchall()))
"""


def test_certificates_are_checked(tmp_path):
    """Of both servers: certificates of the authorities that dcfs trusts are accepted, and no others, whatever `sslmode` says."""
    folder = secured.certificates(tmp_path)
    cluster = servers.Cluster(tmp_path / "cluster").start()
    knows = {"SSL_CERT_FILE": str(folder / "ca.pem")}
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    shutil.copy(folder / "ca.pem", hashed / "ca.pem")
    subprocess.run(["openssl", "rehash", hashed], check=True)

    def asked(engine, address, **environment):
        return python(CONNECT.format(engine=engine, address=address), tmp_path, **cluster.environment, **environment)

    try:
        secured.speak_tls(cluster.postgres, folder)
        names = f"postgresql://datachain@localhost:{cluster.postgres.port}/datachain"
        for mode in ("require", "verify-ca", "verify-full"):
            assert "certificate verify failed" in asked("PostgresEngine", f"{names}?sslmode={mode}"), mode
            assert "certificate verify failed" in asked("PostgresEngine", f"{names}?sslmode={mode}", PGSSLROOTCERT=str(folder / "ca.pem")), mode
            assert asked("PostgresEngine", f"{names}?sslmode={mode}", **knows) == [[1]], mode
        assert asked("PostgresEngine", f"{names}?sslmode=require", SSL_CERT_DIR=str(hashed)) == [[1]]
        assert asked("PostgresEngine", f"{names}?sslmode=disable") == [[1]]
        # The certificate is for `localhost`.
        other = names.replace("localhost", "127.0.0.1")
        assert "does not match host name" in asked("PostgresEngine", f"{other}?sslmode=require", **knows)
        with secured.proxy(folder, cluster.clickhouse.port) as port:
            rows = f"clickhouse://dcfs@localhost:{port}/datachain?secure=true"
            assert "CERTIFICATE_VERIFY_FAILED" in asked("ClickHouseEngine", rows)
            assert "CERTIFICATE_VERIFY_FAILED" in asked("ClickHouseEngine", rows.replace("localhost", "127.0.0.1"), **knows)
            for environment in (knows, {"SSL_CERT_DIR": str(hashed)}):
                assert asked("ClickHouseEngine", rows, **environment) == [[1]]
    finally:
        cluster.stop()


ADDRESSES = {
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d": None,
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=disable": None,
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=require": None,
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=verify-ca": None,
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=verify-full": None,
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=disabled": "not this `sslmode`",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=maybe": "not this `sslmode`",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=allow": "not this `sslmode`",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode=": "not this `sslmode`",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?sslmode": "not this `sslmode`",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d?password=secret": "not this `password`",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d&sslmode=disable": "not `sslmode`",
    "clickhouse://127.0.0.1:1/d?secure=maybe&metastore=postgresql://127.0.0.1:1/d": "`secure` is `true` or `false`",
    "clickhouse://127.0.0.1:1/a/b?metastore=postgresql://127.0.0.1:1/d": "a database is one name",
    "clickhouse://127.0.0.1:1/d": "it does not say where the names are",
    "clickhouse:///d?metastore=postgresql://127.0.0.1:1/d": "it names no host",
    "clickhouse://u:secret@127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d": "password",
    "clickhouse://127.0.0.1:1/d?metastore=postgresql://u:secret@127.0.0.1:1/d": "password",
}
"""Addresses and what is wrong with them; at the right ones nobody answers."""

PARSE = """
import json, os
from dcfs.datachain import _address as address
def tried(one):
    try:
        address.metastore(one), address.warehouse(one)
    except Exception as error:
        return str(error)
print(json.dumps([tried(one) for one in json.loads(os.environ["ADDRESSES"])]))
"""


def test_addresses_mean_what_they_mean_for_dcfs(tmp_path):
    here = mounts.Dcfs(tmp_path)
    found = python(PARSE, tmp_path, ADDRESSES=json.dumps(list(ADDRESSES)))
    for (address, wrong), told in zip(ADDRESSES.items(), found, strict=True):
        by_dcfs = here.run("ls", "--catalog", address).stderr
        if wrong is None:
            assert told is None and "PostgreSQL at 127.0.0.1:1 cannot be reached" in by_dcfs, (address, told, by_dcfs)
        else:
            assert wrong in told and wrong in by_dcfs, (address, told, by_dcfs)
            assert "secret" not in told + by_dcfs, address


LOST = """
import json, os
import psycopg
from dcfs.datachain import Metastore
from dcfs.datachain._postgres import PostgresEngine

metastore = Metastore(os.environ["ADDRESS"])
killer = PostgresEngine(os.environ["ADDRESS"])
db = metastore.db

def end():
    killer.execute_str("SELECT pg_terminate_backend(%(pid)s, 10000)", {"pid": db.connection.info.backend_pid})

noted = []
def note(*values):
    noted.append(values)

end()
note("read", bool(metastore.list_namespaces()))
end()
note("write", metastore.create_namespace("one").name)
end()
with db.turn():
    note("turn", metastore.create_namespace("two").name)
end()
db.executemany("UPDATE namespaces SET description = %(text)s WHERE name = 'one'", [{"text": "again"}])
note("many", metastore.get_namespace("one").descr)
try:
    with db.transaction():
        metastore.create_namespace("three")
        end()
        try:
            metastore.create_namespace("four")
        except psycopg.OperationalError:
            note("lost in a transaction")
        metastore.create_namespace("five")
except psycopg.OperationalError:
    note("and not continued")
try:
    db.execute_str("UPDATE namespaces SET description = pg_terminate_backend(pg_backend_pid())::text")
except psycopg.OperationalError:
    note("a write is not repeated")
try:
    db.execute_str("SELECT pg_terminate_backend(pg_backend_pid())")
except psycopg.OperationalError:
    note("a read is repeated once")
note(sorted(one.name for one in metastore.list_namespaces() if one.name in ("one", "two", "three", "four", "five")))
print(json.dumps(noted))
"""


def test_a_lost_connection_is_made_again(cluster, tmp_path):
    """Between two statements; a write or a transaction that loses it fails, and none of it is done."""
    found = python(LOST, tmp_path, ADDRESS=cluster.database("python"), **cluster.environment)
    assert found == [
        ["read", True], ["write", "one"], ["turn", "two"], ["many", "again"], ["lost in a transaction"], ["and not continued"],
        ["a write is not repeated"], ["a read is repeated once"], [["one", "two"]],
    ]  # fmt: skip


MADE = """
import json, os
from dcfs.datachain import Metastore
metastore = Metastore(os.environ["ADDRESS"])
print(json.dumps(metastore.db.execute(metastore._projects_base_query()).fetchall() != []))
"""


def test_tables_and_listings_are_made_together(cluster, tmp_path):
    """Whoever is killed between the tables and the project of listings leaves neither; what is missing is made, whoever made the rest."""
    address = cluster.database("python")
    name = address.rsplit("/", 1)[1]
    sql = lambda text: cluster.postgres.sql(text, database=name)  # noqa: E731
    killed = MADE.replace("metastore =", "Metastore.create_project = lambda *_, **__: os._exit(9)\nmetastore =", 1)
    assert python(killed, tmp_path, ADDRESS=address, **cluster.environment) == ""
    assert sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0\n"
    assert python(MADE, tmp_path, ADDRESS=address, **cluster.environment) is True
    listings = "SELECT n.name, p.name FROM projects p JOIN namespaces n ON n.id = p.namespace_id"
    made = sql(listings)
    assert made == "system|listing\n"
    for lost in ("DELETE FROM projects", "DELETE FROM projects; DELETE FROM namespaces", "DROP TABLE checkpoint_events"):
        sql(lost)
        assert python(MADE, tmp_path, ADDRESS=address, **cluster.environment) is True
        assert sql(listings) == made, lost


WRONG = {
    "a password in it": ("clickhouse://me:secret@127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d", "an address has no password"),
    "no names": ("clickhouse://127.0.0.1:1/d", "does not say where the names are"),
    "names in a file": ("clickhouse://127.0.0.1:1/d?metastore=/x/.datachain", "unset DATACHAIN_METASTORE"),
    "an option": ("clickhouse://127.0.0.1:1/d?pasword=secret&metastore=postgresql://127.0.0.1:1/d", "not `pasword`"),
    "nobody": ("clickhouse://127.0.0.1:1/d?metastore=postgresql://127.0.0.1:1/d", "PostgreSQL at 127.0.0.1:1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_address_is_told(case, tmp_path):
    address, message = WRONG[case]
    process = datachain_runs.start(
        datachain_runs.SCRIPTS / "few.py", tmp_path, environment=datachain_there.environment(address), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and message in errors, errors[-2000:]
    assert "secret" not in errors


def test_a_wrong_password_is_told(cluster, tmp_path):
    environment = datachain_there.environment(cluster.database("python")) | {"CLICKHOUSE_PASSWORD": "wrong"}
    process = datachain_runs.start(datachain_runs.SCRIPTS / "few.py", tmp_path, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and "ClickHouse at 127.0.0.1" in errors and "password" in errors, errors[-2000:]
