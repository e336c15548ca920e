"""Pets with the columns that a training script needs: a label, a split, sizes, a mask."""

import datetime
from typing import Optional

import datachain as dc
from datachain import ImageFile, func
from pydantic import BaseModel


class Info(BaseModel):
    width: int
    score: float
    note: Optional[str]
    sharp: bool
    taken: datetime.datetime


def number(path):
    return int(path.rsplit("_", 1)[1].split(".")[0])


def info(file: ImageFile) -> Info:
    n = number(file.path)
    return Info(
        width=file.read().size[0],
        score=n / 7,
        note=[None, "", "a/b \"c\"\n"][n % 3],
        sharp=n % 2 == 0,
        taken=datetime.datetime(2024, 1, 1 + n, 3, 4, 5, 678901 if n % 2 else 0),
    )


pets = (
    dc.read_storage("data/images", type="image")
    .map(label=lambda file: file.path.split("/")[-2], output=str)
    .map(split=lambda file: "test" if number(file.path) % 4 == 0 else "train", output=str)
    .map(info=info)
)
pets.save("pets")
dc.read_dataset("pets").select_except("split").save("pets_whole")
masks = dc.read_storage("data/masks", type="image", column="mask")
(
    dc.read_dataset("pets_whole")
    .mutate(stem=func.path.file_stem("file.path"))
    .merge(masks.mutate(stem=func.path.file_stem("mask.path")), on="stem")
    .select_except("stem", "right_stem")
    .save("pets_masked")
)
