"""Real training loaders on a mount, used as in their manuals, with worker processes."""

import datetime
import math
import os

import numpy
import pytest
from datasets import load_dataset
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

pytestmark = pytest.mark.mount

PETS = ["beagle", "pug", "shiba_inu"]
PER_CLASS = 12


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """No network requests, and no state of an earlier test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")


def load(folder, tmp_path, **options):
    return load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "hf"), **options)


def pixels(image):
    return numpy.asarray(image.convert("RGB")).copy()


@pytest.mark.parametrize("workers", [0, 2])
def test_image_folder_on_folders_by_value(mount, workers):
    root = mount.datasets / "pets" / "_views" / "by" / "label"
    found = ImageFolder(root, transform=pixels)
    assert found.classes == PETS
    assert len(found) == 3 * PER_CLASS
    loader = DataLoader(found, batch_size=None, shuffle=True, num_workers=workers)
    seen = sorted(int(label) for _, label in loader)
    assert seen == sorted(found.targets)


def test_image_folder_on_a_value_of_a_value(mount):
    root = mount.datasets / "pets" / "_views" / "by" / "split" / "test" / "_views" / "by" / "label"
    found = ImageFolder(root)
    assert found.classes == PETS
    assert len(found) == 3 * len([n for n in range(PER_CLASS) if n % 4 == 0])
    for path, label in found.samples:
        assert PETS[label] in os.path.basename(path)


def test_image_folder_on_the_plain_tree(mount):
    found = ImageFolder(mount.datasets / "pets_whole")
    assert found.classes == PETS and len(found) == 3 * PER_CLASS


def same(ours, theirs):
    """A value of Hugging Face against one of DataChain's `to_pandas()`."""
    if theirs is None or theirs != theirs:
        return ours is None
    if isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=0, abs_tol=0)
    if hasattr(theirs, "to_pydatetime"):
        # Text of equal length for all, or the splits of a set would differ in type.
        ours = datetime.datetime.fromisoformat(ours)
        return ours.replace(tzinfo=None) == theirs.to_pydatetime().replace(tzinfo=None)
    return ours == theirs


def check(rows, frame, image, path):
    """Every row of DataChain is present with its picture and all its scalar columns."""
    by_path = {row[path]: row for row in rows}
    assert len(by_path) == len(rows) == len(frame)
    for record in frame.to_dict("records"):
        row = by_path[record[path]]
        for name in ("label", "info.width", "info.score", "info.note", "info.sharp", "info.taken", "file.size"):
            assert same(row[name], record[name]), (name, row[name], record[name])
        assert row[image].size[0] == record["info.width"]


def test_hugging_face_with_splits(mount, records, tmp_path):
    found = load(mount.datasets / "pets" / "_views" / "hf", tmp_path)
    frame = records("pets")
    assert sorted(found) == ["test", "train"]
    for split in found:
        check(list(found[split]), frame[frame["split"] == split], "image", "file.path")


def test_hugging_face_without_splits(mount, records, tmp_path):
    found = load(mount.datasets / "pets_whole" / "_views" / "hf", tmp_path)
    assert list(found) == ["train"]
    check(list(found["train"]), records("pets_whole"), "image", "file.path")


def test_hugging_face_with_two_file_columns(mount, records, tmp_path):
    found = load(mount.datasets / "pets_masked" / "_views" / "hf", tmp_path)
    rows = list(found["train"])
    check(rows, records("pets_masked"), "file", "file.path")
    for row in rows:
        assert row["mask"].size == row["file"].size
        assert row["mask.path"].split("/")[-1] == row["file.path"].split("/")[-1].replace("jpg", "png")


def test_hugging_face_with_worker_processes(mount, tmp_path):
    found = load(mount.datasets / "pets" / "_views" / "hf", tmp_path, split="train")
    widths = found.map(lambda row: {"found": row["image"].size[0]}, num_proc=2)
    assert widths["found"] == widths["info.width"]
    loader = DataLoader(found.select_columns(["label"]), batch_size=5, num_workers=2)
    assert sum(len(batch["label"]) for batch in loader) == len(found)


def test_hugging_face_of_one_value(mount, tmp_path):
    folder = mount.datasets / "pets_whole" / "_views" / "by" / "label" / "pug" / "_views" / "hf"
    found = load(folder, tmp_path, split="train")
    assert set(found["label"]) == {"pug"} and len(found) == PER_CLASS
