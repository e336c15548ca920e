"""A typical script of a team: from folders of images and masks to a dataset with sizes and labels."""

import datachain as dc
from datachain import C, ImageFile, func
from pydantic import BaseModel


class Info(BaseModel):
    width: int
    height: int


def info(file: ImageFile) -> Info:
    width, height = file.read().size
    return Info(width=width, height=height)


dc.read_storage("images", type="image").save("pets_raw")

(
    dc.read_dataset("pets_raw")
    .map(info=info)
    .mutate(label=func.path.name(func.path.parent("file.path")))
    .save("pets_images")
)

masks = dc.read_storage("masks", type="image", column="mask")
(
    dc.read_dataset("pets_images")
    .filter(C("info.width") > 400)
    .mutate(stem=func.path.file_stem("file.path"))
    .merge(masks.mutate(stem=func.path.file_stem("mask.path")), on="stem")
    .select("file", "mask", "info", "label")
    .save("pets_masked")
)
