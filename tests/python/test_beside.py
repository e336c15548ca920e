"""Files beside those of rows are in no loop over a directory: loaders, `os.listdir` and `ls | wc -l` find only rows' files."""

import csv
import io
import json
import os
import re

import duckdb
import pandas
import pyarrow.csv
import pytest
from PIL import Image

import mounts

pytestmark = pytest.mark.mount

SPLITS = {"train": 3, "fold-1": 2, "all": 1, "test": 1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A mount of pictures in splits, one of which is an imagefolder itself."""
    folder = tmp_path_factory.mktemp("beside")
    for split, count in SPLITS.items():
        (folder / "pictures" / split).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4 + number, 4)).save(folder / "pictures" / split / f"{number}.png")
    (folder / "pictures" / "loose.png").write_bytes((folder / "pictures" / "all" / "0.png").read_bytes())
    (folder / "pictures" / "train" / "metadata.csv").write_text("file_name,caption\n0.png,a\n")
    (folder / "pictures" / "train" / "metadata.jsonl").write_text('{"file_name": "0.png"}\n')
    dcfs = mounts.Dcfs(folder / "home")
    dcfs.ok(
        "index", folder / "pictures", "--save", "pictures", "--with", "image", "--with", "path:{split}/{image}",
        cwd=folder,
    )  # fmt: skip
    with dcfs.mount(folder, folder / "mnt") as mount:
        yield mount


@pytest.fixture
def version(pictures):
    return pictures.datasets / "pictures@1.0.0"


def test_a_loop_over_a_filter_meets_pictures_alone(version):
    for filter in ("info.width > 4", "order by info.width limit 3", "split = train/info.width > 0"):
        names = [name for _, _, files in os.walk(version / filter) for name in files]
        assert names and all(name.endswith(".png") for name in names), filter
    for name in sorted(os.listdir(version / "order by info.width limit 3")):
        Image.open(version / "order by info.width limit 3" / name).verify()
    assert "_README.md" in os.listdir(version), "a version's own directory says what it is"
    assert "info.width > 4" in (version / "info.width > 4" / "_README.md").read_text()


def test_rows_without_a_value_are_no_class(version):
    by = version / "_views" / "by"
    assert sorted(os.listdir(by / "split")) == sorted(SPLITS)
    assert os.listdir(by / "split" / ".null") == ["loose.png"]
    assert {"file.parent", "file.ext"} <= set(os.listdir(by))
    assert sorted(os.listdir(by / "file.ext")) == ["csv", "jsonl", "png"]
    assert (by / "file.stem" / "loose" / "loose.png").exists()


def metadata(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_hugging_face_sees_one_metadata_file_and_no_name_twice(version):
    hub = version / "_views" / "hf"
    found = [os.path.relpath(os.path.join(place, name), hub) for place, _, names in os.walk(hub) for name in names]
    assert sorted(name for name in found if "metadata" in name) == sorted(
        f"{split}/metadata.jsonl" for split in [*SPLITS, ".null"]
    )
    assert not (hub / "train" / "train" / "metadata.csv").exists()
    rows = metadata(hub / "train")
    assert len(rows) == SPLITS["train"], "a recorded metadata file is no picture"
    assert all((hub / "train" / row["file_name"]).is_file() for row in rows)
    assert all("image" not in row and row["image_"] for row in rows), "the loader makes a column `image` itself"


def test_every_split_is_loaded_under_a_name_of_its_own(version):
    hub = version / "_views" / "hf"
    card = (hub / "README.md").read_text()
    assert card.encode() == (hub / "README.md").read_bytes() and os.stat(hub / "README.md").st_size == len(card)
    splits = dict(re.findall(r'- split: "(.*)"\n    path: "(.*)/\*\*"\n', card))
    assert splits == {"train": "train", "test": "test", "fold_1": "fold-1", "all_": "all"}
    assert "leaves out the rows of `all`, `fold-1`" in card and "Rows without a split are in `.null/`" in card


def test_every_reader_of_csv_agrees_where_the_first_quote_comes_late(dcfs, tmp_path):
    """DuckDB looks for a quote in a sample of 20,480 lines."""
    late = 'a "late", quote'
    (tmp_path / "files").mkdir()
    for number in range(21_000):
        (tmp_path / "files" / f"{number:05}.txt").touch()
    (tmp_path / "files" / f"{late}.txt").touch()
    dcfs.ok("index", tmp_path / "files", "--save", "late", "--with", "path:{word}", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        whole = mount.datasets / "late" / "_rows.csv"
        assert dcfs.ok("show", "late", "--format", "csv", cwd=tmp_path) == whole.read_text()
    path = tmp_path / "late.csv"
    dcfs.ok("show", "late", "--columns", "file.path,word", "-o", path, cwd=tmp_path)
    text = path.read_text()
    header, rest = text.split("\n", 1)
    assert header == '"file.path","word"' and rest.index('"') > rest.index("20999"), "the first quote comes late"
    words = [row["word"] for row in csv.DictReader(io.StringIO(text))]
    assert words[-1] == late and len(words) == 21_001
    assert duckdb.sql(f"SELECT word FROM '{path}'").fetchall()[-1] == (late,)
    assert pandas.read_csv(path, dtype=str)["word"].tolist() == words
    assert pyarrow.csv.read_csv(path)["word"][-1].as_py() == late


def test_json_with_late_values_is_read_as_the_docs_say(tmp_path):
    """The statements of docs/tables.md about DuckDB: its sample makes late values NULL, `sample_size=-1` and Parquet do not."""
    path = tmp_path / "late.jsonl"
    path.write_text('{"x": null}\n' * 25_000 + '{"x": 5}\n')
    assert duckdb.sql(f"SELECT count(x) FROM read_json('{path}')").fetchall() == [(0,)]
    assert duckdb.sql(f"SELECT count(x) FROM read_json('{path}', sample_size=-1)").fetchall() == [(1,)]
