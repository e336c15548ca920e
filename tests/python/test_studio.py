"""A catalog of Studio, `--catalog studio://team`: over a server of ours that answers as Studio does to DataChain's own
client, which is the second opinion on both. Studio itself is not there to be asked."""

import contextlib
import fcntl
import http.server
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

import datachain_runs
import mounts
import servers
import sql

TEAM = "studio://team"

NAMES = ["pets_sized", "members", "fragments", "typed", "pairs", "per_kind", "partial", "partial_listed", "empty", "numbers", "of_the_team"]

COUNT = ["count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0"]


@pytest.fixture
def studio(shapes_catalog, tmp_path):
    with servers.studio(tmp_path / "studio", shapes_catalog) as studio:
        yield studio


@pytest.fixture
def client(studio, tmp_path):
    """`dcfs` with the token; root reads files that rows name only if it is told so."""
    return mounts.Dcfs(tmp_path / "home", **studio.environment)


def versions(client):
    """The files of rows that were pulled whole, and whatever else is left of pulls."""
    (folder,) = (client.home / "state" / "dcfs" / "catalogs").iterdir()
    return versions_in(client.home / "state"), sorted(path.name for path in folder.glob("parts/*/*"))


def versions_in(state):
    return [path.name for path in (state / "dcfs" / "catalogs").glob("*/versions/*")]


def rows(folder, name, version="1.0.0"):
    """The rows of a version as the file holds them: values with their types, in no order; without ids."""
    table = f"ds_team_prod_{name}_{version.replace('.', '_')}"
    with closing(sqlite3.connect(folder / ".datachain" / "db")) as db:
        db.text_factory = bytes
        names = sorted(row[1].decode() for row in db.execute(f'PRAGMA table_info("{table}")'))
        declared = sorted((row[1], row[2]) for row in db.execute(f'PRAGMA table_info("{table}")'))
        names.remove("sys__id")
        found = db.execute(f"SELECT {', '.join(names)} FROM \"{table}\"").fetchall()
    lists = {name.decode() for name, kind in declared if kind in (b"ARRAY", b"JSON")}
    return declared, sorted([repr(plain(cell, name in lists)) for cell, name in zip(row, names)] for row in found)


def plain(cell, is_json):
    """A cell to compare: JSON by what it says."""
    return json.loads(cell) if is_json and cell is not None else cell


