"""Random shapes and values: dcfs writes, DataChain reads and saves, dcfs reads the result, and nothing is lost."""

import base64
import json
import os
import struct
import subprocess
from datetime import datetime, timedelta, timezone

import pytest

import datachain_runs
import mounts

PROGRAM = mounts.DCFS.parent / "examples" / "roundtrip"

ROUNDS = int(os.environ.get("DCFS_ROUNDS", "30"))
"""Datasets; `make soak` draws more."""

SEED = int(os.environ.get("DCFS_ROUNDTRIP_SEED", "0"))
"""The number of the first."""

BATCH = 15
"""Datasets of one catalog, and of one process of Python."""

SAVED = ("", "_copy", "_remade")
"""Datasets that dcfs wrote, and those that `scripts/roundtrip.py` saved from them."""


def program(*words):
    return json.loads(subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True, text=True, encoding="utf-8").stdout)


@pytest.fixture(scope="module", params=range(SEED, SEED + ROUNDS, BATCH))
def catalog(request, tmp_path_factory):
    """A catalog of random datasets after Python has processed it: its folder, and the written values."""
    assert PROGRAM.exists(), f"no {PROGRAM}: cargo build --example roundtrip"
    folder = tmp_path_factory.mktemp("roundtrip")
    seeds = range(request.param, min(request.param + BATCH, SEED + ROUNDS))
    wanted = {f"drawn_{seed}": program("write", folder / ".datachain" / "db", seed, f"drawn_{seed}") for seed in seeds}
    (folder / "side.json").write_text(json.dumps(wanted))
    datachain_runs.run("roundtrip", folder, folder / "side.json", timeout=60 + 20 * BATCH)
    return folder, wanted


def test_values_come_back(catalog):
    """Cell by cell, as stored in the catalog."""
    folder, wanted = catalog
    for name, side in wanted.items():
        for suffix in SAVED:
            found = program("read", folder / ".datachain" / "db", name + suffix)
            assert found == side, (name, suffix)


def test_rows_are_shown_alike(catalog, dcfs):
    folder, wanted = catalog
    for name, side in wanted.items():
        expected = [[plain(value) for value in row] for row in side["rows"]]
        for suffix in SAVED:
            lines = dcfs.ok("show", "--catalog", folder, name + suffix, "--format", "jsonl").split("\n")
            rows = [json.loads(line) for line in lines[:-1]]
            found = [[normal(row[signal], kind) for signal, kind, _ in side["signals"]] for row in rows]
            assert found == expected, (name, suffix)


def test_types_are_told_alike(catalog, dcfs):
    folder, wanted = catalog
    for name in wanted:
        told = [json.loads(dcfs.ok("schema", "--catalog", folder, name + suffix, "--json")) for suffix in SAVED]
        columns = [[shape(column) for column in one["columns"]] for one in told]
        assert columns[1] == columns[0] and columns[2] == columns[0], name


def shape(column):
    """The parts of a column's entry that do not depend on the version or on the name of its model."""
    return {
        name: [shape(field) for field in value] if name == "fields" else value
        for name, value in column.items()
    }


def plain(value):
    """A value of a side file as `dcfs show` prints it."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    return {
        "float": lambda: normal(struct.unpack("<d", struct.pack("<Q", inner))[0]),
        "time": lambda: inner,
        "bytes": lambda: base64.b64encode(bytes.fromhex(inner)).decode(),
        "dict": lambda: inner,
        "model": lambda: {name: plain(field) for name, field in inner.items()},
    }[kind]()


def normal(value, kind=None):
    """The result of `json`, times as microseconds, and a NaN that equals itself."""
    if value is None:
        return None
    if isinstance(kind, list):
        return {name: normal(value[name], of) for name, of, _ in kind}
    if kind == "file":
        return value | {"last_modified": normal(value["last_modified"], "datetime")}
    if kind == "datetime":
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    if isinstance(value, list):
        return [normal(one, kind[len("list[") : -1]) for one in value]
    if isinstance(value, float) and value != value:
        return "NaN"
    return value
