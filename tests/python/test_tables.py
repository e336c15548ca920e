"""`_rows.*` as read by common programs, against what DataChain itself reads."""

import base64
import csv
import datetime
import json
import math
import mmap
import os
import pickle
import subprocess

import duckdb
import numpy
import pandas
import pyarrow.csv
import pyarrow.json
import pyarrow.ipc
import pyarrow.parquet
import pytest

import datachain_runs

pytestmark = pytest.mark.mount

DATASETS = [
    "pets_raw",
    "pets_large",
    "pets_masked",
    "typed",
    "pairs",
    "per_kind",
    "partial",
    "partial_listed",
    "numbers",
    "empty",
    "members",
    "fragments",
]

TABLES = ["_rows.jsonl", "_rows.csv", "_rows.parquet", "_rows.arrow"]


@pytest.fixture(scope="session")
def values(shapes_catalog, tmp_path_factory):
    """`{dataset: rows}`, by DataChain."""
    out = tmp_path_factory.mktemp("values") / "pickle"
    datachain_runs.run("values", shapes_catalog, out, *DATASETS)
    with open(out, "rb") as file:
        return pickle.load(file)


@pytest.fixture(autouse=True)
def quiet(shapes_mount):
    yield
    assert shapes_mount.dcfs.worries() == []


def nothing(value):
    """NULL, or NaN, which DataChain stores as NULL."""
    return value is None or value is pandas.NaT or value is pandas.NA or (isinstance(value, float) and math.isnan(value))


def moment(value):
    """A time without its zone, which is UTC."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, numpy.datetime64):
        value = pandas.Timestamp(value)
    if value.tzinfo:
        value = value.astimezone(datetime.timezone.utc)
    return value.replace(tzinfo=None)


def same(found, wanted, loose=False):
    """Whether a reader's value is DataChain's. `loose`: nothing and an empty text are one (CSV)."""
    if nothing(wanted) or (loose and wanted == ""):
        return nothing(found) or (loose and found == "")
    if isinstance(wanted, datetime.datetime) or isinstance(found, datetime.datetime):
        return moment(found) == moment(wanted)
    if isinstance(wanted, bytes):
        return (base64.b64decode(found) if isinstance(found, str) else bytes(found)) == wanted
    if isinstance(wanted, (dict, list)) and isinstance(found, str):
        found = json.loads(found)
    if isinstance(wanted, dict):
        found = dict(found)
        return all(same(found.get(key), item, loose) for key, item in wanted.items())
    if isinstance(wanted, list):
        found = list(found)
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(found, str) and not isinstance(wanted, str):
        found = {"true": True, "false": False}.get(found) if isinstance(wanted, bool) else type(wanted)(found)
    # A text that reads as a number is a number to readers that guess types.
    return found == wanted or (loose and str(found) == str(wanted))


def check(found, wanted, loose=False):
    assert len(found) == len(wanted)
    for number, (row, record) in enumerate(zip(found, wanted)):
        for name, value in record.items():
            assert same(row[name], value, loose), (number, name, row[name], value)


def flat(record, above=""):
    """Dotted names, as in CSV; those of absent models are left out."""
    for name, value in record.items():
        if isinstance(value, dict) and name not in ("facts", "location"):
            yield from flat(value, f"{above}{name}.")
        elif not (value is None and name in ("box", "right")):
            yield f"{above}{name}", value


def nested(relation):
    return [dict(zip(relation.columns, row)) for row in relation.fetchall()]


def from_arrow(path):
    rows = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()  # noqa: F841 - DuckDB finds it by its name.
    return duckdb.sql("FROM rows")


READERS = {
    "json": lambda path: [json.loads(line) for line in open(path)],
    "pandas jsonl": lambda path: pandas.read_json(path, lines=True, convert_dates=False, dtype=False).to_dict("records"),
    "pyarrow jsonl": lambda path: pyarrow.json.read_json(path).to_pylist(),
    "duckdb jsonl": lambda path: nested(duckdb.sql(f"FROM read_json('{path}')")),
    "pandas parquet": lambda path: pandas.read_parquet(path).to_dict("records"),
    "pyarrow parquet": lambda path: pyarrow.parquet.read_table(path).to_pylist(),
    "duckdb parquet": lambda path: nested(duckdb.sql(f"FROM read_parquet('{path}')")),
    "pyarrow arrow": lambda path: pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all().to_pylist(),
    "duckdb arrow": lambda path: nested(from_arrow(path)),
    "csv": lambda path: list(csv.DictReader(open(path, newline=""))),
    "pandas csv": lambda path: pandas.read_csv(path).to_dict("records"),
    "pyarrow csv": lambda path: pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)).to_pylist(),
    "duckdb csv": lambda path: nested(duckdb.sql(f"FROM read_csv('{path}', header=true)")),
}


def table(reader):
    return "_rows." + {"json": "jsonl", "csv": "csv"}.get(reader, reader.split(" ")[-1])


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_sees_what_datachain_does(shapes_mount, values, name, reader):
    path = shapes_mount.datasets / name / table(reader)
    if name == "empty" and reader.endswith("jsonl"):
        assert path.read_bytes() == b""
        return
    found, wanted = READERS[reader](path), values[name]
    if "csv" in reader:
        check(found, [dict(flat(record)) for record in wanted], loose=True)
    else:
        check(found, wanted)


@pytest.mark.parametrize("name", ["pets_raw", "pets_masked", "members", "pairs"])
def test_the_path_leads_to_the_file(shapes_mount, values, name):
    folder = shapes_mount.datasets / name
    for row, record in zip(READERS["json"](folder / "_rows.jsonl"), values[name]):
        paths = row["path"] if isinstance(row["path"], dict) else {None: row["path"]}
        for path in filter(None, paths.values()):
            assert (folder / path).is_file(), path
        (first, *_) = paths.values()
        file = next(v for v in record.values() if isinstance(v, dict))
        file = file if "path" in file else next(v for v in file.values() if isinstance(v, dict))
        assert (folder / first).stat().st_size == file["size"]


@pytest.mark.parametrize("name", ["pets_masked", "typed", "empty", "numbers"])
def test_everyone_agrees_on_the_size(shapes_mount, tmp_path, name):
    for path in [shapes_mount.datasets / name / table for table in [*TABLES, "_count"]]:
        size = path.stat().st_size
        subprocess.run(["cp", path, tmp_path / "copy"], check=True)
        assert (tmp_path / "copy").stat().st_size == size
        counted = subprocess.run(["wc", "-c", path], check=True, capture_output=True, text=True)
        assert int(counted.stdout.split()[0]) == size
        content = path.read_bytes()
        assert len(content) == size
        if size:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                assert mapped[:] == content
        if path.suffix in (".jsonl", ".csv"):
            last = subprocess.run(["tail", "-n1", path], check=True, capture_output=True)
            assert last.stdout == b"".join(content.splitlines(keepends=True)[-1:])


def test_the_count_is_that_of_the_rows(shapes_mount, values):
    for name in DATASETS:
        assert int((shapes_mount.datasets / name / "_count").read_text()) == len(values[name])


def test_tables_are_there_by_name_and_never_listed(shapes_mount):
    folder = shapes_mount.datasets / "pets_raw"
    hidden = {*TABLES, "_count", "_views"}
    assert not hidden & set(os.listdir(folder))
    assert all((folder / name).exists() for name in hidden)
    for name in [*TABLES, "_count"]:
        with pytest.raises(OSError):
            open(folder / name, "w")