def test_datachains_own_client_and_dcfs_pull_the_same(studio, client, shapes_catalog, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    for name in NAMES:
        datachain = [Path(sys.executable).parent / "datachain", "dataset", "pull", f"ds://team.prod.{name}@v1.0.0"]
        environment = datachain_runs.clean_environment(theirs, **studio.environment)
        pulled = subprocess.run(datachain, cwd=theirs, env=environment, capture_output=True, text=True)
        assert pulled.returncode == 0, (name, pulled)
    names = [word for name in NAMES for word in ("--dataset", f"team.prod.{name}")]
    told = client.ok("catalog", "copy", TEAM, ours, *names)
    assert told.startswith(f"copied {len(NAMES)} versions"), told
    for name in NAMES:
        # DataChain keeps the schema that it was told; tables and rows have to be the same.
        assert rows(ours, name) == rows(theirs, name), name
    # Every part was fetched with its link alone, and the API with the token.
    assert {line[2] for line in studio.asked("/store/")} == {"-"}
    assert {line[2] for line in studio.asked("/api/")} == {f"token {studio.TOKEN}"}


def test_commands_say_the_same_as_of_the_catalog_that_datachain_pulled(studio, client, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    datachain_runs.run("pulls", theirs, "pets_sized", "typed", "partial", environment=studio.environment)
    local = mounts.Dcfs(tmp_path / "local")
    for words in [
        ["count", "team.prod.pets_sized"],
        ["count", "team.prod.pets_sized", "--where", "file.size > 1000"],
        ["schema", "team.prod.typed"],
        ["sql", "select kind.kind, count(*), sum(file.size) from team.prod.typed group by kind.kind order by 1"],
        ["sql", "select file.path, day, blob, facts, vector from team.prod.typed order by file.path"],
        ["stats", "team.prod.typed"],
    ]:
        assert client.ok(*words, "--catalog", TEAM) == local.ok(*words, "--catalog", theirs), words
    assert "team.prod.pets_sized" in client.ok("ls", "--catalog", TEAM)
    same = client.ok("diff", "--catalog", TEAM, "team.prod.partial", "team.prod.partial")
    assert same == local.ok("diff", "--catalog", theirs, "team.prod.partial", "team.prod.partial")
    # Names alone ask for no rows.
    pulled = studio.asked("/export")
    client.ok("ls", "--catalog", TEAM, "team.prod.numbers")
    client.ok("schema", "--catalog", TEAM, "team.prod.numbers")
    assert studio.asked("/export") == pulled


@pytest.mark.mount
def test_a_mount_shows_files_scripts_and_new_versions(studio, client, shapes_catalog, tmp_path):
    catalog = tmp_path / "catalog"
    shutil.copytree(shapes_catalog, catalog, symlinks=True)
    with servers.studio(tmp_path / "own", catalog) as own:
        client.environment |= own.environment
        with client.mount(TEAM, tmp_path / "mnt", "--local-root", shapes_catalog) as mount:
            pets = mount.datasets / "team.prod.pets_sized@1.0.0"
            files = [path for path in pets.rglob("*.jpg") if "_views" not in path.parts]
            assert files
            for path in files[:5]:
                (source,) = [found for found in (shapes_catalog / "data").rglob(path.name) if found.parent.name == path.parent.name][:1]
                assert path.read_bytes() == source.read_bytes()
            assert "read_storage" in (pets / "_lineage.md").read_text()
            assert list((pets / "file.size > 0").iterdir())
            # A new version is seen without anybody doing anything.
            sql.change(
                catalog,
                "INSERT INTO datasets_versions SELECT id + 900, 'of-the-test', dataset_id, '7.0.0', status, feature_schema, created_at,"
                " finished_at, error_message, error_stack, script_output, num_objects, size, preview, sources, query_script, schema,"
                " job_id, content_hash, removed_at, pending_metadata_drop FROM datasets_versions WHERE dataset_id ="
                " (SELECT id FROM datasets WHERE name = 'pets_sized') AND version = '1.0.0'",
            )
            until((mount.datasets / "team.prod.pets_sized@7.0.0").is_dir)
    # The server is gone: what was pulled stays, and so do names.
    assert "7.0.0" in client.ok("ls", "--catalog", TEAM, "team.prod.pets_sized")
    assert client.ok("count", "--catalog", TEAM, "team.prod.pets_sized@1.0.0").strip().isdigit()
    gone = client.run("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0")
    assert gone.returncode == 6 and "cannot be reached" in gone.stderr, gone


@pytest.mark.mount
def test_files_of_this_machine_are_read_only_if_allowed(studio, client, tmp_path):
    with client.mount(TEAM, tmp_path / "mnt") as mount:
        pets = mount.datasets / "team.prod.pets_sized@1.0.0"
        path = next(path for path in pets.rglob("*.jpg") if "_views" not in path.parts)
        with pytest.raises(OSError):
            path.read_bytes()


def until(is_so):
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within a minute")


@pytest.mark.parametrize(
    "words",
    [
        ["index", "data", "--save", "mine"],
        ["save", "team.prod.pets_sized", "--as", "mine"],
        ["map", "team.prod.pets_sized", "--as", "mine", "--out", "a: int"],
        ["rm", "team.prod.pets_sized@1.0.0", "--yes"],
        ["mv", "team.prod.pets_sized", "dogs"],
        ["describe", "team.prod.pets_sized", "file", "mine"],
        ["load", "x.csv", "--as", "mine"],
        ["union", "team.prod.pets_sized", "team.prod.pets_sized", "--as", "mine"],
        ["remember", "mine"],
    ],
    ids=lambda words: words[0],
)
def test_what_writes_is_refused(studio, client, tmp_path, words):
    (tmp_path / "data").mkdir()
    (tmp_path / "x.csv").write_text("a\n1\n")
    program = ["--", "true"] if words[0] == "map" else []
    told = client.run(*words, "--catalog", TEAM, *program, cwd=tmp_path)
    assert told.returncode == 2 and f"dcfs catalog copy {TEAM} DIR" in told.stderr, told


def test_no_catalog_is_copied_to_studio(studio, client, shapes_catalog):
    told = client.run("catalog", "copy", shapes_catalog, TEAM)
    assert told.returncode == 2 and f"dcfs catalog copy {TEAM} DIR" in told.stderr, told


def test_the_token_is_nowhere(studio, client, tmp_path):
    client.ok("count", "--catalog", TEAM, "team.prod.pets_sized", "--where", "file.size > 0")
    studio.order(parts={"how": "status", "status": 403})
    failed = client.run("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0")
    assert failed.returncode == 6, failed
    texts = [failed.stderr.encode(), *(path.read_bytes() for path in client.home.rglob("*") if path.is_file())]
    assert not [text for text in texts if studio.TOKEN.encode() in text or b"of-a-link" in text]
    (folder,) = (client.home / "state" / "dcfs" / "catalogs").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_account_is_that_of_datachain(studio, client, tmp_path):
    settings = tmp_path / "home" / ".config" / "datachain" / "config"
    settings.parent.mkdir(parents=True)
    own = mounts.Dcfs(tmp_path / "home")
    told = own.run("ls", "--catalog", TEAM)
    assert told.returncode == 5 and "datachain auth login" in told.stderr, told
    settings.write_text(f'[studio]\nurl = "{studio.url}/"\ntoken = "{studio.TOKEN}"\nteam = "team"\n')
    assert "team.prod.pets_sized" in own.ok("ls", "--catalog", TEAM)
    assert "team.prod.pets_sized" in own.ok("ls", "--catalog", "studio://")
    # Settings of a folder that somebody unpacked send the token nowhere.
    (tmp_path / "here" / ".datachain").mkdir(parents=True)
    (tmp_path / "here" / ".datachain" / "config").write_text('[studio]\nurl = "http://127.0.0.1:1"\n')
    assert "team.prod.pets_sized" in own.ok("ls", "--catalog", TEAM, cwd=tmp_path / "here")
    settings.write_text("[studio")
    told = own.run("ls", "--catalog", TEAM)
    assert told.returncode == 2 and "not TOML" in told.stderr, told


@pytest.mark.parametrize(
    "how, code, message",
    [
        ({"how": "status", "status": 401, "message": "Invalid"}, 5, "does not let this token read the team `team`: Invalid"),
        ({"how": "status", "status": 403}, 5, "check the name of the team"),
        ({"how": "status", "status": 404}, 6, "status 404"),
        ({"how": "status", "status": 500}, 6, "it answers 500"),
        ({"how": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, 6, "leads to another address"),
        ({"how": "cut"}, 6, "cannot be reached"),
        ({"how": "text", "text": "<html>"}, 6, "an answer that dcfs does not understand"),
        ({"how": "text", "text": '{"a": 1}'}, 6, "an answer that dcfs does not understand"),
        ({"how": "text", "text": '[{"name": "a", "versions": []}]'}, 6, "missing field `project`"),
        ({"how": "endless"}, 6, "does not end"),
        ({"how": "hang"}, 6, "cannot be reached"),
    ],
)
def test_a_server_that_does_not_answer_so_is_told(studio, client, how, code, message):
    studio.order(fail={"datasets": how})
    if how["how"] != "endless":
        client.environment["DCFS_TEST_HASTE"] = "20"
    told = client.run("ls", "--catalog", TEAM, timeout=120)
    assert told.returncode == code and message in told.stderr, told
    assert not told.stdout


@pytest.mark.parametrize(
    "how", [{"how": "status", "status": 502}, {"how": "status", "status": 408}, {"how": "status", "status": 429}, {"how": "cut"}], ids=str
)
def test_an_error_that_passes_is_not_seen(studio, client, how):
    studio.order(fail={"datasets": how | {"times": 2}})
    assert "team.prod.pets_sized" in client.ok("ls", "--catalog", TEAM)


def test_addresses_that_are_none(studio, client):
    for address, message in [
        ("studio://u:secret@team", "nothing else"),
        ("studio://team/secret", "nothing else"),
        ("studio://a%00b", "not the name of a team"),
    ]:
        told = client.run("ls", "--catalog", address)
        assert told.returncode == 2 and message in told.stderr, told
        assert "secret" not in told.stderr.replace(address, "")
    told = client.run("ls", "--catalog", "studio://others")
    assert told.returncode == 5 and "the team `others`: not yours" in told.stderr, told
    client.environment["DATACHAIN_STUDIO_TOKEN"] = "wrong"
    assert client.run("ls", "--catalog", TEAM).returncode == 5
    client.environment["DATACHAIN_STUDIO_TOKEN"] = "with\nline"
    told = client.run("ls", "--catalog", TEAM)
    assert told.returncode == 2 and "copy it again" in told.stderr, told
    client.environment |= {"DATACHAIN_STUDIO_TOKEN": "x", "DATACHAIN_STUDIO_URL": "ftp://u:secret@h"}
    told = client.run("ls", "--catalog", TEAM)
    assert told.returncode == 2 and "DATACHAIN_STUDIO_URL" in told.stderr and "secret" not in told.stderr, told
    client.environment["DATACHAIN_STUDIO_URL"] = "http://192.0.2.1"
    told = client.run("ls", "--catalog", TEAM)
    assert told.returncode == 2 and "write `https://`" in told.stderr, told


@pytest.mark.mount
def test_names_of_strangers(studio, client, tmp_path):
    def dataset(name, *versions, namespace="n"):
        told = [{"uuid": uuid, "version": version, "status": 4} for uuid, version in versions]
        project = {"name": "p", "namespace": {"name": namespace}}
        return {"name": name, "project": project, "versions": told}

    studio.order(
        says={
            "datasets": [
                dataset("a/../../b", ("1", "1.0.0")),
                dataset("x\n\x1b[31m\0y", ("2", "1.0.0")),
                dataset("x" * 5000, ("3", "1.0.0")),
                dataset("", ("4", "1.0.0")),
                dataset("twice", ("5", "1.0.0"), ("5", "2.0.0"), ("6", "1.0.0"), ("", "3.0.0")),
                dataset("Twice", ("../../../escape", "1.0.0")),
                dataset("'; DROP TABLE datasets; --", ("7", "not a version"), namespace=".."),
                dataset("good", ("8", "1.0.0")),
            ]
        }
    )
    told = client.ok("ls", "--catalog", TEAM)
    assert "good" in told and "\x1b" not in told, told
    with client.mount(TEAM, tmp_path / "mnt") as mount:
        shown = [path.name for path in mount.datasets.iterdir()]
        assert any("good" in name for name in shown), shown
    told = client.run("count", "--catalog", TEAM, "n.p.Twice", "--where", "a > 0")
    assert told.returncode == 1 and "has no dataset" in told.stderr, told
    assert not list(tmp_path.rglob("escape*"))


@pytest.mark.parametrize(
    "how, message",
    [
        ({"how": "half"}, "not an LZ4 frame"),
        ({"how": "plain"}, "not an LZ4 frame"),
        ({"how": "other"}, "it holds no Parquet"),
        ({"how": "damaged"}, "not readable Parquet"),
        ({"how": "endless"}, "not an LZ4 frame"),
        ({"how": "extra"}, "the column `surprise` is not in the schema"),
        ({"how": "missing", "column": "score"}, "the column `score` is missing"),
        ({"how": "typed", "column": "score"}, "the column `score` does not hold a number"),
        ({"how": "fewer"}, "rows, but Studio counts"),
        ({"how": "more"}, "rows, but Studio counts"),
        ({"how": "cut"}, "cannot be fetched"),
        ({"how": "status", "status": 403}, "its store answers 403"),
        ({"how": "status", "status": 503}, "its store answers 503"),
        ({"how": "loop"}, "its store answers 302"),
        ({"how": "redirect", "to": "file:///etc/passwd"}, "part 2 of 3"),
    ],
)
def test_a_part_that_is_none_is_told_and_nothing_is_kept(studio, client, how, message):
    client.environment["DCFS_TEST_HASTE"] = "10"
    studio.order(parts=how | {"part": "1"})
    told = client.run("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0")
    assert told.returncode == 6 and message in told.stderr and "team.prod.typed@1.0.0" in told.stderr, told
    whole, parts = versions(client)
    assert whole == [] and not [name for name in parts if name in ("1.parquet", "1.draft", "building")], parts
    studio.order()
    del client.environment["DCFS_TEST_HASTE"]
    assert client.ok("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0").strip() == "9"
    whole, parts = versions(client)
    assert len(whole) == 1 and parts == []


@pytest.mark.parametrize(
    "orders, message",
    [
        ({"status": "failed", "late": 9}, "its export failed"),
        ({"status": "removed", "late": 9}, "its export was removed"),
        ({"late": 1 << 20}, "the export is complete, and its store has not got it"),
        ({"fail": {"export": {"how": "status", "status": 404}}}, "has no dataset"),
        ({"fail": {"export": {"how": "status", "status": 400, "message": "too many"}}}, "status 400 Bad Request: too many"),
        ({"fail": {"export-status": {"how": "status", "status": 500}}, "late": 1 << 20}, "it answers 500"),
        ({"fail": {"export": {"how": "text", "text": "{}"}}}, "missing field `export_id`"),
        ({"fail": {"export": {"how": "text", "text": '{"export_id": null}'}}}, "an export without a number"),
        ({"fail": {"info": {"how": "text", "text": "[]"}}}, "does not understand"),
        ({"links": ["no link"]}, "its link is no address"),
        ({"links": ["file:///etc/passwd"]}, "its link is not of `https`"),
        ({"links": ["x" * 20_000]}, "a link of more than 16384 bytes"),
        ({"links": []}, "has 0 rows, but Studio counts 18"),
    ],
)
def test_an_export_that_fails_is_told(studio, client, orders, message):
    client.environment["DCFS_TEST_HASTE"] = "10"
    studio.order(**orders)
    told = client.run("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0", timeout=120)
    assert told.returncode in (1, 6) and message in told.stderr, told
    assert versions(client)[0] == []


def test_parts_that_are_late_are_waited_for(studio, client):
    for codec in ["none", "snappy", "lz4", "zstd"]:
        studio.order(late=3, codec=codec)
        name = {"none": "pets_sized", "snappy": "typed", "lz4": "pairs", "zstd": "partial"}[codec]
        client.ok("sql", "--catalog", TEAM, f"select count(*) from team.prod.{name}")
    assert len(studio.asked("/store/")) == 4 * 3 * 4


def test_a_pull_says_how_far_it_is(studio, client, tmp_path):
    """`_status.json` and `dcfs status` list a version that is being pulled."""
    studio.order(late=5)
    with client.mount(TEAM, tmp_path / "m") as mount:
        asked = subprocess.Popen(["ls", mount.datasets / "team.prod.typed@1.0.0"], stdout=subprocess.DEVNULL)
        seen, said = [], ""
        while asked.poll() is None:
            now = json.loads((mount.path / "_status.json").read_text())["pulling"]
            seen += now
            if now and "pulling" not in said:
                said = client.ok("status")
        assert asked.returncode == 0 and seen
        assert {(pull["version"], pull["of"]) for pull in seen if pull["doing"] == "fetching" and pull["of"]} == {("team.prod.typed@1.0.0", 3)}
        assert {pull["doing"] for pull in seen} <= {"fetching", "writing"}
        assert f"{mount.path}: pulling team.prod.typed@1.0.0: " in said
        assert json.loads((mount.path / "_status.json").read_text())["pulling"] == []


def test_a_pull_is_shown_on_a_terminal(studio, client):
    studio.order(late=5)
    ours, theirs = pty.openpty()
    process = subprocess.Popen([mounts.DCFS, *COUNT], env=client.environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):
        while data := os.read(ours, 4096):
            seen += data
    os.close(ours)
    assert process.communicate()[0].strip() == b"9" and process.returncode == 0
    assert b"pulling from Studio:   0% " in seen and b"0 parts of 3 parts" in seen, seen
    assert seen.endswith(b"\r\x1b[K"), "nothing is left on the line"


def stopped(studio, client):
    """A pull whose last part fails after the others arrived; what it kept."""
    studio.order(parts={"how": "status", "status": 403, "part": "2", "held": 2})
    told = client.run(*COUNT, preexec_fn=lambda: os.umask(0o002))
    assert told.returncode == 6 and "run the command again" in told.stderr, told
    kept = [name for name in versions(client)[1] if name.endswith(".parquet")]
    assert len(kept) == 2, kept
    return kept


def test_parts_of_another_export_are_not_kept(studio, client):
    stopped(studio, client)
    studio.order(again=1)
    assert client.ok(*COUNT).strip() == "9"
    assert len({path for path, *_ in studio.asked("/store/2/")}) == 3


def test_a_link_that_leads_elsewhere_tells_nothing_of_itself(studio, client):
    seen = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.headers.get("Referer"), self.headers.get("Authorization")))
            self.send_error(403)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        studio.order(parts={"how": "redirect", "to": f"http://127.0.0.1:{elsewhere.server_port}/x", "part": "1"})
        told = client.run(*COUNT)
        elsewhere.shutdown()
    assert told.returncode == 6 and "its store answers 403" in told.stderr, told
    assert seen and set(seen) == {(None, None)}, seen


def test_one_process_at_a_time_asks_for_names(studio, client):
    client.ok("ls", "--catalog", TEAM)
    asked = len(studio.asked("/api/"))
    (lock,) = (client.home / "state" / "dcfs" / "catalogs").glob("*/locks/names")
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "team.prod.pets_sized" in client.ok("ls", "--catalog", TEAM)
        assert len(studio.asked("/api/")) == asked
    client.ok("ls", "--catalog", TEAM)
    assert len(studio.asked("/api/")) > asked


def test_rows_of_versions_that_are_gone_are_kept_for_a_week(studio, client):
    for name in ["typed", "pairs"]:
        client.ok("sql", "--catalog", TEAM, f"select count(*) from team.prod.{name}")
    (absent,) = (client.home / "state" / "dcfs" / "catalogs").glob("*/absent")
    whole = sorted(versions(client)[0])
    assert len(whole) == 2
    # No team has nothing all at once: such an answer is believed of names alone.
    studio.order(says={"datasets": []})
    client.ok("ls", "--catalog", TEAM)
    assert sorted(versions(client)[0]) == whole and list(absent.iterdir()) == []
    others = {"name": "other", "project": {"name": "p", "namespace": {"name": "n"}}}
    studio.order(says={"datasets": [others | {"versions": [{"uuid": "of-another", "version": "1.0.0", "status": 4}]}]})
    client.ok("ls", "--catalog", TEAM)
    notes = sorted(absent.iterdir())
    assert sorted(versions(client)[0]) == whole and [note.name for note in notes] == whole
    # Missed since long ago, and then there again: nothing of it remains.
    for note in notes:
        os.utime(note, (0, 0))
    studio.order()
    client.ok("ls", "--catalog", TEAM)
    assert sorted(versions(client)[0]) == whole and list(absent.iterdir()) == []
    studio.order(says={"datasets": [others | {"versions": [{"uuid": "of-another", "version": "1.0.0", "status": 4}]}]})
    client.ok("ls", "--catalog", TEAM)
    os.utime(absent / whole[0], (0, 0))
    client.ok("ls", "--catalog", TEAM)
    assert versions(client)[0] == whole[1:] and [note.name for note in absent.iterdir()] == whole[1:]


def test_a_pull_goes_on_where_it_stopped(studio, client):
    kept = stopped(studio, client)
    # Whatever the umask is, the folder that is left is one that the next command trusts.
    studio.order()
    assert client.ok(*COUNT, preexec_fn=lambda: os.umask(0o002)).strip() == "9"
    fetched = [path.rsplit("/", 1)[1] for path, *_ in studio.asked("/store/")]
    assert all(fetched.count(name.removesuffix(".parquet")) == 1 for name in kept), (kept, fetched)
    # And it is asked for once.
    assert client.ok(*COUNT).strip() == "9"
    assert len(studio.asked("/store/")) == len(fetched)


def test_a_killed_pull_leaves_nothing_and_two_pull_once(studio, client):
    words = COUNT
    studio.order(parts={"how": "stall", "part": "1", "times": 1})
    pulling = client.start(*words)
    until(lambda: len(studio.asked("/store/")) >= 3 and "1.draft" in versions(client)[1])
    pulling.send_signal(signal.SIGKILL)
    pulling.communicate()
    assert versions(client)[0] == []
    studio.order(late=2)
    both = [client.start(*words) for _ in range(2)]
    told = [process.communicate(timeout=60) for process in both]
    assert [out.strip() for out, _ in told] == ["9", "9"], told
    assert len(studio.asked("/export-status")) >= 1
    assert len([line for line in studio.asked("/export") if not line[0].endswith("status")]) == 2
    whole, parts = versions(client)
    assert len(whole) == 1 and parts == []


@pytest.mark.root
def test_a_full_disk_is_told(studio, client, tmp_path):
    with mounts.small_disk(tmp_path / "small", "16m") as small:
        client.environment["XDG_STATE_HOME"] = str(small)
        (small / "fill").write_bytes(b"")
        client.ok("ls", "--catalog", TEAM)
        with open(small / "fill", "wb") as fill:
            try:
                while True:
                    fill.write(bytes(65536))
                    fill.flush()
            except OSError:
                pass
        told = client.run("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0")
        assert told.returncode == 7 and ("is full" in told.stderr or "No space left" in told.stderr), told
        assert versions_in(small) == []
        (small / "fill").unlink()
        client.ok("count", "--catalog", TEAM, "team.prod.typed", "--where", "score > 0")
