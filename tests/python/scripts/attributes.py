"""Saves `attributes`: four files, of which `b.txt` is named by two rows that differ, and their columns."""

import datetime
from pathlib import Path
from typing import Optional

import datachain as dc
from datachain import DataModel


class Size(DataModel):
    width: int
    ratio: float


class Info(DataModel):
    size: Size
    label: Optional[str] = None


for name in ("a", "b", "sub/c", "sub/d"):
    path = Path("data") / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{name}\n")

a, b, c, d = dc.read_storage("data").order_by("file.path").to_values("file")
noon = datetime.datetime(2024, 1, 2, 12, 0, 0, 250000)
dc.read_values(
    file=[a, b, b, c, d],
    info=[
        Info(size=Size(width=400, ratio=0.1), label="pug"),
        Info(size=Size(width=401, ratio=2.0), label="beagle"),
        Info(size=Size(width=402, ratio=2.0)),
        Info(size=Size(width=-1, ratio=float("inf")), label='say "hi"\n\u65e5'),
        Info(size=Size(width=0, ratio=1e300)),
    ],
    good=[True, False, False, True, False],
    seen=[noon] * 5,
    vector=[[0.5, 1.0], [0.5], [0.5], [], [1e300]],
    facts=[{"a": [1]}] * 5,
).save("attributes")
