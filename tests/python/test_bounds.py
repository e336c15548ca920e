"""The resources that a stranger's catalog, or a reader, can make dcfs use: memory, processor, disk, pages, log."""

import os
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing

import pytest

import mounts
import sql


MEASURE = """
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
quiet = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
print(os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)[2].ru_maxrss)
"""
"""Run by a process that is small itself: what a process had before it became another one counts for that one too."""


def peak(dcfs, *words):
    """The exit code, the errors, and the peak memory in KiB of a command."""
    result = dcfs.run(*words)
    command = [sys.executable, "-c", MEASURE, mounts.DCFS, *map(str, words)]
    measured = subprocess.run(command, env=dcfs.environment, check=True, capture_output=True, text=True)
    return result.returncode, result.stderr, int(measured.stdout)


def changed(small_catalog, tmp_path, script):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db:
        db.executescript(script)
    return catalog


COMPUTED = """
    DROP TABLE meta;
    CREATE TABLE meta (id INTEGER PRIMARY KEY, schema_version TEXT AS (printf('%.*c', 900000000, '1')));
    INSERT INTO meta (id) VALUES (1);
"""

VIRTUAL = "CREATE VIRTUAL TABLE words USING fts5(text)"

ENLARGED = "UPDATE datasets SET description = printf('%.*c', 100000000, 'x')"


@pytest.mark.parametrize("script, says", [(COMPUTED, "not one that DataChain made"), (VIRTUAL, "virtual table `words`")])
def test_tables_that_compute_are_refused(dcfs, small_catalog, tmp_path, script, says):
    code, errors, memory = peak(dcfs, "ls", "--catalog", changed(small_catalog, tmp_path, script))
    assert code != 0 and says in errors
    assert memory < 200 << 10, "KiB"


def test_a_cell_of_a_hundred_megabytes_is_an_error(dcfs, small_catalog, tmp_path):
    catalog = changed(small_catalog, tmp_path, ENLARGED)
    code, errors, memory = peak(dcfs, "lineage", "few", "--catalog", catalog)
    assert code != 0 and "too big" in errors
    assert memory < 300 << 10, "KiB"


def number(value):
    """A varint of SQLite's file format: seven bits per byte, with the high bit set in all but the last byte."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.insert(0, value & 0x7F | 0x80)
    return bytes(out)


def make_endless(path, table, levels=6):
    """Adds pages above the leaf of a table that name the page below them as often as there is room."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    data = bytearray(path.read_bytes())
    size = struct.unpack(">H", data[16:18])[0]
    start = (root - 1) * size
    leaf = bytes(data[start : start + size])
    assert leaf[0] == 13, "a table of one page"
    pages = [leaf]
    for level in range(levels):
        below = len(data) // size + len(pages)
        cell = struct.pack(">I", below) + number(1 << 50)
        count = (size - 12) // (len(cell) + 2)
        offsets = [size - (n + 1) * len(cell) for n in range(count)]
        page = struct.pack(">BHHHBI", 5, 0, count, offsets[-1], 0, below)
        page += b"".join(struct.pack(">H", offset) for offset in offsets)
        page += bytes(size - len(page) - count * len(cell)) + cell * count
        if level == levels - 1:
            data[start : start + size] = page
        else:
            pages.append(page)
    data += b"".join(pages)
    data[28:32] = struct.pack(">I", len(data) // size)
    path.write_bytes(data)


@pytest.mark.mount
def test_work_on_an_endless_table_ends(dcfs, small_catalog, tmp_path):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    make_endless(catalog / ".datachain" / "db", "ds_local_local_few_1_0_0")
    with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "2s") as mount:
        with pytest.raises(OSError):
            os.listdir(mount.datasets / "few")
        pid = mount.daemon()

        def used():
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        until = time.monotonic() + 60
        while True:
            before = used()
            time.sleep(1)
            if used() - before < 10:
                break
            assert time.monotonic() < until, "still at it a minute later"
    # Rows are read in order, and refused as soon as their ids decrease.
    refused = dcfs.run("count", "few", "--where", "file.size > 3", "--catalog", catalog)
    assert refused.returncode != 0 and "must ascend" in refused.stderr


