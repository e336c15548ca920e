"""`yolo/` and `coco/` of a real mount, read by pycocotools and by a parser of YOLO's format, values equal to DataChain's."""

import csv
import errno
import json
import os
import re
import tarfile

import pytest
import yaml
from PIL import Image

import datachain_runs
import mounts

pytestmark = pytest.mark.mount

WIDTH, HEIGHT = 100, 50


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxed")
    datachain_runs.run("boxed", folder)
    with mounts.Dcfs(folder / "home").mount(folder, folder / "mnt") as mount:
        yield mount.datasets


def rows(version):
    return [json.loads(line) for line in (version / "_rows.jsonl").read_text().splitlines()]


def yolo(root):
    """A dataset as Ultralytics reads it: by split, the objects of every picture."""
    data = yaml.safe_load((root / "data.yaml").read_text())
    assert {"train", "val", "names"} <= set(data)
    found = {}
    for split in ("train", "val", "test"):
        if split not in data:
            continue
        for place, _, names in os.walk(root / data[split]):
            for name in names:
                picture = os.path.join(place, name)
                Image.open(picture).verify()
                # `img2label_paths` of Ultralytics.
                images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
                label = labels.join(picture.rsplit(images, 1)).rsplit(".", 1)[0] + ".txt"
                with open(label) as file:
                    text = file.read()
                assert os.stat(label).st_size == len(text)
                lines = [[float(word) for word in line.split()] for line in text.splitlines()]
                for line in lines:
                    assert line[0] == int(line[0]) and int(line[0]) in data["names"]
                found[split, int(name.split(".")[0])] = [(data["names"][int(line[0])], line[1:]) for line in lines]
    return data, found


def test_boxes_are_those_of_datachain(boxed):
    version = boxed / "boxed_many"
    data, found = yolo(version / "_views/yolo")
    assert list(data["names"].values()) == ['a "cat"', "bird: 1", "dog"]
    wanted = {}
    for row in rows(version):
        objects = []
        for box in row["boxes"]:
            left, top, right, bottom = box["coords"]
            right = min(right, WIDTH)
            objects.append((box["title"], [(left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]))
        wanted[row["split"], row["sys__id"]] = objects
    assert found.keys() == wanted.keys() and len(wanted) == 9
    for picture, objects in wanted.items():
        assert [name for name, _ in found[picture]] == [name for name, _ in objects]
        for (_, got), (_, want) in zip(found[picture], objects):
            assert got == pytest.approx(want, abs=1e-6)
    assert any(not objects for objects in wanted.values()), "a picture without boxes has an empty label"


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("boxed_one", {4: 0.1}),
        ("boxed_turned", {8: 0.1}),
        ("boxed_segment", {6: 0.1}),
        ("boxed_pose", {4 + 17 * 3: 0.175}),
        ("boxed_found", {4: 0.15}),
    ],
)  # fmt: skip
def test_every_model_is_recognised(boxed, name, wanted):
    data, found = yolo(boxed / name / "_views/yolo")
    objects = [numbers for objects in found.values() for _, numbers in objects]
    assert len(objects) >= 4
    ((count, first),) = wanted.items()
    assert all(len(numbers) == count for numbers in objects)
    assert objects[0][0] == pytest.approx(first if name != "boxed_one" else 0.15)
    assert data.get("kpt_shape") == ([17, 3] if name == "boxed_pose" else None)
    assert set(os.listdir(boxed / name / "_views")) >= {"yolo", "coco"}


def test_options_say_what_numbers_mean(boxed):
    version = boxed / "boxed_bare"
    assert not {"yolo", "coco"} & set(os.listdir(version / "_views")), "nothing is recognised"
    assert os.listdir(version / "_views/yolo") == []
    data, found = yolo(version / "_views/yolo/boxes=bare,format=cxcywh,coords=normalised")
    assert data["names"] == {0: "object"}
    assert all(objects == [("object", [0.5, 0.5, 0.2, 0.4])] for objects in found.values()) and found
    data, found = yolo(version / "_views/yolo/boxes=bare,coords=normalised,format=cxcywh,class=caption,val=0.5,seed=1")
    assert len(data["names"]) == 9
    assert {split for split, _ in found} == {"train", "val"}


@pytest.mark.parametrize(
    "name", ["boxes=nothing", "boxes=bare,format=x", "boxes=bare,colour=red", "boxes=bare,split=file.ext", "boxes=bare,val=2"]
)
def test_wrong_options_say_so(boxed, name):
    with pytest.raises(OSError) as error:
        os.stat(boxed / "boxed_bare/_views/yolo" / name)
    assert error.value.errno == errno.EINVAL


def test_what_is_no_box_fails_and_is_not_left_out(boxed):
    for layout in ("yolo/boxes=bad/data.yaml", "yolo/boxes=bare/data.yaml", "coco/boxes=bad/annotations.json"):
        with pytest.raises(OSError) as error:
            (boxed / "boxed_bare/_views" / layout).read_text()
        assert error.value.errno == errno.EINVAL, layout


