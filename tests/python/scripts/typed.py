"""Every kind of column: Optional, Literal, lists of models, dicts, NaN, bytes, nested Files, no File."""

import datetime
from typing import Literal, Optional

import datachain as dc
from datachain import C, DataModel, File, func
from pydantic import BaseModel


class Box(DataModel):
    title: str
    coords: list[int]


class Kind(BaseModel):
    kind: Literal["odd", "even"]
    note: Optional[str] = None


class Pair(DataModel):
    left: File
    right: Optional[File] = None


def is_odd(file: File) -> bool:
    return int(file.get_file_stem().rsplit("_")[-1]) % 2 == 1


def kind(file: File) -> Kind:
    return Kind(kind="odd" if is_odd(file) else "even")


def box(file: File) -> Optional[Box]:
    return Box(title=file.path, coords=[1, 2, 3, 4]) if is_odd(file) else None


def boxes(file: File) -> list[Box]:
    return [Box(title=file.path, coords=[1]), Box(title="\u65e5\u672c", coords=[])]


def facts(file: File) -> dict:
    return {"a/b": 1, "deep": {"nan": float("nan"), "text": 'quote " and | pipe'}}


def score(file: File) -> float:
    return float("nan") if is_odd(file) else float("inf")


def vector(file: File) -> list[float]:
    return [float("nan"), float("-inf"), 0.5]


def day(file: File) -> datetime.datetime:
    return datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)


def blob(file: File) -> bytes:
    return b"\x00\xff|`\n"


def pair(file: File) -> Pair:
    return Pair(left=file, right=file if is_odd(file) else None)


images = dc.read_storage("data/images")
(
    images.map(kind=kind)
    .map(box=box)
    .map(boxes=boxes)
    .map(facts=facts)
    .map(score=score)
    .map(vector=vector)
    .map(day=day)
    .map(blob=blob)
    .save("typed")
)
images.map(pair=pair).select("pair").save("pairs")
typed = dc.read_dataset("typed")
typed.group_by(count=func.count(), bytes=func.sum("file.size"), partition_by="kind.kind").save("per_kind")
typed.select("file.path", "score").save("partial")
typed.select("file.source", "file.path", "file.size", "score").save("partial_listed")
typed.filter(C("file.size") < 0).save("empty")
dc.read_values(scores=[1, 2, 3]).save("numbers")