def test_counting_an_endless_table_ends(dcfs, small_catalog, tmp_path):
    """Where a version's recorded count and its ids disagree its rows are counted, in steps that are bounded by the file."""
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        assert db.execute("UPDATE datasets_versions SET num_objects = num_objects + 1").rowcount
    assert dcfs.ok("count", "few", "--where", "file.size >= 0", "--catalog", catalog) == "9\n"
    make_endless(catalog / ".datachain" / "db", "ds_local_local_few_1_0_0")
    refused = dcfs.run("count", "few", "--where", "file.size > 3", "--catalog", catalog, "--cache-dir", tmp_path / "other")
    assert refused.returncode != 0 and "take more steps than its size can explain" in refused.stderr, refused


@pytest.mark.mount
def test_a_reader_that_is_killed_ends_and_so_does_its_work(dcfs, small_catalog, tmp_path):
    """Long before the time-out, of a server that never answers: the process, and the request that was made for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
        with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
            where = f"http://127.0.0.1:{server.getsockname()[1]}"
            db.execute(f"UPDATE {sql.table_of('few')} SET file__source = ?", (where,))
        with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "600s", "--prefetch", "off") as mount:
            for signal in ["TERM", "INT", "KILL"]:
                reader = subprocess.Popen(["cat", mount.datasets / "few/a/0.txt"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                asked, _ = server.accept()
                asked.settimeout(60)
                assert asked.recv(65536).startswith(b"GET ")
                subprocess.run(["kill", f"-{signal}", str(reader.pid)], check=True)
                assert reader.wait(timeout=60) != 0
                assert asked.recv(65536) == b"", "nobody waits for the answer any more"
                asked.close()


def test_a_script_of_a_megabyte_makes_no_large_page(dcfs, small_catalog, tmp_path):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        db.execute("UPDATE datasets_versions SET query_script = printf('%.*c', 1000000, '`')")
    page = dcfs.ok("lineage", "few", "--catalog", catalog)
    assert len(page) < 256 << 10 and "more are left out" in page


def test_equal_and_quadratic_edges_make_no_large_page(dcfs, small_catalog, tmp_path):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        named = "SELECT d.id, v.id FROM datasets d JOIN datasets_versions v ON v.dataset_id = d.id WHERE d.name = ?"
        dataset, version = db.execute(named, ("few",)).fetchone()
        edge = "INSERT INTO datasets_dependencies (source_dataset_id, source_dataset_version_id, dataset_id, dataset_version_id) VALUES (?, ?, ?, ?)"
        db.executemany(edge, [(dataset, version, dataset, version)] * 100_000)
        columns = [row[1] for row in db.execute("PRAGMA table_info(datasets_versions)") if row[1] not in ("id", "uuid", "version")]
        (made,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'ds_local_local_few_1_0_0'").fetchone()
        for n in range(300):
            db.execute(
                f"INSERT INTO datasets_versions (id, uuid, version, {', '.join(columns)}) SELECT ?, ?, ?, {', '.join(columns)} FROM datasets_versions WHERE id = ?",
                (1000 + n, f"uuid-{n}", f"2.0.{n}", version),
            )
            db.execute(made.replace("few_1_0_0", f"few_2_0_{n}"))
        db.executemany(edge, [(dataset, 1000 + a, dataset, 1000 + b) for a in range(300) for b in range(300)])
    for wanted in ["few@1.0.0", "few@2.0.7"]:
        for form in ["md", "json", "dot"]:
            page = dcfs.ok("lineage", wanted, "--format", form, "--catalog", catalog)
            assert len(page) < 1 << 20, (wanted, form)
    assert "more" in dcfs.ok("lineage", "few@2.0.7", "--catalog", catalog)
