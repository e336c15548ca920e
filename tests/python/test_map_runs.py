"""Runs of `dcfs map`: stopped, killed, failed, resumed; parts of several machines."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

import datachain_runs
from programs import COUNTED, SIZES, wait_until
from written import ask, check_whole, leftovers, versions

KILLS = int(os.environ.get("DCFS_KILLS", "20"))
"""How often a run is killed; `make soak` kills more."""


def test_a_run_that_was_stopped_goes_on(work):
    work.function(COUNTED.replace("return", "assert file.size != 20, 'no twenty'\n        return"))
    said = work.refused(5, "map", "f", "--as", "s", "--commit", "1", "--", "python", "info.py:size")
    assert "f_19.txt: AssertionError: no twenty (info.py, line " in said
    (run,) = work.runs()
    assert run["state"] == "stopped" and f"run {run['id'][:8]} keeps {run['rows']} rows of 30" in said
    assert "AssertionError" in work.ok("runs", "log", run["id"][:6])
    before = set(work.calls())
    work.reset()
    work.function(COUNTED)
    result = work.run("map", "f", "--as", "s", "--", "python", "info.py:size")
    assert result.returncode == 0 and "the program changed" in result.stderr
    assert len(work.calls()) == 30 - run["rows"] and "f_19.txt" in work.calls()
    assert set(work.calls()) | before >= {f"f_{n:02}.txt" for n in range(30)}
    assert [n for (n,) in work.rows("s", "size")] == SIZES
    ((recipe,),) = ask(work.here, "SELECT recipe FROM dcfs_provenance WHERE json_extract(recipe, '$.kind') = 'map'")
    programs = json.loads(recipe)["programs"]
    assert [program["rows"] for program in programs] == [run["rows"], 30 - run["rows"]], "each row knows its program"
    statuses = ask(work.here, "SELECT status, rerun_from_job_id FROM jobs WHERE name LIKE 'dcfs map%' ORDER BY created_at")
    assert [status for status, _ in statuses] == [6, 5] and statuses[1][1] == run["id"]
    assert work.runs() == []


def test_nothing_is_computed_twice_and_an_edit_is(work):
    work.function(COUNTED)
    words = ("map", "f", "--as", "s", "--", "python", "info.py:size")
    work.ok(*words)
    work.reset()
    assert "nothing to compute; s@1.0.0 is as it was" in work.ok(*words)
    assert work.calls() == [] and versions(work.here, "s") == ["1.0.0"]
    work.function(COUNTED.replace("return len", "return 1 + len"))
    work.ok(*words)
    assert len(work.calls()) == 30 and [n for (n,) in work.rows("s", "size")] == [n + 1 for n in SIZES]
    work.reset()
    work.ok("map", "f", "--as", "s", "--fresh", "--", "python", "info.py:size")
    assert len(work.calls()) == 30 and versions(work.here, "s") == ["1.0.0", "1.0.1", "1.0.2"]


def test_why_a_run_begins_anew_is_told(work):
    work.function(COUNTED.replace("return", "assert file.size != 20\n        return"))
    work.refused(5, "map", "f", "--as", "s", "--", "python", "info.py:size")
    said = work.refused(5, "map", "f", "--as", "s", "--where", "file.size > 1", "--", "python", "info.py:size")
    assert "starting over: the filter is another than in run" in said
    assert len(work.runs()) == 2
    for run in work.runs():
        work.ok("runs", "rm", run["id"][:8])
    assert work.runs() == []
    assert [path.name for path in (work.here / ".datachain" / "dcfs-runs").iterdir()] == ["begin.lock"]


def test_rows_that_fail_are_kept_and_tried_again(work):
    work.function(COUNTED.replace("return", "assert file.size % 10, 'round'\n        return"))
    words = ("map", "f", "--as", "s", "--on-error", "keep", "--", "python", "info.py:size")
    result = work.run(*words)
    assert result.returncode == 3 and "3 rows failed" in result.stderr
    rows = work.rows("s", "size, error")
    assert [n for n, _ in rows] == [None if n % 10 == 0 else n for n in SIZES]
    assert "AssertionError: round" in rows[9][1] and rows[8][1] is None
    out = work.python("import datachain as dc; print(dc.read_dataset('s').filter(dc.C('error') != None).count())")
    assert out.split() == ["3"]
    work.reset()
    work.function(COUNTED)
    again = ("map", "f", "--as", "s", "--on-error", "keep", "--retry-errors")
    assert "`--keep` computes only" in work.refused(2, *again, "--", "python", "info.py:size")
    work.ok(*again, "--keep", "--", "python", "info.py:size")
    assert sorted(work.calls()) == ["f_09.txt", "f_19.txt", "f_29.txt"]
    assert sorted(n for (n,) in work.rows("s", "size")) == SIZES


def test_too_many_errors_end_the_run(work):
    work.function("def f(file) -> int:\n    raise ValueError('x')\n")
    said = work.refused(5, "map", "f", "--as", "s", "--on-error", "keep", "--max-errors", "4", "--", "python", "info.py:f")
    assert "more than 4 rows failed (`--max-errors`)" in said and versions(work.here, "s") == []


def test_a_row_is_tried_as_often_as_asked(work):
    work.write("flaky", "#!/bin/sh\necho >> tries\nn=$(wc -l < tries)\n[ $((n % 3)) = 0 ] && wc -c < $1 || exit 9\n")
    work.ok("map", "f", "--as", "s", "--out", "n: int", "--jobs", "1", "--tries", "3", "--", "./flaky", "{}")
    assert [n for (n,) in work.rows("s", "n")] == SIZES


def test_a_signal_lets_rows_in_flight_end_and_the_same_command_goes_on(work):
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.05"
    process = work.start("map", "f", "--as", "s", "--commit", "1", "--", "python", "info.py:size")
    wait_until(lambda: len(work.calls()) > 5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in said, said
    (run,) = work.runs()
    assert run["state"] == "stopped" and 0 < run["rows"] < 30
    assert ask(work.here, "SELECT status FROM jobs WHERE name LIKE 'dcfs map%'") == [(8,)]
    work.dcfs.environment["SLOW"] = "0"
    assert work.done("map", "f", "--as", "s", "--", "python", "info.py:size")["reused"] == run["rows"]
    assert [n for (n,) in work.rows("s", "size")] == SIZES


def test_a_second_signal_ends_everything_at_once(work):
    work.write("stuck", "#!/bin/sh\necho $$ >> pids\nexec sleep 1000\n")
    process = work.start("map", "f", "--as", "s", "--jobs", "2", "--out", "n: int", "--", "./stuck", "{}")
    pids = work.here / "pids"
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: process.stderr.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.read_text().split()), timeout=20)
    assert versions(work.here, "s") == []


def test_two_runs_of_one_name_are_one(work):
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.1"
    process = work.start("map", "f", "--as", "s", "--", "python", "info.py:size")
    wait_until(lambda: len(work.calls()) > 2)
    said = work.refused(4, "map", "f", "--as", "s", "--", "python", "info.py:size")
    assert f"process {process.pid} on " in said
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_killed_at_any_moment_no_row_is_lost_or_there_twice(work):
    """The driver, and its workers with it or alone."""
    random.seed(16)
    files = work.here / "files"
    # Some twenty rows between two kills.
    for n in range(30, 20 * KILLS):
        (files / f"f_{n:03}.txt").write_bytes(b"x" * (n % 1000 + 1))
    work.ok("index", "files", "--save", "f", "--update")
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.04"
    words = ("map", "f", "--as", "s", "--jobs", "2", "--commit", "5", "--", "python", "info.py:size")
    kills = 0
    for number in range(KILLS):
        process = work.start(*words)
        time.sleep(0.3 + random.random() * 0.6)
        if number % 3 == 2:
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            for child in children[:1]:
                os.kill(int(child), signal.SIGKILL)
            time.sleep(0.1)
        process.kill()
        process.communicate(timeout=60)
        if versions(work.here, "s"):
            break
        kills += 1
        for run in work.runs():
            assert run["state"] == "dead"
    assert kills > KILLS // 2, "it was done before it was killed often enough"
    work.dcfs.environment["SLOW"] = "0"
    said = work.run(*words, timeout=600)
    assert said.returncode == 0, said.stderr
    got = sorted(work.rows("s", "file__path, size"))
    assert got == sorted((path.name, path.stat().st_size) for path in files.iterdir())
    assert work.runs() == [] and leftovers(work.here) == []
    check_whole(work.here, {})
    dead = ask(work.here, "SELECT count(*) FROM jobs WHERE name LIKE 'dcfs map%' AND status = 4")
    assert dead == [(0,)], "jobs of dead runs are closed"


def test_the_story_of_a_night(work):
    """500 files at 20 ms each, killed at two thirds, resumed; then 12 new ones."""
    files = work.here / "files"
    for n in range(30, 500):
        (files / f"f_{n:03}.txt").write_bytes(b"x" * (n + 1))
    work.ok("index", "files", "--save", "f", "--update")
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.02"
    words = ("map", "f", "--as", "s", "--delta", "--jobs", "2", "--commit", "10", "--", "python", "info.py:size")
    process = work.start(*words)
    wait_until(lambda: len(work.calls()) >= 333, timeout=120)
    process.kill()
    process.communicate(timeout=60)
    killed = len(work.calls())
    (run,) = work.runs()
    assert run["state"] == "dead" and run["rows"] >= killed - 10 - 2 * 66
    work.reset()
    done = work.done(*words)
    assert (done["reused"], len(work.calls())) == (run["rows"], 500 - run["rows"])
    assert sorted(work.rows("s", "file__path, size")) == sorted((p.name, p.stat().st_size) for p in files.iterdir())
    for n in range(12):
        (files / f"new_{n}.txt").write_bytes(b"y" * n)
    work.ok("index", "files", "--save", "f", "--delta")
    work.reset()
    assert work.done(*words)["computed"] == 12 and len(work.calls()) == 12
    assert work.done(*words)["is_new"] is False


def test_python_and_a_run_side_by_side(work):
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.05"
    process = work.start("map", "f", "--as", "s", "--", "python", "info.py:size")
    script = "import datachain as dc\nfor n in range(3): dc.read_values(a=list(range(100))).save('other')\nprint(dc.read_dataset('f').count())"
    assert work.python(script).split()[-1] == "30"
    said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert len(versions(work.here, "other")) == 3 and versions(work.here, "s") == ["1.0.0"]
    datachain_runs.command(work.here, "gc")
    assert [n for (n,) in work.rows("s", "size")] == SIZES


def test_jobs_events_and_scripts_are_there_for_python(work):
    work.function(COUNTED.replace("return", "assert file.size != 20\n        return"))
    work.refused(5, "map", "f", "--as", "s", "--commit", "1", "--", "python", "info.py:size")
    work.function(COUNTED)
    work.ok("map", "f", "--as", "s", "--", "python", "info.py:size")
    work.ok("gen", "f", "--as", "g", "--where", "file.size < 4", "--out", "n: int", "--", "seq", "{col:file.size}")
    told = work.python(
        """
        import datachain as dc
        from datachain.catalog import get_catalog
        from datachain.data_storage.job import JobStatus
        store = get_catalog().metastore
        for name in ("s", "g"):
            job = store.get_job(store.get_dataset(name, versions=None).get_version("1.0.0").job_id)
            events = [event.event_type.name for event in store.get_checkpoint_events(job.id)]
            print(job.name, JobStatus(job.status).name, bool(job.rerun_from_job_id), events)
        dc.read_dataset("g").filter(dc.C("n") > 1).map(m=lambda n: n * 2, output=int).save("on_top")
        print(sorted(dc.read_dataset("on_top").to_values("m")))
        """
    ).splitlines()
    assert told == [
        "dcfs map local.local.s COMPLETE True ['UDF_CONTINUED', 'DATASET_SAVE_COMPLETED']",
        "dcfs gen local.local.g COMPLETE False ['UDF_FROM_SCRATCH', 'DATASET_SAVE_COMPLETED']",
        "[4, 4, 6]",
    ]
    script = datachain_runs.command(work.here, "show", "s", "--version", "1.0.0", "--script")
    assert "dcfs map f --as s" in script and "def size(file)" in script
    datachain_runs.command(work.here, "gc", "--checkpoint-ttl", "0")
    assert [n for (n,) in work.rows("s", "size")] == SIZES and [n for (n,) in work.rows("g", "n")] == [1, 1, 2, 1, 2, 3]


def test_parts_on_several_machines_become_one_version(work):
    work.function(COUNTED)
    program = ("--", "python", "info.py:size")
    for number in (1, 2, 3):
        done = work.done("map", "f", "--as", "s", "--shard", f"{number}/4", *program)
        assert done["part"] == f"{number}/4" and done["is_new"] is False
    assert versions(work.here, "s") == []
    assert "not done: 4" in work.refused(1, "runs", "merge", "s")
    work.dcfs.environment["SLOW"] = "0.1"
    process = work.start("map", "f", "--as", "s", "--shard", "4/4", "--commit", "1", *program)
    before = len(work.calls())
    wait_until(lambda: len(work.calls()) > before + 1)
    process.kill()
    process.communicate()
    assert "not done: 4" in work.refused(1, "runs", "merge", "s")
    work.dcfs.environment["SLOW"] = "0"
    work.ok("map", "f", "--as", "s", "--shard", "4/4", *program)
    work.reset()
    assert "saved s@1.0.0: 30 rows; 0 rows computed" in work.ok("runs", "merge", "s")
    assert work.calls() == [] and [n for (n,) in work.rows("s", "size")] == SIZES
    assert work.runs() == []
    for wrong in ("0/4", "5/4", "x", "1/0"):
        assert "write a part as `2/8`" in work.refused(2, "map", "f", "--as", "s", "--shard", wrong, *program)


def test_a_part_that_another_machine_made_is_brought(work, tmp_path):
    work.function(COUNTED)
    program = ("--", "python", "info.py:size")
    work.ok("map", "f", "--as", "s", "--shard", "1/2", *program)
    work.ok("map", "f", "--as", "s", "--shard", "2/2", *program)
    ((run,),) = [[run["id"] for run in work.runs() if "2/2" in run["command"]]]
    folder = work.here / ".datachain" / "dcfs-runs"
    (folder / f"{run}.db").rename(tmp_path / "part.db")
    assert "not done: 2" in work.refused(1, "runs", "merge", "s")
    (tmp_path / "no.db").write_text("no database")
    assert work.run("runs", "merge", "s", tmp_path / "no.db").returncode != 0
    work.ok("runs", "merge", "s", tmp_path / "part.db")
    assert [n for (n,) in work.rows("s", "size")] == SIZES


@pytest.mark.mount
def test_a_run_is_there_by_name_on_a_mount(work, tmp_path):
    work.function(COUNTED.replace("return", "print('read', file.name); assert file.size < 5, 'large'\n        return"))
    work.refused(5, "map", "f", "--as", "s", "--on-error", "keep", "--max-errors", "3", "--", "python", "info.py:size")
    (run,) = work.runs()
    with work.dcfs.mount(work.here, tmp_path / "mnt") as mount:
        assert "runs" not in os.listdir(mount.path), "there by name, and not listed"
        runs = mount.path / "runs"
        assert os.listdir(runs) == ["s"] and sorted(os.listdir(runs / "s")) == ["errors.jsonl", "log", "status.json"]
        for name in ("s", "local.local.s", run["id"], run["id"][:8]):
            assert json.loads((runs / name / "status.json").read_text()) == run
        status = runs / "s" / "status.json"
        assert status.stat().st_size == len(status.read_bytes())
        assert "read f_" in (runs / "s" / "log").read_text()
        errors = [json.loads(line) for line in (runs / "s" / "errors.jsonl").read_text().splitlines()]
        assert len(errors) == run["errors"] >= 4 and all("AssertionError: large" in told["error"] for told in errors)
        for nothing in ("t", run["id"][:3], "s/other", "status.json"):
            assert not (runs / nothing).exists()
        work.function(COUNTED)
        work.ok("map", "f", "--as", "s", "--on-error", "keep", "--max-errors", "3", "--retry-errors", "--", "python", "info.py:size")
        # It is a version now, and the kernel asks again within a second.
        wait_until(lambda: os.listdir(runs) == [] and not (runs / "s").exists(), timeout=10)


def test_errors_are_not_published_by_a_run_that_stops_on_them(work):
    work.function(COUNTED.replace("return", "assert file.size % 10, 'round'\n        return"))
    words = ("map", "f", "--as", "s", "--jobs", "1")
    program = ("--", "python", "info.py:size")
    work.refused(5, *words, "--on-error", "keep", "--max-errors", "1", *program)
    assert [run["errors"] > 0 for run in work.runs()] == [True]
    work.function(COUNTED)
    work.ok(*words, *program)
    assert [n for (n,) in work.rows("s", "size")] == SIZES


@pytest.mark.mount
@pytest.mark.root
def test_a_mount_that_is_shared_tells_of_no_runs(work, tmp_path):
    work.refused(5, "map", "f", "--as", "s", "--out", "n: int", "--", "false")
    asked = "select id from catalog.runs.csv"
    with work.dcfs.mount(work.here, tmp_path / "own") as mount:
        assert (mount.path / "runs" / "s" / "log").exists()
        assert len((mount.path / "sql" / asked).read_text().splitlines()) == 2
    with work.dcfs.mount(work.here, tmp_path / "shared", "--allow-other") as mount:
        assert not (mount.path / "runs").exists()
        with pytest.raises(OSError):
            (mount.path / "sql" / asked).read_text()
