"""Wrong programs, full disks, locked catalogs: each is reported, and nothing computed is lost."""

import contextlib
import os
import shutil
import sqlite3
import time

import pytest

import mounts
from programs import COUNTED, SIZES, wait_until
from written import versions


@pytest.mark.parametrize("tries", [(), ("--tries", "2")])
def test_a_file_that_kills_its_worker_is_told_and_the_others_are_computed(work, tries):
    work.function(
        """
        import os, signal

        def size(file) -> int:
            if file.size == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return file.size
        """
    )
    result = work.run("map", "f", "--as", "s", "--on-error", "keep", *tries, "--", "python", "info.py:size")
    assert result.returncode == 3, result.stderr
    rows = work.rows("s", "size, error")
    assert [n for n, _ in rows] == [None if n == 13 else n for n in SIZES]
    assert "killed the worker (signal 9, SIGKILL)" in rows[12][1]


def test_a_slow_row_among_fast_ones_is_the_one_that_is_told(work):
    """Answers of fast rows come together, but not if a row has a time limit: the row that takes long is the next one then."""
    work.function(
        """
        import time

        def size(file) -> int:
            if file.size == 13:
                time.sleep(60)
            return file.size
        """
    )
    words = ("--row-timeout", "2s", "--on-error", "keep", "--", "python", "info.py:size")
    assert work.run("map", "f", "--as", "s", *words).returncode == 3
    rows = work.rows("s", "size, error")
    assert [n for n, _ in rows] == [None if n == 13 else n for n in SIZES]
    assert "took longer than 2 s" in rows[12][1]


def test_a_forked_child_of_a_function_gives_no_answers(work):
    work.function(
        """
        import os, sys

        def size(file) -> int:
            child = os.fork()
            if child == 0:
                sys.exit(0)
            os.waitpid(child, 0)
            return file.size
        """
    )
    work.ok("map", "f", "--as", "s", "--", "python", "info.py:size")
    assert [n for (n,) in work.rows("s", "size")] == SIZES


def test_what_a_program_began_ends_with_it(work):
    work.write("forks", "#!/bin/sh\nsleep 1000 &\necho $! >> pids\nwc -c < $1\n")
    work.ok("map", "f", "--as", "s", "--where", "file.size < 4", "--out", "n: int", "--", "./forks", "{}")
    pids = (work.here / "pids").read_text().split()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), timeout=10)