def test_a_filter_has_the_numbers_of_the_whole(boxed):
    version = boxed / "boxed_many"
    part = version / "split = val"
    data, found = yolo(part / "_views/yolo")
    assert list(data["names"].values()) == ['a "cat"', "bird: 1", "dog"]
    assert os.listdir(part / "_views/yolo/images") == ["val"]
    assert {picture for _, picture in found} == {row["sys__id"] for row in rows(part)}


def test_pycocotools_reads_boxes(boxed, capsys):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    version = boxed / "boxed_many"
    root = version / "_views/coco"
    coco = COCO(root / "annotations.json")
    wanted = {row["sys__id"]: row for row in rows(version)}
    assert sorted(coco.getImgIds()) == sorted(wanted)
    for picture in coco.loadImgs(coco.getImgIds()):
        row = wanted[picture["id"]]
        assert (picture["width"], picture["height"]) == (WIDTH, HEIGHT)
        assert (root / "images" / picture["file_name"]).read_bytes() == (version / row["path"]).read_bytes()
        objects = coco.loadAnns(coco.getAnnIds(picture["id"]))
        names = [coco.loadCats(one["category_id"])[0]["name"] for one in objects]
        assert names == [box["title"] for box in row["boxes"]]
        for one, box in zip(objects, row["boxes"]):
            left, top, right, bottom = box["coords"]
            right = min(right, WIDTH)
            assert one["bbox"] == [left, top, right - left, bottom - top]
            assert one["area"] == (right - left) * (bottom - top)
    assert sorted(os.listdir(root / "images")) == sorted(picture["file_name"] for picture in coco.dataset["images"])


def test_pycocotools_reads_outlines_keypoints_and_captions(boxed):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    segments = COCO(boxed / "boxed_segment/_views/coco/annotations.json")
    first = segments.loadAnns(segments.getAnnIds())[0]
    assert first["segmentation"] == [[10, 10, 30, 10, 30, 40]] and first["area"] == 300
    # Of a mask of pixels.
    assert segments.annToMask(first).sum() == pytest.approx(300, abs=40)
    poses = COCO(boxed / "boxed_pose/_views/coco/annotations.json")
    first = poses.loadAnns(poses.getAnnIds())[0]
    assert len(first["keypoints"]) == 51 and first["num_keypoints"] == 16
    captions = COCO(boxed / "boxed_bare/_views/coco/caption=caption/annotations.json")
    texts = [one["caption"] for one in captions.loadAnns(captions.getAnnIds())]
    assert texts == [row["caption"] for row in rows(boxed / "boxed_bare")]


def test_class_names_are_one_line_each(boxed):
    text = (boxed / "boxed_many/_views/yolo/data.yaml").read_text()
    assert re.findall(r"^  (\d): ", text, re.M) == ["0", "1", "2"]


def test_hugging_face_has_captions_and_a_card_by_name(boxed):
    hub = boxed / "boxed_bare/_views/hf"
    assert not {"captions.csv", "README.md"} & set(os.listdir(hub))
    with open(hub / "captions.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["file_name"], row["text"]) for row in found] == [
        (row["path"], row["caption"]) for row in rows(boxed / "boxed_bare")
    ]
    card = (hub / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["configs"][0]["data_files"] == [{"split": "train", "path": "**"}]
    assert not (boxed / "boxed_one/_views/hf/captions.csv").exists()


def test_several_files_of_a_row_are_one_sample(boxed):
    version = boxed / "boxed_masked"
    (shard,) = os.scandir(version / "_views/webdataset/-")
    with tarfile.open(shard.path) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    wanted = {}
    for row in rows(version):
        key = f"{row['sys__id']:09}"
        wanted[f"{key}.png"] = (version / row["path"]["file"]).read_bytes()
        if row["path"]["mask"]:
            wanted[f"{key}.mask.png"] = (version / row["path"]["mask"]).read_bytes()
        assert json.loads(found.pop(f"{key}.json")) == row
    assert found == wanted and sum(".mask." in name for name in wanted) == 5
    (shard,) = os.scandir(version / "_views/webdataset/files=mask,json=no")
    with tarfile.open(shard.path) as tar:
        assert [name.split(".", 1)[1] for name in tar.getnames()] == ["png"] * 5


def test_other_layouts_are_of_the_first_column_of_files(boxed):
    version = boxed / "boxed_masked"
    lines = (version / "_views/epochs/1/0.txt").read_text().splitlines()
    assert sorted(lines) == sorted(row["path"]["file"] for row in rows(version))
    assert all((version / line).is_file() for line in lines)
    _, found = yolo(version / "_views/yolo")
    assert len(found) == 9
    page = (version / "_views/gallery/index.html").read_text()
    assert page.count("<img") == 9 and "../../file/images/0.png" in page
