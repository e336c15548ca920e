"""Images in nested folders, and the same joined with their masks: listing, raw, sized, large, masked."""

import datachain as dc
from datachain import C, ImageFile, func
from pydantic import BaseModel


class Info(BaseModel):
    width: int
    height: int


def info(file: ImageFile) -> Info:
    width, height = file.read().size
    return Info(width=width, height=height)


dc.read_storage("data/images", type="image").save("pets_raw")
dc.read_dataset("pets_raw").map(info=info).save("pets_sized")
dc.read_dataset("pets_sized").filter(C("info.width") > 400).save("pets_large")
masks = dc.read_storage("data/masks", type="image", column="mask")
(
    dc.read_dataset("pets_large")
    .mutate(stem=func.path.file_stem("file.path"))
    .merge(masks.mutate(stem=func.path.file_stem("mask.path")), on="stem")
    .save("pets_masked")
)
