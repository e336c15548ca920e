"""`dcfs load` of tables of Iceberg: the same rows as `pyiceberg` reads, snapshot by snapshot, and metadata that is wrong."""

import gzip
import json
import os
import random
import shutil
import uuid
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
)
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, StringType

from lakes import Home, in_order, plain, wide


@pytest.fixture
def home(dcfs, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    home = Home(dcfs, folder)
    home.iceberg = SqlCatalog("c", uri=f"sqlite:///{folder}/c.db", warehouse=f"file://{folder}/lake")
    home.iceberg.create_namespace("n")
    return home


def folder_of(table):
    return Path(table.location().removeprefix("file://"))


def by_pyiceberg(table, **scan):
    return in_order([plain(row) for row in table.scan(**scan).to_arrow().to_pylist()])


def test_a_table_of_iceberg_has_the_rows_of_each_snapshot(home):
    rows = wide(range(20))
    table = home.iceberg.create_table("n.t", schema=rows.schema)
    table.append(rows)
    with table.update_spec() as update:
        update.add_field("k", IdentityTransform())
        update.add_field("day", IdentityTransform())
    table.append(wide(range(20, 30)))
    table.delete("n >= 4 and n < 9")
    with table.update_schema() as update:
        update.rename_column("text", "words")
        update.rename_column("box.name", "label")
        update.add_column("more", LongType())
        update.delete_column("x")
        update.update_column("small", LongType())
    with table.update_schema() as update:
        update.move_first("words")
        update.add_column("text", StringType())
    added = wide(range(40, 43)).drop_columns(["x", "text"])
    added = added.append_column("words", pyarrow.array(["a", "b", None]))
    added = added.append_column("text", pyarrow.array(["2024-01-01", None, "c"]))
    added = added.append_column("more", pyarrow.array([1, None, 2**62]))
    boxes = [{"w": n, "label": None} for n in range(3)]
    added = added.set_column(added.schema.get_field_index("box"), "box", pyarrow.array(boxes))
    added = added.set_column(added.schema.get_field_index("small"), "small", pyarrow.array([1, 2, 3], pyarrow.int64()))
    table.append(added.select([field.name for field in table.schema().fields]).cast(table.schema().as_arrow()))
    newest = table.current_snapshot().snapshot_id
    folder = folder_of(table)
    assert home.ok(folder)[0].startswith(f"{folder}, snapshot {newest}: ")
    assert home.rows() == by_pyiceberg(table)
    types = dict(line.split(": ", 1) for line in home.ok(folder, "--dry-run"))
    assert types["words"] == "Optional[str]" and types["day"] == "datetime" and types["more"] == "Optional[int]", types
    for number, snapshot in enumerate(table.snapshots()):
        told = home.ok(folder, "--at", snapshot.snapshot_id, name=f"v{number}")
        assert told[0].startswith(f"{folder}, snapshot {snapshot.snapshot_id}: ")
        assert home.rows(f"v{number}") == by_pyiceberg(table, snapshot_id=snapshot.snapshot_id), number
    table.manage_snapshots().create_tag(table.snapshots()[0].snapshot_id, "first").commit()
    home.ok(folder, "--at", "first", name="tagged")
    assert home.rows("tagged") == home.rows("v0")
    assert f"`{folder}` (Iceberg, snapshot {newest})" in home.other("lineage", "d")
    # By a file of its metadata, and a copy of the table where its metadata does not say that it is.
    home.ok(table.metadata_location.removeprefix("file://"), name="named")
    assert home.rows("named") == home.rows()
    shutil.copytree(folder, home.path / "copy")
    shutil.move(folder, home.path / "moved away")
    home.ok("copy", name="copied")
    assert home.rows("copied") == home.rows()
    assert "it has no snapshot 7" in home.run("copy", "--at", 7).stderr
    assert "no branch or tag `x`" in home.run("copy", "--at", "x").stderr


class DeleteWriter(ManifestWriterV2):
    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return super()._meta | {"content": "deletes"}


class DeleteFiles(_FastAppendFiles):
    """Adds files of deletes, which pyiceberg reads and does not write."""

    def _manifests(self):
        metadata = self._transaction.table_metadata
        to = self._io.new_output(f"{metadata.location}/metadata/{uuid.uuid4()}-deletes.avro")
        with DeleteWriter(metadata.spec(), metadata.schema(), to, self._snapshot_id, "deflate") as writer:
            for one in self.deletes:
                entry = ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    snapshot_id=self._snapshot_id,
                    sequence_number=None,
                    file_sequence_number=None,
                    data_file=one,
                )
                writer.add(entry)
        return [*self._existing_manifests(), writer.to_manifest_file()]


