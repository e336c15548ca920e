"""Pictures with boxes in every model that DataChain has for them, and bare lists, saved as `boxed_...`."""

from typing import Optional

import datachain as dc
from datachain import DataModel, File
from datachain.model.bbox import BBox, OBBox
from datachain.model.pose import Pose3D
from datachain.model.segment import Segment
from datachain.model.ultralytics.bbox import YoloBBoxes
from PIL import Image

SIZE = (100, 50)
CLASSES = ["dog", 'a "cat"', "bird: 1"]


class Info(DataModel):
    width: int
    height: int


def number(file: File) -> int:
    return int(file.get_file_stem())


def info(file: File) -> Info:
    return Info(width=SIZE[0], height=SIZE[1])


def boxes(file: File) -> list[BBox]:
    # The third picture has none, and that of the fourth exceeds its picture.
    return [
        BBox(title=CLASSES[at % 3], coords=[at, 10, 90 if number(file) != 3 else 150, 30])
        for at in range(0 if number(file) == 2 else number(file) % 3 + 1)
    ]


def one(file: File) -> Optional[BBox]:
    return BBox(title="dog", coords=[10, 10, 20, 20]) if number(file) % 2 else None


def turned(file: File) -> OBBox:
    return OBBox(title="ship", coords=[10, 10, 30, 10, 30, 20, 10, 20])


def segment(file: File) -> Segment:
    return Segment(title="leaf", x=[10, 30, 30], y=[10, 10, 40])


def pose(file: File) -> Pose3D:
    return Pose3D(x=[10 + at for at in range(17)], y=[5 + at for at in range(17)], visible=[1.0] * 16 + [0.0])


def found(file: File) -> YoloBBoxes:
    box = BBox(title="", coords=[10, 10, 20, 20])
    return YoloBBoxes(cls=[7, 8], name=["x", "y"], confidence=[0.5, 0.6], box=[box, box])


def bare(file: File) -> list[list[float]]:
    return [[0.5, 0.5, 0.2, 0.4]]


def bad(file: File) -> list[str]:
    return ["no box"]


def caption(file: File) -> str:
    return f"the {number(file)}th, \u65e5\u672c"


def split(file: File) -> str:
    return ["train", "train", "val"][number(file) % 3]


import os

os.makedirs("pictures/images", exist_ok=True)
for at in range(9):
    # A folder called `images`, which loaders replace by `labels`.
    Image.new("RGB", SIZE, (at, 0, 0)).save(f"pictures/images/{at}.png")

chain = dc.read_storage("pictures").persist()
chain.map(info=info, boxes=boxes, split=split).save("boxed_many")
chain.map(info=info, one=one).save("boxed_one")
chain.map(info=info, turned=turned).save("boxed_turned")
chain.map(info=info, segment=segment).save("boxed_segment")
chain.map(info=info, pose=pose).save("boxed_pose")
chain.map(info=info, found=found).save("boxed_found")
chain.map(bare=bare, bad=bad, caption=caption).save("boxed_bare")

os.makedirs("masks", exist_ok=True)
for at in range(0, 9, 2):
    Image.new("L", SIZE, at).save(f"masks/{at}.png")
stem = dc.func.path.file_stem
masks = dc.read_storage("masks", column="mask").mutate(stem=stem("mask.path"))
both = dc.read_dataset("boxed_many").mutate(stem=stem("file.path")).merge(masks, on="stem")
both.select_except("stem", "right_stem").save("boxed_masked")
