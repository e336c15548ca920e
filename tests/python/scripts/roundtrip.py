"""Reads every dataset of a side file back, compares each value, and saves it twice; for `test_roundtrip.py`.

python roundtrip.py SIDE

SIDE is `{name: {"signals": .., "rows": ..}}`, as the program `roundtrip` prints them. `<name>_copy` is what a chain
saves without looking at it; `<name>_remade` is made anew of the values that were read. What is wrong is printed, and the
end is 1.
"""

import contextlib
import io
import json
import struct
import sys
from datetime import datetime, timedelta, timezone

import datachain as dc
import pandas
from pydantic import BaseModel

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BUILT_IN = {"file": ("source", "path", "size", "version", "etag", "is_latest", "last_modified", "location"), "image": ("width", "height", "format")}


def told(value, kind, optional):
    """A value in the form of the side file."""
    if value is None:
        return None
    if isinstance(kind, list) or kind in BUILT_IN:
        assert isinstance(value, BaseModel), value
        fields = [(name, None, True) for name in BUILT_IN[kind]] if isinstance(kind, str) else kind
        return {"model": {name: told(getattr(value, name), *rest) for name, *rest in fields}}
    if isinstance(value, list):
        item = kind[len("list[") : -1]
        return [told(one, item, False) if not is_nan(one) else {"float": 0x7FF8000000000000} for one in value]
    if isinstance(value, dict):
        return {"dict": {key: told(one, "str", False) for key, one in value.items()}}
    if isinstance(value, float):
        return None if is_nan(value) else {"float": struct.unpack("<Q", struct.pack("<d", value))[0]}
    if isinstance(value, datetime):
        return {"time": (value - EPOCH) // timedelta(microseconds=1)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    assert isinstance(value, {"str": str, "int": int, "bool": bool}.get(kind, object)), (kind, value)
    return value


def is_nan(value):
    return isinstance(value, float) and value != value


def compare(name, what, found, wanted):
    """How many values of rows differ; the first is printed."""
    if len(found) != len(wanted):
        print(f"{name}: {len(found)} rows by {what}, not {len(wanted)}")
        return 1
    for number, (row, record) in enumerate(zip(found, wanted)):
        for at, (one, other) in enumerate(zip(row, record, strict=True)):
            if one != other:
                print(f"{name}: row {number}, signal {at} by {what}: {one!r}, not {other!r}")
                return 1
    return 0


def check(name, side):
    chain = dc.read_dataset(name)
    signals, rows = side["signals"], side["rows"]
    names = [name for name, *_ in signals]
    values = [list(row) for row in chain.to_list(*names)]
    found = [[told(value, *rest) for value, (_, *rest) in zip(row, signals)] for row in values]
    wrong = compare(name, "to_list", found, rows)
    wrong += tables(name, chain, names, rows)
    chain.save(f"{name}_copy")
    types = {name: chain.signals_schema.values[name] for name in names}
    columns = {name: [row[at] for row in values] for at, name in enumerate(names)}
    dc.read_values(**columns, output=types).save(f"{name}_remade")
    return wrong


def tables(name, chain, names, rows):
    """Prints, counts and copies the datasets."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        chain.print_schema()
    frame = chain.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    lost = [one for one in names if one not in printed.getvalue()]
    counts = {"to_pandas": len(frame), "count": chain.count()}
    wrong = [f"{name}: {count} rows by {what}" for what, count in counts.items() if count != len(rows)]
    wrong += [f"{name}: `{one}` is not printed" for one in lost]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return len(wrong)


with open(sys.argv[1]) as file:
    sides = json.load(file)
failed = 0
for name, side in sides.items():
    try:
        failed += check(name, side)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}; {side['signals']}")
        failed += 1
sys.exit(failed > 0)