def delete(table, file, positions, content=DataFileContent.POSITION_DELETES):
    path = folder_of(table) / f"data/{uuid.uuid4()}-deletes.parquet"
    rows = pyarrow.table({"file_path": [file] * len(positions), "pos": pyarrow.array(positions, pyarrow.int64())})
    parquet.write_table(rows, path, compression="zstd")
    counts = ["column_sizes", "value_counts", "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds"]
    one = DataFile.from_args(
        content=content,
        file_path=f"file://{path}",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(positions),
        file_size_in_bytes=path.stat().st_size,
        key_metadata=None,
        split_offsets=None,
        equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
        sort_order_id=None,
        **{count: {} for count in counts},
    )
    one.spec_id = 0
    with table.transaction() as transaction:
        producer = DeleteFiles(Operation.APPEND, transaction, table.io)
        producer.deletes = [one]
        producer.commit()


def test_deleted_rows_of_iceberg_stay_away(home):
    rows = wide(range(20))
    table = home.iceberg.create_table("n.t", schema=rows.schema)
    folder = folder_of(table)
    assert home.ok(folder, "--delta")[0].startswith(f"{folder}, snapshot none: 0 files")
    assert home.rows() == []
    table.append(rows)
    file = next(iter(table.scan().plan_files())).file.file_path
    home.ok(folder, "--delta")
    delete(table, file, [2, 5])
    table.append(wide(range(30, 33)))
    delete(table, file, [7])
    delete(table, f"{file}.gone", [8])
    assert home.ok(folder, "--delta")[1] == "files: 0 unchanged, 1 new, 1 changed, 0 gone"
    assert home.rows() == by_pyiceberg(home.iceberg.load_table("n.t")) and len(home.rows()) == 20
    assert home.ok(folder, "--delta")[1] == "files: 2 unchanged, 0 new, 0 changed, 0 gone"
    first = home.iceberg.load_table("n.t").snapshots()[0].snapshot_id
    home.ok(folder, "--at", first, name="before")
    assert len(home.rows("before")) == 20
    delete(home.iceberg.load_table("n.t"), file, [2**32])
    assert "row 1 is no deleted position" in home.run(folder).stderr
    delete(home.iceberg.load_table("n.t"), file, [1], DataFileContent.EQUALITY_DELETES)
    assert "it has equality deletes, which are not read" in home.run(folder).stderr


def test_files_without_ids_have_their_columns_by_name(home):
    schema = pyarrow.schema([("n", pyarrow.int64()), ("t", pyarrow.string())])
    table = home.iceberg.create_table("n.t", schema=schema)
    folder = folder_of(table)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({"n": [1, 2], "t": ["x", "y"]}), folder / "data/own.parquet")
    table.add_files([f"file://{folder}/data/own.parquet"])
    home.ok(folder)
    assert home.rows() == by_pyiceberg(table) == [{"n": 1, "t": "x"}, {"n": 2, "t": "y"}]
    with table.update_schema() as update:
        update.rename_column("t", "renamed")
    home.ok(folder, name="renamed")
    assert home.rows("renamed") == by_pyiceberg(table) and "renamed" in home.rows("renamed")[0]
    # A branch goes on with the table's columns; a snapshot keeps its own.
    home.ok(folder, "--at", "main", name="main")
    assert home.rows("main") == home.rows("renamed")
    home.ok(folder, "--at", table.current_snapshot().snapshot_id, name="snapshot")
    assert home.rows("snapshot") == home.rows()


def test_metadata_may_be_compressed_and_named_by_a_hint(home):
    table = home.iceberg.create_table("n.t", schema=wide([0]).schema)
    table.append(wide(range(3)))
    want = by_pyiceberg(table)
    folder = folder_of(table)
    path = Path(table.metadata_location.removeprefix("file://"))
    kept = path.read_bytes()
    # What is left is the metadata of the empty table.
    path.unlink()
    names = ["v7.gz.metadata.json", "v8.metadata.json.gz"]
    for number, name in enumerate(names):
        path.with_name(name).write_bytes(gzip.compress(kept))
        home.ok(folder, name=f"newest{number}")
        home.ok(path.with_name(name), name=f"named{number}")
        assert home.rows(f"newest{number}") == home.rows(f"named{number}") == want, name
    hint = path.with_name("version-hint.text")
    for number, text in enumerate(["7", *names]):
        hint.write_text(text)
        home.ok(folder, name=f"hinted{number}")
        assert home.rows(f"hinted{number}") == want, text
    hint.write_bytes(b"\xff")
    assert "`version-hint.text` is not UTF-8" in home.refused(folder)


