"""Hugging Face with splits whose names it does not know, among files and columns that it would mistake for its own."""

import pytest
from datasets import load_dataset
from PIL import Image

import mounts

pytestmark = pytest.mark.mount

SPLITS = {"train": 3, "fold-1": 2, "all": 1, "test": 1}


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """No network requests, and no state of an earlier test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture
def hub(tmp_path):
    for split, count in SPLITS.items():
        (tmp_path / "pictures" / split).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4 + number, 4)).save(tmp_path / "pictures" / split / f"{number}.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "pictures" / "loose.png")
    (tmp_path / "pictures" / "train" / "metadata.csv").write_text("file_name,caption\n0.png,a\n")
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok(
        "index", tmp_path / "pictures", "--save", "odd", "--with", "image", "--with", "path:{split}/{image}",
        cwd=tmp_path,
    )  # fmt: skip
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        yield mount.datasets / "odd" / "_views" / "hf"


def test_hugging_face_loads_every_split_by_the_card(hub, tmp_path):
    found = load_dataset(str(hub), cache_dir=str(tmp_path / "hf"))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 3, "test": 1, "fold_1": 2, "all_": 1}
    for row in found["train"]:
        assert row["image"].size[0] == row["info.width"]
        assert row["image_"] == row["file.path"].split("/")[-1].removesuffix(".png")


def test_hugging_face_without_the_card_leaves_out_what_the_card_says(hub, tmp_path):
    found = load_dataset("imagefolder", data_dir=str(hub), cache_dir=str(tmp_path / "hf"))
    assert sorted(found) == ["test", "train"]
    assert "leaves out the rows of `all`, `fold-1`" in (hub / "README.md").read_text()
