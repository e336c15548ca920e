"""Loaders of PyTorch's world on a mount: Ultralytics' own reader of datasets, torchdata, wids, and WebDataset in worker processes."""

import json
import os
from pathlib import Path

import pytest
import yaml
from PIL import Image

import datachain_runs
import mounts

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxed")
    datachain_runs.run("boxed", folder)
    with mounts.Dcfs(folder / "home").mount(folder, folder / "mnt") as mount:
        yield mount.datasets


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """40 pictures whose width is their number, as shards of 7."""
    folder = tmp_path_factory.mktemp("shards")
    for number in range(40):
        place = folder / "pictures" / f"{number:02}.png"
        place.parent.mkdir(exist_ok=True)
        Image.new("RGB", (10 + number, 8)).save(place)
    dcfs = mounts.Dcfs(folder / "home")
    dcfs.ok("index", folder / "pictures", "--save", "pictures", "--with", "image", cwd=folder)
    with dcfs.mount(folder, folder / "mnt") as mount:
        yield mount.datasets / "pictures@1.0.0" / "_views" / "webdataset" / "shard=7"


def test_ultralytics_takes_the_dataset(boxed, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    root = boxed / "boxed_many" / "_views" / "yolo"
    data = check_det_dataset(str(root / "data.yaml"), autodownload=False)
    assert data["names"] == yaml.safe_load((root / "data.yaml").read_text())["names"]
    read = YOLODataset(img_path=data["train"], data=data, task="detect", imgsz=64, augment=False, cache=False)
    assert len(read.labels) == len([name for name in os.listdir(data["train"])])
    boxes = 0
    for label in read.labels:
        picture = Path(label["im_file"])
        text = (Path(str(picture.parent).replace("/images/", "/labels/")) / f"{picture.stem}.txt").read_text()
        wanted = [[float(word) for word in line.split()] for line in text.splitlines()]
        found = [[float(number), *map(float, box)] for (number,), box in zip(label["cls"], label["bboxes"])]
        assert len(found) == len(wanted) and all(one == pytest.approx(other, abs=1e-6) for one, other in zip(sorted(found), sorted(wanted)))
        boxes += len(found)
    assert boxes > 0


def test_wids_reads_samples_in_any_order(shards, tmp_path, monkeypatch):
    import wids

    found = wids.ShardListDataset(str(shards / "index.json"), cache_dir=str(tmp_path), keep=True)
    assert len(found) == 40
    for number in (39, 0, 17, 6, 7):
        sample = found[number]
        assert sample[".png"].size[0] == 10 + number == sample[".json"]["info"]["width"]
    index = json.loads((shards / "index.json").read_text())
    assert [shard["nsamples"] for shard in index["shardlist"]] == [7] * 5 + [5]
    assert all(os.stat(shards / shard["url"]).st_size == shard["filesize"] for shard in index["shardlist"])


def test_torchdata_reads_shards(shards):
    import torchdata.nodes as nodes
    import webdataset

    tars = sorted(str(path) for path in shards.glob("*.tar"))
    samples = webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
    node = nodes.Prefetcher(nodes.IterableWrapper(samples), prefetch_factor=4)
    widths = [sample["png"].size[0] for sample in nodes.Loader(node)]
    assert widths == list(range(10, 50))


@pytest.mark.parametrize("workers", [0, 2])
def test_webdataset_in_worker_processes(shards, workers):
    import webdataset

    tars = sorted(str(path) for path in shards.glob("*.tar"))
    samples = webdataset.WebDataset(tars, shardshuffle=False).decode("pil").map(lambda sample: sample["png"].size[0])
    loader = webdataset.WebLoader(samples, num_workers=workers, batch_size=None)
    assert sorted(loader) == list(range(10, 50))
