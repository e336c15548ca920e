"""`dcfs load` of tables of Delta Lake: the same rows as `deltalake` reads, version by version, and logs that are wrong."""

import json
import random
import shutil
import zlib
from pathlib import Path

import deltalake
import pyarrow
import pytest
from pyarrow import compute, parquet

from lakes import Home, in_order, plain, wide
from written import leftovers, versions

LOG = "_delta_log"

# Rows 3, 4, 7, 11, 18, 29.
VECTOR = {
    "storageType": "i",
    "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
    "sizeInBytes": 44,
    "cardinality": 6,
}


@pytest.fixture
def home(dcfs, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return Home(dcfs, folder)


def by_deltalake(table, version=None):
    rows = deltalake.DeltaTable(table, version=version).to_pyarrow_table().to_pylist()
    return in_order([plain(row) for row in rows])


def test_a_table_of_delta_lake_has_the_rows_of_each_version(home, dcfs):
    write = deltalake.write_deltalake
    write(home.table, wide(range(20)), partition_by=["k", "p"])
    write(home.table, wide(range(20, 30)), mode="append")
    deltalake.DeltaTable(home.table).delete("n % 4 = 1")
    deltalake.DeltaTable(home.table).create_checkpoint()
    added = wide(range(40, 44)).append_column("more", pyarrow.array([1.5, None, 2.5, 3.5]))
    write(home.table, added, mode="append", schema_mode="merge")
    deltalake.DeltaTable(home.table).optimize.compact()
    newest = deltalake.DeltaTable(home.table).version()
    assert newest >= 4
    assert home.ok("t")[0].startswith(f"{home.table}, version {newest}: ")
    for version in range(newest + 1):
        told = home.ok("t", "--at", version, name=f"v{version}")
        assert told[0].startswith(f"{home.table}, version {version}: ")
        assert home.rows(f"v{version}") == by_deltalake(home.table, version), f"version {version}"
    assert home.rows() == by_deltalake(home.table)
    types = dict(line.split(": ", 1) for line in home.ok("t", "--dry-run"))
    assert types["text"] == "str" and types["day"] == "datetime" and types["p"] == "Optional[int]"
    assert types["more"] == "Optional[float]" and types["price"] == "float", types
    lineage = home.other("lineage", "d")
    assert f"`{home.table}` (Delta Lake, version {newest})" in lineage
    # Without the versions that the checkpoint sums up, and where only part of a later checkpoint was written.
    checkpoint = next((home.path / "t" / LOG).glob("*.checkpoint.parquet"))
    summed = int(checkpoint.name[:20])
    for version in range(summed + 1):
        (home.path / "t" / LOG / f"{version:020}.json").unlink()
    part = home.path / "t" / LOG / f"{newest:020}.checkpoint.0000000001.0000000002.parquet"
    part.write_bytes(b"not all of it")
    home.ok("t", name="later")
    assert home.rows("later") == by_deltalake(home.table)
    home.ok("t", "--at", summed, name="summed")
    assert home.rows("summed") == home.rows(f"v{summed}")
    assert "its log has no version 0 any more" in home.run("t", "--at", 1, name="gone").stderr
    assert f"it has no version {newest + 1}; the newest is {newest}" in home.run("t", "--at", newest + 1).stderr


def test_a_checkpoint_in_parts_and_one_with_sidecars(home):
    for n in range(6):
        deltalake.write_deltalake(home.table, wide(range(n * 5, n * 5 + 5)), mode="append", partition_by=["p"])
    want = by_deltalake(home.table)
    table = deltalake.DeltaTable(home.table)
    table.create_checkpoint()
    log = home.path / "t" / LOG
    whole = next(log.glob("*.checkpoint.parquet"))
    actions = parquet.read_table(whole)
    whole.unlink()
    for path in log.glob("*.json"):
        path.unlink()
    cut = actions.num_rows // 3
    parts = [actions.slice(0, cut), actions.slice(cut, cut), actions.slice(2 * cut)]
    for number, part in enumerate(parts, 1):
        parquet.write_table(part, log / f"{5:020}.checkpoint.{number:010}.{3:010}.parquet", compression="zstd")
    assert home.ok("t")[0].startswith(f"{home.table}, version 5: ")
    assert home.rows() == want
    # The second form: a file of JSON that names others.
    for path in log.glob("*.parquet"):
        path.unlink()
    is_file = compute.is_valid(actions["add"])
    (log / "_sidecars").mkdir()
    parquet.write_table(actions.filter(is_file), log / "_sidecars/a.parquet", compression="gzip")
    rest = [
        {key: value for key, value in row.items() if value is not None}
        for row in actions.filter(compute.invert(is_file)).select(["protocol", "metaData"]).to_pylist()
    ]
    for row in rest:
        if "metaData" in row:
            row["metaData"]["configuration"] = dict(row["metaData"].get("configuration") or [])
            row["metaData"].pop("format", None)
        if "protocol" in row:
            row["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"]}
    size = (log / "_sidecars/a.parquet").stat().st_size
    rest.append({"checkpointMetadata": {"version": 5}})
    rest.append({"sidecar": {"path": "a.parquet", "sizeInBytes": size, "modificationTime": 0}})
    named = log / f"{5:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
    named.write_text("".join(json.dumps(row) + "\n" for row in rest if row))
    home.ok("t", name="named")
    assert home.rows("named") == want
    named.write_text(named.read_text().replace("a.parquet", "../../../x.parquet"))
    assert "which is no path below it" in home.run("t", name="outside").stderr


