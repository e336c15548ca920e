"""Hugging Face on shards of WebDataset and on a version without splits, with any directory names."""

import pytest
from datasets import load_dataset
from PIL import Image

import mounts

pytestmark = pytest.mark.mount


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """No network requests, and no state of an earlier test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture
def version(tmp_path):
    for number in range(9):
        place = tmp_path / "pictures" / ("train" if number % 2 else "other")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4 + number, 4)).save(place / f"{number}.png")
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", tmp_path / "pictures", "--save", "pictures", "--with", "image", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        yield mount.datasets / "pictures@1.0.0"


def test_hugging_face_loads_all_rows_by_the_card_of_a_version_without_splits(version, tmp_path):
    found = load_dataset(str(version / "_views/hf"), cache_dir=str(tmp_path / "hf"))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 9}
    assert all(row["image"].size[0] == row["info.width"] for row in found["train"])


def test_hugging_face_loads_shards(version, tmp_path):
    files = {"train": str(version / "_views/webdataset/shard=4/*.tar")}
    found = load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path / "hf"))["train"]
    assert len(found) == 9
    for row in found:
        assert row["png"].size[0] == row["json"]["info"]["width"]
