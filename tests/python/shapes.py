"""The catalog of shapes: one of each thing that DataChain 0.62 can write, made by DataChain itself.

`build(folder)` writes the files below `folder/data`, runs the scripts beside this file over them, and
leaves `folder/.datachain/db`. Two things DataChain cannot do on a machine of its own are then done
in SQL, on the finished catalog: a dataset of another namespace and project (they come from Studio
pulls), and a path that is not UTF-8 (Python refuses to write it, other writers may not).
"""

import io
import os
import sqlite3
import subprocess
import sys
import tarfile
import uuid
import wave
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import datachain_runs
import sql

DRAW = Path(__file__).parent.parent / "demo" / "draw.py"

HOSTILE_FILES = [
    b"a b",
    b"%20",
    b"%2E",
    b"%",
    b"#",
    b"[x]",
    b"*",
    b"?",
    b"+",
    b"~",
    b"...",
    b".hidden",
    b"-rf",
    b" lead",
    b"trail ",
    b"new\nline",
    b"q'uo\"te",
    b"back\\slash",
    b"a%2Fb",
    b"x" * 255,
    "\U0001f600 \u65e5\u672c.jpg".encode(),
    b"_schema.json",
    b"_README.md",
    b"_rows.jsonl",
    b"_count",
    b"_views/x",
    b"width > 400",
    b"deep/_schema.json",
    b"deep/_views/x",
    b"README.md",
]

MEMBERS = ["a/x.txt", "b.txt", "d e.txt", "./dot.txt", "c/../e.txt", "empty.txt"]


def build(folder):
    """Makes the catalog below the empty `folder`."""
    write_sources(folder / "data")
    for script in ("pets", "typed", "archives", "names", "versions"):
        datachain_runs.run(script, folder)
    with closing(sqlite3.connect(folder / ".datachain" / "db")) as db, db:
        move_to_team(db, "of_the_team")
    add_row_not_utf8(folder)


def write_sources(data):
    """Images and masks, hostile names, tars and sounds."""
    subprocess.run([sys.executable, DRAW, data, "6"], check=True)
    for name in HOSTILE_FILES:
        write(data / "odd", name, b"bytes of " + name)
    for number in range(2):
        write_tar(data / "tars" / f"t{number}.tar", number)
        write_sound(data / "audio" / f"a{number}.wav")


def write(folder, name, content):
    """One file whose name is bytes, below `folder`."""
    path = bytes(folder) + b"/" + name
    Path(path.decode("utf-8", "surrogateescape")).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def write_tar(path, number):
    """A plain tar, including member names that a careless reader would lose."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in MEMBERS:
            content = b"" if name == "empty.txt" else f"{number} {name}".encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_sound(path):
    """A second of silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))


def move_to_team(db, name):
    """Makes `name` a dataset of namespace `team`, project `prod`, as a pull from Studio would."""
    now = "2024-01-01 00:00:00"
    namespace = db.execute(
        "INSERT INTO namespaces (uuid, name, created_at) VALUES (?, 'team', ?)", (str(uuid.uuid4()), now)
    ).lastrowid
    project = db.execute(
        "INSERT INTO projects (uuid, name, created_at, namespace_id) VALUES (?, 'prod', ?, ?)",
        (str(uuid.uuid4()), now, namespace),
    ).lastrowid
    db.execute("UPDATE datasets SET project_id = ? WHERE name = ?", (project, name))
    db.execute(f'ALTER TABLE "ds_local_local_{name}_1_0_0" RENAME TO "ds_team_prod_{name}_1_0_0"')


def add_row_not_utf8(folder):
    """Adds a file to dataset `odd` whose path is the bytes `bad ff .bin`."""
    content = b"not UTF-8"
    write(folder / "data" / "odd", b"bad\xff.bin", content)
    mtime = os.stat(bytes(folder) + b"/data/odd/bad\xff.bin").st_mtime
    row = {
        "file__size": len(content),
        "file__etag": mtime.hex(),
        "file__last_modified": f"{datetime.fromtimestamp(mtime, timezone.utc):%Y-%m-%d %H:%M:%S.%f}",
    }
    sql.add_rows(folder, "odd", [row])
    sql.change(
        folder,
        "UPDATE ds_local_local_odd_1_0_0 SET file__path = CAST(x'626164ff2e62696e' AS TEXT)"
        " WHERE sys__id = (SELECT max(sys__id) FROM ds_local_local_odd_1_0_0)",
    )