def test_only_new_files_of_a_table_are_read(home):
    deltalake.write_deltalake(home.table, wide(range(10)))
    deltalake.write_deltalake(home.table, wide(range(10, 20)), mode="append")
    assert home.ok("t", "--delta")[1:] == ["saved d@1.0.0: 20 rows"]
    assert home.ok("t", "--delta")[1:] == ["files: 2 unchanged, 0 new, 0 changed, 0 gone", "nothing new; d@1.0.0 is as it was"]
    deltalake.write_deltalake(home.table, wide(range(20, 25)), mode="append")
    deltalake.DeltaTable(home.table).delete("n = 13")
    assert home.ok("t", "--delta")[1:] == ["files: 1 unchanged, 2 new, 0 changed, 1 gone", "saved d@1.0.1: 24 rows"]
    assert home.rows() == by_deltalake(home.table)
    deltalake.write_deltalake(home.table, wide(range(30, 35)), mode="append")
    assert home.other("refresh", "d").splitlines()[-1] == "saved d@1.0.2: 29 rows"
    assert home.rows() == by_deltalake(home.table)
    assert "--keep-deleted is not for tables" in home.run("t", "--delta", "--keep-deleted").stderr
    # A table with another schema is read anew, and says why.
    more = wide(range(50, 51)).append_column("more", pyarrow.array(["x"]))
    deltalake.write_deltalake(home.table, more, mode="append", schema_mode="merge")
    result = home.run("t", "--delta")
    assert "loaded with other options: all files are read" in result.stderr
    assert home.rows() == by_deltalake(home.table)


