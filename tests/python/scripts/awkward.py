"""Saves `awkward`: 320 rows of every kind of column, their values drawn from the pools in `pools.py`.

Each value of a pool is in some row: every column cycles through its pool in its
own order. The seed is fixed.
"""

import random
import sys
from datetime import datetime
from pathlib import Path
from typing import Optional

import datachain as dc
from datachain import DataModel, File

sys.path.insert(0, str(Path(__file__).parent.parent))

import pools

ROWS = 320

rng = random.Random(4)


class Spot(DataModel):
    x: int
    text: str


class Info(DataModel):
    width: int
    score: float
    label: str
    maybe: Optional[int] = None
    note: Optional[str] = None
    sure: bool
    taken: datetime
    seen: Optional[datetime] = None
    numbers: list[int]
    spots: list[Spot]


class Box(DataModel):
    left: int
    ratio: float
    title: str
    info: Optional[Info] = None


def column(pool, nones=False):
    """`ROWS` values that go round the pool, in random order; with `nones`, one of four is None."""
    values = [pool[number % len(pool)] for number in range(ROWS)]
    rng.shuffle(values)
    return [None if nones and rng.random() < 0.25 else value for value in values]


def models(model, nones=False, **columns):
    """A column of models from columns of their fields."""
    fields = [dict(zip(columns, values)) for values in zip(*columns.values())]
    return [None if nones and rng.random() < 0.25 else model(**values) for values in fields]


def spots(x, text):
    """No more than three; without NUL, as in `pools.DICTS`."""
    return [Spot(x=x + number, text=text.replace("\0", "0")) for number in range(x % 4)]


def infos(nones=False):
    return models(
        Info,
        nones,
        width=column(pools.INTS),
        score=column(pools.FLOATS),
        label=column(pools.STRINGS),
        maybe=column(pools.SMALL, nones=True),
        note=column(pools.STRINGS, nones=True),
        sure=column([True, False]),
        taken=column(pools.TIMES),
        seen=column(pools.TIMES, nones=True),
        numbers=column(pools.INT_LISTS),
        spots=[spots(x, text) for x, text in zip(column(pools.SMALL), column(pools.STRINGS))],
    )


def files(nones=False):
    sizes = column([0, 1, 100, 2**40])
    return models(File, nones, source=["s3://bucket"] * ROWS, path=column(pools.PATHS), size=sizes)


signals = {
    "file": (File, files()),
    "mask": (Optional[File], files(nones=True)),
    "n": (int, column(pools.INTS)),
    "small": (int, column(pools.SMALL)),
    "maybe": (Optional[int], column(pools.INTS, nones=True)),
    "f": (float, column(pools.FLOATS)),
    "maybe_f": (Optional[float], column(pools.FLOATS, nones=True)),
    "s": (str, column(pools.STRINGS)),
    "label": (str, column(pools.LABELS)),
    "maybe_s": (Optional[str], column(pools.STRINGS, nones=True)),
    "b": (bool, column([True, False])),
    "maybe_b": (Optional[bool], column([True, False], nones=True)),
    "t": (datetime, column(pools.TIMES)),
    "maybe_t": (Optional[datetime], column(pools.TIMES, nones=True)),
    "info": (Info, infos()),
    "box": (
        Optional[Box],
        models(
            Box,
            nones=True,
            left=column(pools.SMALL),
            ratio=column(pools.FLOATS),
            title=column(pools.STRINGS),
            info=infos(nones=True),
        ),
    ),
    "ints": (list[int], column(pools.INT_LISTS)),
    "tags": (list[str], column(pools.STRING_LISTS)),
    "maybe_ints": (Optional[list[int]], column(pools.INT_LISTS, nones=True)),
    "emb": (list[float], column(pools.VECTORS)),
    "flat": (list[float], column([*pools.VECTORS, pools.ZEROS])),
    "meta": (dict, column(pools.DICTS)),
    # The names are words of the language of filters.
    "order": (int, column(pools.SMALL)),
    "like": (str, column(pools.LABELS)),
}
dc.read_values(
    **{name: values for name, (_, values) in signals.items()},
    output={name: kind for name, (kind, _) in signals.items()},
).save("awkward")