def test_metadata_that_is_wrong_is_refused_and_nothing_is_saved(home):
    rows = wide(range(5))
    table = home.iceberg.create_table("n.t", schema=rows.schema)
    table.append(rows)
    folder = folder_of(table)
    path = Path(table.metadata_location.removeprefix("file://"))
    kept = path.read_text()

    def told(change):
        metadata = json.loads(kept)
        change(metadata)
        path.write_text(json.dumps(metadata))
        return home.refused(folder)

    def deep(metadata):
        kind = "long"
        for _ in range(100):
            kind = {"type": "list", "element-id": 99, "element": kind, "element-required": False}
        metadata["schemas"][-1]["fields"][0]["type"] = kind

    def first(metadata):
        return metadata["schemas"][-1]["fields"][0]

    listed = "file:///etc/passwd"
    cases = [
        ("version 3 of Iceberg's format", lambda m: m.update({"format-version": 3})),
        ("it has no snapshot 5", lambda m: m.update({"current-snapshot-id": 5})),
        ("its type `geometry` is not read", lambda m: first(m).update(type="geometry")),
        ("there is none of its number", lambda m: m.update(schemas=[])),
        ("there is none of its number", lambda m: m.update(schema=m["schemas"][-1], schemas=[m["schemas"][-1] | {"schema-id": 9}])),
        ("outside of it; allow that folder", lambda m: m["snapshots"][0].update({"manifest-list": listed})),
        ("which is no path below it", lambda m: m["snapshots"][0].update({"manifest-list": m["location"] + "/../x.avro"})),
        ("cannot read", lambda m: m["snapshots"][0].update({"manifest-list": m["location"] + "/x.avro"})),
        ("it is no file of Avro", lambda m: m["snapshots"][0].update({"manifest-list": f"{m['location']}/metadata/{path.name}"})),
        ("is a whole number, and text in the table", lambda m: first(m).update(type="string")),
        ("which the table requires", lambda m: first(m).update(id=77, required=True)),
        ("it is no metadata of Iceberg", lambda m: m.update(snapshots=7)),
        ("", deep),
    ]  # fmt: skip
    for message, change in cases:
        said = told(change)
        assert message in said, (message, said)
    path.write_text(kept)
    other = path.with_name(f"{path.name.split('-')[0]}-{uuid.uuid4()}.metadata.json")
    shutil.copy(path, other)
    assert "may both be its newest metadata" in home.refused(folder)
    (folder / "metadata/version-hint.text").write_text(path.name.removesuffix(".metadata.json"))
    home.ok(folder)
    assert home.rows() == by_pyiceberg(table)
    (folder / "metadata/version-hint.text").write_text("99")
    assert "names the version `99`, which is not there" in home.run(folder).stderr


def test_no_damage_of_metadata_is_more_than_an_error(home):
    table = home.iceberg.create_table("n.t", schema=wide([0]).schema)
    table.append(wide(range(8)))
    file = next(iter(table.scan().plan_files())).file.file_path
    delete(table, file, [2])
    chance = random.Random(5)
    folder = folder_of(table)
    newest = Path(home.iceberg.load_table("n.t").metadata_location.removeprefix("file://"))
    files = [newest, *folder.glob("metadata/*.avro"), *folder.glob("data/*deletes.parquet")]
    kept = {path: path.read_bytes() for path in files}
    for number in range(40):
        path = chance.choice(sorted(kept))
        damaged = bytearray(kept[path])
        at = chance.randrange(len(damaged))
        match chance.randrange(3):
            case 0:
                damaged[at] ^= 1 << chance.randrange(8)
            case 1:
                del damaged[at:]
            case 2:
                damaged[at:at] = chance.randbytes(3)
        path.write_bytes(damaged)
        result = home.run(folder, name=f"x{number}")
        assert result.returncode in (0, 1, 2), result
        assert "panicked" not in result.stderr, result.stderr
        path.write_bytes(kept[path])


def test_a_table_of_iceberg_in_a_bucket(home, dcfs, s3):
    table = home.iceberg.create_table("n.t", schema=wide([0]).schema)
    table.append(wide(range(12)))
    table.append(wide(range(12, 15)))
    folder = folder_of(table)
    s3.bucket("ice", versioned=False)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.client.put_object(Bucket="ice", Key=f"w/n/t/{path.relative_to(folder)}", Body=path.read_bytes())
    words = ["--endpoint-url", s3.url, "--delta"]
    env = dcfs.environment | s3.KEYS
    assert home.ok("s3://ice/w/n/t", *words, env=env)[0].startswith("s3://ice/w/n/t, snapshot ")
    assert home.rows() == by_pyiceberg(table)
    assert home.ok("s3://ice/w/n/t", *words, env=env)[2] == "nothing new; d@1.0.0 is as it was"
    name = os.path.basename(table.metadata_location)
    home.ok(f"s3://ice/w/n/t/metadata/{name}", *words[:-1], name="named", env=env)
    assert home.rows("named") == home.rows()