class Written:
    """A table whose log is written here."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / LOG).mkdir(parents=True)
        self.version = 0

    def file(self, name, table):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, path)
        return {"path": name, "partitionValues": {}, "size": path.stat().st_size, "modificationTime": 1, "dataChange": True}

    def commit(self, *actions):
        lines = "".join(json.dumps(action) + "\n" for action in actions)
        (self.folder / LOG / f"{self.version:020}.json").write_text(lines)
        self.version += 1


def protocol(*features):
    if features:
        return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}}
    return {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}


def column(name, kind="long", nullable=True, **metadata):
    return {"name": name, "type": kind, "nullable": nullable, "metadata": metadata}


def schema(*columns, partitions=(), **settings):
    told = json.dumps({"type": "struct", "fields": columns})
    form = {"provider": "parquet", "options": {}}
    return {
        "metaData": {
            "id": "x", "format": form, "schemaString": told, "partitionColumns": list(partitions), "configuration": settings
        }
    }  # fmt: skip


def test_deleted_rows_stay_away(home):
    table = Written(home.table)
    add = table.file("a.parquet", pyarrow.table({"n": range(40)}))
    table.commit(protocol("deletionVectors"), schema(column("n")), {"add": add})
    table.commit({"remove": {"path": "a.parquet", "dataChange": True}}, {"add": add | {"deletionVector": VECTOR}})
    gone = {3, 4, 7, 11, 18, 29}
    home.ok("t", "--delta")
    assert [row["n"] for row in home.rows()] == sorted(set(range(40)) - gone, key=lambda n: json.dumps({"n": n}))
    home.ok("t", "--at", 0, name="before")
    assert len(home.rows("before")) == 40
    # In a file: its length and its checksum stand around it.
    body = bytes.fromhex("d1d339640100000000000000000000003a300000010000000000050010000000")
    body += b"".join(row.to_bytes(2, "little") for row in sorted(gone))
    name = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    (Path(home.table) / "ab").mkdir()
    path = Path(home.table) / name
    path.write_bytes(b"\x01" + len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big"))
    in_file = VECTOR | {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 1, "sizeInBytes": len(body)}
    remove = {"remove": {"path": "a.parquet", "dataChange": True, "deletionVector": VECTOR}}
    table.commit(remove, {"add": add | {"deletionVector": in_file}})
    assert home.ok("t", "--delta")[1] == "files: 0 unchanged, 0 new, 1 changed, 0 gone"
    assert len(home.rows()) == 34
    damaged = bytearray(path.read_bytes())
    damaged[20] ^= 1
    path.write_bytes(damaged)
    assert "its deletion vector at byte 1 is damaged" in home.run("t").stderr
    path.unlink()
    assert name in home.run("t").stderr
    table.commit({"remove": {"path": "a.parquet", "deletionVector": in_file}}, {"add": add | {"deletionVector": VECTOR | {"cardinality": 7}}})
    assert "tells rows that it does not have" in home.run("t").stderr


@pytest.mark.parametrize("mode", ["name", "id"])
def test_renamed_columns_keep_their_values(home, mode):
    table = Written(home.table)

    def mapped(name, number, stored, kind="long"):
        return column(name, kind, **{"delta.columnMapping.id": number, "delta.columnMapping.physicalName": stored})

    def field(name, kind, number):
        return pyarrow.field(name, kind, metadata={"PARQUET:field_id": str(number)})

    inner = pyarrow.struct([field("col-w", pyarrow.int64(), 3)])
    kept = pyarrow.schema([field("col-b", inner, 2), field("col-n", pyarrow.int64(), 1), field("dropped", pyarrow.int64(), 9)])
    rows = [{"col-n": n, "col-b": {"col-w": 10 * n}, "dropped": 1} for n in range(3)]
    add = table.file("a.parquet", pyarrow.Table.from_pylist(rows, schema=kept))
    columns = [
        mapped("number", 1, "col-n"),
        mapped("box", 2, "col-b", {"type": "struct", "fields": [mapped("width", 3, "col-w")]}),
        mapped("new", 4, "col-new", "string"),
        mapped("part", 5, "col-part", "date"),
    ]
    add["partitionValues"] = {"col-part": "2024-05-06"}
    settings = {"delta.columnMapping.mode": mode}
    table.commit(protocol("columnMapping"), schema(*columns, partitions=["part"], **settings), {"add": add})
    home.ok("t")
    day = "2024-05-06T00:00:00.000000Z"
    assert home.rows() == [{"number": n, "box": {"width": 10 * n}, "new": None, "part": day} for n in range(3)]


def test_a_log_that_is_wrong_is_refused_and_nothing_is_saved(home):
    rows = pyarrow.table({"n": range(5), "t": list("abcde")})
    columns = [column("n"), column("t", "string")]
    vector = {"deletionVector": VECTOR | {"pathOrInlineDv": "^Bg9^"}}

    def deep(levels):
        kind = "long"
        for _ in range(levels):
            kind = {"type": "array", "elementType": kind, "containsNull": True}
        return kind

    cases = [
        ("`variantType`, which is not read", lambda add: [protocol("variantType"), schema(*columns), {"add": add}]),
        ("it needs version 4", lambda add: [{"protocol": {"minReaderVersion": 4}}, schema(*columns), {"add": add}]),
        ("does not list its features", lambda add: [{"protocol": {"minReaderVersion": 3}}, schema(*columns), {"add": add}]),
        ("tells no schema", lambda add: [protocol(), {"add": add}]),
        ("tells no protocol", lambda add: [schema(*columns), {"add": add}]),
        ("outside of it; allow that folder with `--local-root`", lambda add: [protocol(), schema(*columns), {"add": add | {"path": "file:///etc/passwd"}}]),
        ("outside of it; allow that folder with `--allow-uri`", lambda add: [protocol(), schema(*columns), {"add": add | {"path": "s3://b/x"}}]),
        ("no path below it", lambda add: [protocol(), schema(*columns), {"add": add | {"path": "../a.parquet"}}]),
        ("no path below it", lambda add: [protocol(), schema(*columns), {"add": add | {"path": "x/%2e%2e/%2e%2e/a.parquet"}}]),
        ("it is no file", lambda add: [protocol(), schema(*columns), {"add": add | {"path": "_delta_log"}}]),
        ("cannot read", lambda add: [protocol(), schema(*columns), {"add": add | {"path": "none.parquet"}}]),
        ("in the metadata of the table", lambda add: [protocol(), schema(*columns), {"add": add | {"size": 10**15}}]),
        ("its size is negative", lambda add: [protocol(), schema(*columns), {"add": add | {"size": -1}}]),
        ("`add`:", lambda add: [protocol(), schema(*columns), {"add": add | {"size": 10**30}}]),
        ("`t` is text, and a whole number in the table", lambda add: [protocol(), schema(column("n"), column("t")), {"add": add}]),
        ("`n` is a whole number, and a list in the table", lambda add: [protocol(), schema(column("n", deep(1))), {"add": add}]),
        ("no column `gone`, which the table requires", lambda add: [protocol(), schema(column("gone", nullable=False)), {"add": add}]),
        ("has the column `n` twice", lambda add: [protocol(), schema(column("n"), column("n")), {"add": add}]),
        ("`n` would be two columns", lambda add: [protocol(), schema(column("n"), column("N")), {"add": add}]),
        ("its type `interval` is not read", lambda add: [protocol(), schema(column("n", "interval")), {"add": add}]),
        ("its schema", lambda add: [protocol(), schema(column("n", deep(500))), {"add": add}]),
        ("more than 10000 columns", lambda add: [protocol(), schema(*[column(f"c{n}") for n in range(10_001)]), {"add": add}]),
        ("no value of the partition column", lambda add: [protocol(), schema(*columns, partitions=["n"]), {"add": add}]),
        ("`x` is no value of the partition", lambda add: [protocol(), schema(*columns, partitions=["n"]), {"add": add | {"partitionValues": {"n": "x"}}}]),
        ("`NaN` is no value of the partition", lambda add: [protocol(), schema(column("x", "double"), partitions=["x"]), {"add": add | {"partitionValues": {"x": "NaN"}}}]),
        ("there is no column `z`", lambda add: [protocol(), schema(*columns, partitions=["z"]), {"add": add}]),
        ("deletion vector", lambda add: [protocol("deletionVectors"), schema(*columns), {"add": add | vector}]),
        ("has `a.parquet` twice", lambda add: [protocol("deletionVectors"), schema(*columns), {"add": add}, {"add": add | {"deletionVector": VECTOR}}]),
        ("names files of a checkpoint", lambda add: [protocol(), schema(*columns), {"sidecar": {"path": "x"}}]),
    ]  # fmt: skip
    for number, (message, actions) in enumerate(cases):
        name = f"t{number}"
        table = Written(home.path / name)
        table.commit(*actions(table.file("a.parquet", rows)))
        told = home.refused(name)
        assert message in told, (number, told)
    # An address outside is read where it is allowed.
    table = Written(home.path / "clone")
    table.commit(protocol(), schema(*columns), {"add": table.file("a.parquet", rows) | {"path": f"{home.path}/t0/a.parquet"}})
    assert "outside of it" in home.refused("clone")
    home.ok("clone", "--local-root", home.path / "t0", name="clone")
    assert [row["n"] for row in home.rows("clone")] == list(range(5))


def test_links_out_of_a_table_are_not_followed(home):
    outside = home.path / "outside"
    outside.mkdir()
    table = Written(home.table)
    add = table.file("a.parquet", pyarrow.table({"n": range(5)}))
    table.commit(protocol(), schema(column("n")), {"add": add})
    for name in ["a.parquet", LOG]:
        (table.folder / name).rename(outside / name)
        (table.folder / name).symlink_to(outside / name)
        assert "is behind a link out of it" in home.refused("t"), name
    home.ok("t", "--local-root", outside)
    assert len(home.rows()) == 5


def test_a_folder_of_other_files_is_no_table(home):
    folder = home.path / "files"
    folder.mkdir()
    (folder / "a.csv").write_text("n\n1\n")
    metadata = folder / "metadata"
    metadata.write_text("a file, and no folder")
    home.ok("files", name="file")
    metadata.unlink()
    metadata.mkdir()
    (metadata / "v1.metadata.json").symlink_to("nothing")
    (folder / "_versions").mkdir()
    home.ok("files", name="folder")
    for name in ["file", "folder"]:
        assert [row["n"] for row in home.rows(name)] == [1], name


def test_no_damage_of_a_log_is_more_than_an_error(home):
    deltalake.write_deltalake(home.table, wide(range(8)), partition_by=["p"])
    deltalake.write_deltalake(home.table, wide(range(8, 12)), mode="append")
    deltalake.DeltaTable(home.table).create_checkpoint()
    chance = random.Random(7)
    log = home.path / "t" / LOG
    kept = {path: path.read_bytes() for path in log.iterdir() if path.is_file()}
    for number in range(40):
        path = chance.choice(sorted(path for path in kept if not path.name.startswith("_last")))
        bytes_ = bytearray(kept[path])
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(bytes_))
            match chance.randrange(3):
                case 0:
                    bytes_[at] ^= 1 << chance.randrange(8)
                case 1:
                    del bytes_[at:]
                case 2:
                    bytes_[at:at] = chance.randbytes(3)
            if not bytes_:
                break
        path.write_bytes(bytes_)
        result = home.run("t", name=f"x{number}")
        assert result.returncode in (0, 1, 2), result
        assert "panicked" not in result.stderr, result.stderr
        path.write_bytes(kept[path])
    assert leftovers(home.path) == []


def test_a_table_in_a_bucket(home, dcfs, s3):
    local = home.path / "t"
    deltalake.write_deltalake(local, wide(range(12)), partition_by=["k"])
    deltalake.DeltaTable(local).create_checkpoint()
    deltalake.write_deltalake(local, wide(range(12, 20)), mode="append")
    want = by_deltalake(local)
    s3.bucket("lake", versioned=False)
    for path in sorted(local.rglob("*")):
        if path.is_file():
            s3.client.put_object(Bucket="lake", Key=f"a/events/{path.relative_to(local)}", Body=path.read_bytes())
    words = ["s3://lake/a/events/", "--endpoint-url", s3.url, "--delta"]
    env = dcfs.environment | s3.KEYS
    assert home.ok(*words, env=env)[0].startswith("s3://lake/a/events, version 1: ")
    assert home.rows() == want
    assert home.ok(*words, env=env)[2] == "nothing new; d@1.0.0 is as it was"
    none = home.run("s3://lake/a/nothing", "--endpoint-url", s3.url, env=env)
    assert none.returncode == 2 and "cannot tell what" in none.stderr
    none = home.run("s3://lake/a/nothing", "--format", "delta", "--endpoint-url", s3.url, env=env)
    assert none.returncode == 1 and "it has no version" in none.stderr
    # A file that has another size than the log tells is not read.
    key = next(key["Key"] for key in s3.client.list_objects_v2(Bucket="lake")["Contents"] if key["Key"].endswith(".parquet") and LOG not in key["Key"])
    s3.client.put_object(Bucket="lake", Key=key, Body=b"PAR1")
    assert home.run(*words[:-1], env=env).returncode not in (0, 101)
    assert versions(home.path, "d") == ["1.0.0"]


def test_what_is_no_table_is_told(home):
    (home.path / "l.lance" / "_versions").mkdir(parents=True)
    assert "a table of Lance, which is not read; write it as Parquet" in home.refused("l.lance")
    (home.path / "a.csv").write_text("n\n1\n")
    assert "--at is for tables" in home.refused("a.csv", "--at", "1")
    deltalake.write_deltalake(home.table, wide(range(3)))
    assert "numbers: `--at 12`" in home.refused("t", "--at", "yesterday")
    assert "leave out the options of other formats" in home.refused("t", "--delimiter", ";")
    assert "--allow-uri: `s3://b/*`: " in home.refused("t", "--allow-uri", "s3://b/*")
    assert "has to be UTF-8" in home.refused("t\udcff", "--format", "delta")
    assert "one table at a time" in home.refused("t", "t", "--format", "delta")
    shutil.rmtree(home.path / "t" / LOG)
    (home.path / "t" / LOG).mkdir()
    assert "`_delta_log` is empty" in home.refused("t")
