"""`dcfs load` and `dcfs count --by`: records of files as typed datasets, and how many rows have which value."""

import datetime
import decimal
import json
import os
import subprocess

import pytest

import datachain_runs
import mounts


@pytest.fixture
def load(dcfs, tmp_path):
    """Loads a text as a file into a new catalog, as the dataset `records`."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(name, text, *arguments):
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return dcfs.run("load", name, "--as", "records", *arguments, cwd=folder)

    run.folder = folder
    run.rows = lambda name="records": [
        json.loads(line) for line in dcfs.ok("sql", f"select * from {name}", "--json", cwd=folder).splitlines()
    ]
    return run


def test_types_hold_every_record(load):
    text = "name,class,score,day,ok,zip\na,1,0.5,2024-01-02,true,007\n\"b, c\",2,,2024-01-03T04:05:06+02:00,false,123\n"
    told = load("x.csv", text, "--dry-run").stdout
    assert told.splitlines() == ["name: str", "class: int", "score: Optional[float]", "day: datetime", "ok: bool", "zip: str"]
    assert load("x.csv", text).stdout == "saved records@1.0.0: 2 rows\n"
    assert load.rows() == [
        {"name": "a", "class": 1, "score": 0.5, "day": "2024-01-02T00:00:00.000000Z", "ok": True, "zip": "007"},
        {"name": "b, c", "class": 2, "score": None, "day": "2024-01-03T02:05:06.000000Z", "ok": False, "zip": "123"},
    ]
    assert load("x.csv", text, "--types", "class:str").stdout.startswith("saved records@1.0.1")
    assert [row["class"] for row in load.rows()] == ["1", "2"]


def test_a_late_record_changes_a_type(load):
    load("x.csv", "n\n" + "1\n" * 5000 + "2.5\n")
    assert load.rows()[-1] == {"n": 2.5} and load.rows()[0] == {"n": 1.0}


def test_lists_without_a_header(load):
    text = "#Image CLASS-ID\nAbyssinian_1 1\npug_2 3\n"
    load("list.txt", text, "--format", "csv", "--delimiter", " ", "--comment", "#", "--columns", "name,class:int")
    assert load.rows() == [{"name": "Abyssinian_1", "class": 1}, {"name": "pug_2", "class": 3}]


def test_json_becomes_models_that_datachain_reads(load):
    records = [
        {"id": 1, "box": {"x": 1, "y": 2.5}, "tags": ["a", "b"], "odd": [1, "b"], "a__b.c": "x"},
        {"id": 2, "box": None, "tags": [], "odd": {"z": 1}},
    ]
    assert load("x.json", json.dumps({"info": {}, "annotations": records}), "--path", "annotations").returncode == 0
    assert load("x.jsonl", "\ufeff" + "\n".join(map(json.dumps, records)) + "\n\n").stdout.startswith("saved records@1.0.1")
    script = datachain_runs.SCRIPTS / "sql_read_back.py"
    process = datachain_runs.start(script, load.folder, "records", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    told = json.loads(output.splitlines()[-1])["records"]
    assert told["types"] == {"id": "int", "box": "Optional", "tags": "list", "odd": "str", "a_b_c": "Optional"}
    assert told["rows"] == [["1", "x=1 y=2.5", "['a', 'b']", '[1,"b"]', "x"], ["2", "None", "[]", '{"z":1}', "None"]]


def test_label_files_become_rows(dcfs, load):
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 5, "height": 4}, {"id": 2, "file_name": "b.jpg", "width": 6, "height": 3}],
        "categories": [{"id": 7, "name": "dog"}],
        "annotations": [{"id": 10, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3.5, 4], "iscrowd": 0}],
    }
    assert load("x.json", json.dumps(coco), "--format", "coco").returncode == 0
    first, second = load.rows()
    assert (first["file_name"], first["category"], first["bbox"], first["width"]) == ("a.jpg", "dog", [1, 2, 3.5, 4], 5)
    assert (second["file_name"], second["category"], second["height"]) == ("b.jpg", None, 3)
    assert load("bad.json", json.dumps({"a": 1}), "--format", "coco").returncode == 2

    def folder(name, files):
        (load.folder / name).mkdir()
        for file, text in files.items():
            (load.folder / name / file).write_text(text)

    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin></bndbox>"
    voc = "<annotation><filename>{}</filename><size><width>5</width></size>{}</annotation>"
    folder("voc", {"a.xml": "<?xml version='1.0'?>" + voc.format("a.jpg", f"<object><name>dog</name>{box.format(1)}</object><object><name>cat</name>{box.format(2.5)}</object>"), "b.xml": voc.format("b.jpg", "")})
    dcfs.ok("load", "voc", "--format", "voc", "--as", "voc", cwd=load.folder)
    rows = load.rows("voc")
    assert [(row["filename"], row["name"], row["bndbox"] and row["bndbox"]["xmin"]) for row in rows] == [("a.jpg", "dog", 1.0), ("a.jpg", "cat", 2.5), ("b.jpg", None, None)]
    assert rows[0]["size"] == {"width": 5}
    folder("yolo", {"a.txt": "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2 0.3 0.3\n", "b.txt": "", "classes.txt": "dog\ncat\n"})
    dcfs.ok("load", "yolo", "--format", "yolo", "--as", "yolo", cwd=load.folder)
    rows = load.rows("yolo")
    assert [(row["stem"], row["class"], row["label"]) for row in rows] == [("a", 0, "dog"), ("a", 1, "cat"), ("b", None, None)]
    assert rows[0]["box"] == {"x": 0.5, "y": 0.5, "width": 0.25, "height": 0.25} and rows[1]["points"] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert load("synsets.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\n", "--format", "synsets").returncode == 0
    assert load.rows()[0] == {"class": 0, "synset": "n01440764", "name": "tench", "names": ["tench", "Tinca tinca"]}
    folder("hf", {"metadata.csv": "file_name,label\na.jpg,dog\n"})
    dcfs.ok("load", "hf", "--as", "hf", cwd=load.folder)
    assert load.rows("hf") == [{"file_name": "a.jpg", "label": "dog"}]
    assert load("x.xml", "<feed><channel><item id='1'><t>a</t></item><item id='2'/></channel></feed>", "--path", "channel/item").returncode == 0
    assert load.rows() == [{"id": 1, "t": "a"}, {"id": 2, "t": None}]
    bomb = load("x.xml", "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a><r>&b;</r></a>")
    assert bomb.returncode == 2 and "entities" in bomb.stderr


def test_values_of_xml_are_kept_as_written(load):
    xml = "<l><r id='12345678901234567890'><v>1.10</v></r><r id='7'><v>1.10b</v></r></l>"
    assert load("x.xml", xml, "--types", "id:str").returncode == 0
    assert load.rows() == [{"id": "12345678901234567890", "v": "1.10"}, {"id": "7", "v": "1.10b"}]
    # Each record would have a copy of all that stands before it.
    before = load("x.xml", "<l>" + "<a>x</a>" * 100_000 + "<b/>" * 100_000 + "</l>", "--path", "b")
    assert before.returncode == 2 and "too much stands before its elements `b`" in before.stderr, before.stderr


def test_classes_of_yolo_are_named_by_number_or_not_at_all(dcfs, load):
    labels = load.folder / "set" / "labels"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.5 0.5 0.25 0.25\n")
    (load.folder / "set" / "data.yaml").write_text("nc: 2\nnames:\n  # from 1 on\n  1: person # or two\n  2: car\n")

    def load_labels():
        return dcfs.run("load", "labels", "--format", "yolo", "--as", "yolo", cwd=labels.parent)

    told = load_labels()
    assert told.returncode == 0 and f"classes are named by `{load.folder.resolve()}/set/data.yaml`" in told.stderr, told
    rows = json.loads(dcfs.ok("sql", "select class, label from yolo", "--json", cwd=labels.parent))
    assert rows == {"class": 1, "label": "person"}
    (load.folder / "set" / "data.yaml").write_text("names:\n  0: person\n  - car\n")
    told = load_labels()
    assert told.returncode == 2 and "data.yaml`, line 3: " in told.stderr, told
    os.mkfifo(labels / "classes.txt")
    told = load_labels()
    assert told.returncode != 0 and "it is not a regular file" in told.stderr, told


def test_an_object_of_a_store_is_loaded(dcfs, load, s3):
    s3.bucket("labels", versioned=False)
    text = "name,n\n" + "".join(f"row {n},{n}\n" for n in range(5000))
    s3.client.put_object(Bucket="labels", Key="a/labels.csv", Body=text.encode())
    s3.client.put_object(Bucket="labels", Key="a/bad.csv", Body=b"a,b\n1\n")
    s3.client.put_object(Bucket="labels", Key="a/cat.1.txt", Body=b"0 0.5 0.5 0.25 0.25\n")
    s3.client.put_object(Bucket="labels", Key="a/bad.txt", Body=b"0 0.5\n")

    def from_store(key, *words):
        command = [mounts.DCFS, "load", f"s3://labels/{key}", "--as", "records", "--endpoint-url", s3.url, *words]
        return subprocess.run(command, env=dcfs.environment | s3.KEYS, cwd=load.folder, capture_output=True, text=True)

    assert from_store("a/labels.csv").stdout == "saved records@1.0.0: 5,000 rows\n"
    assert load.rows()[4321] == {"name": "row 4321", "n": 4321}
    bad = from_store("a/bad.csv")
    assert bad.returncode == 2 and "`s3://labels/a/bad.csv`, line 2: it has 1 fields" in bad.stderr
    assert from_store("a/cat.1.txt", "--format", "yolo").returncode == 0
    assert [row["stem"] for row in load.rows()] == ["cat.1"]
    bad = from_store("a/bad.txt", "--format", "yolo")
    assert bad.returncode == 2 and "`s3://labels/a/bad.txt`, line 1: " in bad.stderr
    assert from_store("a/none.csv").returncode == 1 and from_store("b/", "--format", "csv").returncode == 1
    folder = from_store("a/", "--format", "csv")
    assert folder.returncode == 2 and "`s3://labels/a/bad.csv`, line 2: it has 1 fields" in folder.stderr, "all of a folder"


def test_parquet_is_read_with_its_types(load):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    day = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)
    table = pyarrow.table(
        {
            "n": pyarrow.array([1, None, 3], pyarrow.int32()),
            "x": pyarrow.array([0.1, 2.0, float("nan")], pyarrow.float32()),
            "t": ["a", "b", None],
            "ok": [True, False, True],
            "day": pyarrow.array([day] * 3, pyarrow.timestamp("ns")),
            "vector": [[1.5, 2.0], [], [3.25, 4.0]],
            "box": [{"w": 1, "h": 2}, None, {"w": 3, "h": 4}],
            "price": pyarrow.array([decimal.Decimal("1.25")] * 3, pyarrow.decimal128(10, 2)),
            "raw": [b"\x00\xff"] * 3,
        }
    )
    parquet.write_table(table, load.folder / "t.parquet", row_group_size=2)
    told = load("t.parquet", (load.folder / "t.parquet").read_bytes(), "--dry-run").stdout.splitlines()
    assert "n: Optional[int]" in told and "vector: list[float]" in told and "day: datetime" in told, told
    assert load("t.parquet", (load.folder / "t.parquet").read_bytes()).stdout == "saved records@1.0.0: 3 rows\n"
    rows = load.rows()
    assert rows[0] == {
        "n": 1, "x": 0.1, "t": "a", "ok": True, "day": "2024-01-02T03:04:05.678901Z", "vector": [1.5, 2.0],
        "box": {"w": 1, "h": 2}, "price": 1.25, "raw": "AP8=",
    }  # fmt: skip
    assert (rows[1]["n"], rows[1]["box"], rows[2]["x"], rows[2]["t"]) == (None, None, None, None)
    # Damaged or wrongly written files are refused, and nothing is saved.
    whole = (load.folder / "t.parquet").read_bytes()
    for number in range(0, len(whole), max(1, len(whole) // 16)):
        result = load("bad.parquet", whole[:number] + bytes([whole[number] ^ 0x55]) + whole[number + 1 :], "--dry-run")
        assert result.returncode in (0, 2), result
    assert load("bad.parquet", whole[:-9]).returncode == 2
    # Groups within groups, that would end a program which builds them by recursion; and one of many columns.
    for schema in (b"\x35\x00\x18\x01g\x15\x02\x00" * 200_000, b"\x35\x00\x18\x01g\x15\xfe\xff\xff\xff\x0f\x00"):
        count = 200_000 if len(schema) > 100 else 1
        footer = b"\x15\x02\x19\xfc" + bytes([count & 127 | 128, count >> 7 & 127 | 128, count >> 14]) + schema + b"\x16\x02\x19\x0c\x00"
        result = load("bad.parquet", b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
        assert result.returncode == 2 and "its footer: " in result.stderr, result
    for codec, is_read in [("zstd", True), ("lz4", True), ("snappy", True), ("none", True), ("brotli", False)]:
        parquet.write_table(table, load.folder / "z.parquet", compression=codec)
        result = load("z.parquet", (load.folder / "z.parquet").read_bytes(), "--dry-run")
        assert (result.returncode == 0) == is_read and is_read != ("Zstandard" in result.stderr), (codec, result)


@pytest.mark.parametrize(
    "name, text, arguments, message",
    [
        ("x.csv", "a,b\n1\n", [], "line 2: it has 1 fields"),
        ("x.csv", b"a\n\xff\n", [], "not UTF-8"),
        ("x.csv", "a\n0.5\n", ["--types", "a:int"], "line 2: `0.5` in column `a` is no whole number"),
        ("x.csv", "aa\n0.5\n", ["--types", "ab:int"], "did you mean `aa`"),
        ("x.csv", "a\n1\n", ["--types", "a:long"], "known are str, int"),
        ("x.jsonl", '{"a": 1}\n[1]\n', [], "line 2: it is no JSON object"),
        ("x.jsonl", '{"a": 1}\n{"a"\n', [], "line 2: it is no JSON"),
        ("x.json", '{"images": []}', [], "--path images"),
        ("x.json", '{"images": []}', ["--path", "image"], "there are `images`"),
        ("x.json", "[1]", [], "item 0"),
        ("x.txt", "a", [], "--format"),
        ("x.jsonl", "{}", ["--delimiter", ";"], "for CSV"),
    ],
)
def test_what_is_wrong_is_told(load, name, text, arguments, message):
    result = load(name, text, *arguments)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1


def test_rows_are_counted_by_value(dcfs, shapes_catalog):
    told = json.loads(dcfs.ok("count", "pets_sized", "--by", "file.parent", "--json", cwd=shapes_catalog))
    assert [(one["file.parent"], one["rows"]) for one in told] == [("beagle", 6), ("pug", 6), ("shiba_inu", 6)]
    assert sum(one["share"] for one in told) == pytest.approx(1)
    found = dcfs.ok("count", "pets_sized", "--by", "info.width,file.ext", "--where", "info.height > 250", "--limit", "2", cwd=shapes_catalog)
    assert found.splitlines()[0].split() == ["info.width", "file.ext", "rows", "share"] and "values]" in found
    by_sql = dcfs.ok("sql", "select info.width, count(*) from pets_sized group by 1", "--format", "csv", cwd=shapes_catalog)
    counted = json.loads(dcfs.ok("count", "pets_sized", "--by", "info.width", "--json", cwd=shapes_catalog))
    assert sorted(f"{one['info.width']},{one['rows']}" for one in counted) == sorted(by_sql.splitlines()[1:])
    for wrong, message in [("width", "did you mean `info.width`"), ("info", "did you mean `info.width`"), ("parent", "file.parent")]:
        result = dcfs.run("count", "pets_sized", "--by", wrong, cwd=shapes_catalog)
        assert result.returncode == 2 and message in result.stderr
    assert "lists" in dcfs.run("count", "typed", "--by", "vector", cwd=shapes_catalog).stderr