WRONG = {
    "not there": ((), ["no-such-program"], 1, "no program `no-such-program` in PATH"),
    "not executable": ((), ["./plain"], 5, "`./plain` is not executable; `chmod +x ./plain`"),
    "no function": (("--out", ""), ["python", "info.py:nothing"], 2, "`info.py` has no `nothing`; it has"),
    "no types": ((), ["wc", "-c"], 2, "the types of the answers are missing"),
    "no annotation": ((), ["python", "info.py:bare"], 2, "what `bare` returns is not annotated"),
    "other column": ((), ["python", "info.py:other"], 2, "the function wants `nowhere`, and the dataset has no such column"),
    "clash": (("--out", "file: str"), ["wc", "-c"], 2, "the dataset has a column `file` already"),
    "bad types": (("--out", "n: integer"), ["wc", "-c"], 2, "`integer` is not a type"),
    "no JSON": (("--out", "n: int"), ["sh", "-c", "echo abc"], 5, "the answer is not JSON: `abc`"),
    "other type": (("--out", "n: int"), ["sh", "-c", "echo '\"1\"'"], 5, '`n` should be int, and is `"1"`'),
    "nothing printed": (("--out", "n: int"), ["true"], 5, "the program printed nothing"),
    "fails": (("--out", "n: int"), ["sh", "-c", "echo why >&2; exit 7"], 5, "exit code 7\n    why"),
    "noise before": (("--out", "n: int", "--worker"), ["echo", "Loading..."], 5, "the first line of the worker is not `{\"dcfs\":1}`: `Loading...`"),
    "ends early": (("--out", "n: int", "--worker"), ["true"], 5, "ended with exit code 0 before it said that it is ready"),
    "never ready": (("--out", "n: int", "--worker", "--start-timeout", "1s"), ["sh", "-c", "sleep 60"], 5, "did not say that it is ready within 1 s"),
    "other row": (("--out", "n: int", "--worker"), ["./other"], 5, "for a row that it does not have"),
    "answers noise": (("--out", "n: int", "--worker"), ["./noise"], 5, "the worker answered no JSON: `abc`"),
    "never answers": (("--out", "n: int", "--worker", "--row-timeout", "1s"), ["./silent"], 5, "took longer than 1 s (`--row-timeout`)"),
    "too slow": (("--out", "n: int", "--row-timeout", "1s"), ["sh", "-c", "sleep 60"], 5, "took longer than 1 s (`--row-timeout`)"),
    "too much": (("--out", "n: str"), ["sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' x"], 5, "answered more than 16 MiB"),
    "too much in a line": (("--out", "n: str", "--worker"), ["./flood"], 5, "answered more than 16 MiB in one line"),
    "fatal": (("--out", "n: int", "--worker"), ["./fatal"], 5, "the worker cannot go on: no GPU"),
    "changes its file": (("--out", "n: int"), ["./changes", "{}"], 5, "is no longer the object"),
    "a stdin nobody reads": (("--out", "n: int", "--stdin"), ["echo", "1"], 0, ""),
    "floods stderr": (("--out", "n: int"), ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo 1"], 0, ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_told(work, name):
    options, program, code, want = WRONG[name]
    work.function("def bare(file):\n    return 1\ndef other(file, nowhere) -> int:\n    return 1\n")
    work.write("plain", "echo 1", mode=0o644)
    hello = "#!/usr/bin/env python3\nimport sys, json, time\nprint('{\"dcfs\":1}', flush=True)\n"
    work.write("other", hello + "for line in sys.stdin: print('{\"id\":999,\"value\":1}', flush=True)\n")
    work.write("noise", hello + "for line in sys.stdin: print('abc', flush=True)\n")
    work.write("silent", hello + "time.sleep(60)\n")
    work.write("flood", hello + "for line in sys.stdin: print('x' * 30_000_000, flush=True)\n")
    work.write("fatal", hello + "for line in sys.stdin: print('{\"error\":\"no GPU\",\"kind\":\"fatal\"}', flush=True)\n")
    work.write("changes", '#!/bin/sh\necho more >> "$1"; echo 1\n')
    options = tuple(word for word in options if word != "") if name != "no function" else ()
    began = time.monotonic()
    result = work.run("map", "f", "--as", "s", "--jobs", "1", *options, "--", *program, timeout=120)
    assert (result.returncode, want in result.stderr) == (code, True), (result.returncode, result.stderr)
    assert "panicked" not in result.stderr and time.monotonic() - began < 60
    assert len(result.stderr) < 5000, "a message is a few lines"
    assert versions(work.here, "s") == ([] if code else ["1.0.0"])


def test_workers_that_die_again_and_again_end_the_run(work):
    work.write("dies", "#!/usr/bin/env python3\nimport sys\nprint('{\"dcfs\":1}', flush=True)\nsys.stdin.readline()\nsys.exit(3)\n")
    said = work.refused(5, "map", "f", "--as", "s", "--out", "n: int", "--worker", "--jobs", "1", "--tries", "9", "--", "./dies")
    assert "workers died 6 times in a minute" in said and "exit code 3" in said


def test_an_answer_that_comes_twice_is_told(work):
    work.write(
        "twice",
        "#!/usr/bin/env python3\nimport json, sys\nprint('{\"dcfs\":1}', flush=True)\n"
        "for line in sys.stdin:\n    answer = json.dumps({'id': json.loads(line)['id'], 'value': 1})\n    print(answer + '\\n' + answer, flush=True)\n",
    )
    said = work.refused(5, "map", "f", "--as", "s", "--out", "n: int", "--worker", "--jobs", "1", "--", "./twice")
    assert "for a row that it does not have" in said


def test_a_store_that_is_away_ends_the_run_whatever_is_kept(work):
    files = work.here / "files"
    for n in range(700):
        (files / f"gone_{n:03}").write_bytes(b"x")
    work.ok("index", "files", "--save", "f")
    for path in files.glob("gone_*"):
        path.unlink()
    work.function(COUNTED)
    said = work.refused(5, "map", "f", "--as", "s", "--on-error", "keep", "--max-errors", "1000", "--", "python", "info.py:size")
    assert "100 files in a row could not be fetched" in said and "is gone" in said


def test_a_version_that_is_removed_meanwhile_stops_the_run(work):
    files = work.here / "files"
    for n in range(600):
        (files / f"more_{n:03}").write_bytes(b"x")
    work.ok("index", "files", "--save", "g")
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.01"
    process = work.start("map", "g", "--as", "s", "--prefetch", "1", "--", "python", "info.py:size")
    wait_until(lambda: len(work.calls()) > 3)
    work.ok("rm", "g@1.0.0", "--yes")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 5 and "was removed" in said, said
    (run,) = work.runs()
    assert run["rows"] > 0 and versions(work.here, "s") == []


def test_a_catalog_that_is_removed_meanwhile_ends_the_run(work):
    work.function(COUNTED)
    work.dcfs.environment["SLOW"] = "0.05"
    process = work.start("map", "f", "--as", "s", "--commit", "1", "--", "python", "info.py:size")
    wait_until(lambda: len(work.calls()) > 3)
    shutil.rmtree(work.here / ".datachain")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 5 and "the run's file was removed meanwhile" in said and "panicked" not in said, said
    assert not (work.here / ".datachain" / "db").exists(), "no empty catalog is made in its place"


def test_a_dataset_without_files_has_columns(work):
    work.write("n.csv", "n\n1\n2\n")
    work.ok("load", "n.csv", "--as", "n")
    work.function("def double(n: int) -> int:\n    return 2 * n\ndef size(file) -> int:\n    return 1\n")
    assert "the dataset has no File column" in work.refused(2, "map", "n", "--as", "s", "--", "python", "info.py:size")
    assert "the dataset has no File column" in work.refused(2, "map", "n", "--as", "s", "--out", "n: int", "--", "wc", "-c")
    work.ok("map", "n", "--as", "d", "--", "python", "info.py:double")
    assert work.rows("d", "n, double") == [(1, 2), (2, 4)]


@pytest.mark.root
def test_a_full_disk_is_waited_for(work, tmp_path):
    """Results are held meanwhile, and nothing is lost."""
    work.function("def text(file) -> str:\n    return str(file.size) * 20_000\n")
    words = ("map", "f", "--as", "s", "--commit", "5", "--jobs", "1", "--", "python", "info.py:text")
    with mounts.small_disk(tmp_path / "disk", "4m") as disk:
        shutil.copytree(work.here / ".datachain", disk / ".datachain")
        (disk / "filler").write_bytes(b"x" * (disk_left(disk) - 200_000))
        process = work.start(*words[:2], "--catalog", disk, *words[2:])
        said = []
        for line in process.stderr:
            said.append(line)
            if "waiting: " in line and "full" in line:
                break
        assert process.poll() is None, said
        (disk / "filler").unlink()
        said.append(process.communicate(timeout=60)[1])
        assert process.returncode == 0, said
        with contextlib.closing(sqlite3.connect(disk / ".datachain" / "db")) as db:
            lengths = db.execute("SELECT length(text) FROM ds_local_local_s_1_0_0 ORDER BY sys__id").fetchall()
    assert [n for (n,) in lengths] == [len(str(size)) * 20_000 for size in SIZES]


def disk_left(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_a_locked_catalog_is_waited_for(work):
    work.function(COUNTED)
    work.ok("map", "f", "--as", "before", "--", "python", "info.py:size")
    work.dcfs.environment["SLOW"] = "0.02"
    process = work.start("map", "f", "--as", "s", "--", "python", "info.py:size")
    wait_until(lambda: len(work.calls()) > 32)
    with contextlib.closing(sqlite3.connect(work.here / ".datachain" / "db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        wait_until(lambda: len(work.calls()) == 60)
        time.sleep(1)
        assert process.poll() is None and versions(work.here, "s") == []
        db.execute("ROLLBACK")
    said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert [n for (n,) in work.rows("s", "size")] == SIZES


def test_wrong_words_are_told(work):
    work.function(COUNTED)
    program = ("--", "python", "info.py:size")
    cases = [
        (("map", "nothing", "--as", "s", *program), 1, "no dataset `nothing`"),
        (("map", "f", *program), 2, "--as"),
        (("map", "f", "--as", "lst__x", *program), 2, "lst__"),
        (("map", "f", "--as", "s"), 2, "PROGRAM"),
        (("map", "f", "--as", "s", "--depends", "nowhere", *program), 1, "`--depends nowhere`"),
        (("map", "f", "--as", "s", "--only", "file.size", *program), 2, "a column as a whole"),
        (("map", "f", "--as", "s", "--with-columns", "nowhere", *program), 2, "no column `nowhere`"),
        (("map", "f", "--as", "s", "--file", "nowhere", *program), 2, "`nowhere` is not a File column; there is `file`"),
        (("map", "f", "--as", "s", "--no-file", *program), 2, "the program wants the file"),
        (("map", "f", "--as", "f", "--delta", *program), 2, "was not made by `dcfs map`"),
        (("map", "f", "--as", "s", "--batch", "2", "--out", "n: int", "--", "wc"), 2, "`--batch` is for programs that stay"),
        (("runs", "rm", "nowhere"), 1, "no run `nowhere`"),
    ]
    for words, code, want in cases:
        assert want in work.refused(code, *words), words
    assert work.runs() == []


def test_one_bad_row_of_a_batch_is_the_only_one_that_fails(work):
    work.function("def f(file) -> list[int]:\n    assert all(one.size != 9 for one in file)\n    return [one.size for one in file]\n")
    words = ("map", "f", "--as", "s", "--batch", "8", "--out", "n: int", "--on-error", "keep", "--", "python", "info.py:f")
    assert work.run(*words).returncode == 3
    assert [n for (n,) in work.rows("s", "n")] == [None if n == 9 else n for n in SIZES]
