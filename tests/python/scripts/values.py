"""Prints every dataset as DataChain reads it, for `test_tables.py`: a pickle of plain values."""

import pickle
import sys

import datachain as dc
from pydantic import BaseModel


def plain(value):
    """Models as dictionaries of their stored fields, all else as it is."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


out, *names = sys.argv[1:]
read = {}
for name in names:
    chain = dc.read_dataset(name)
    signals = [name for name in chain.signals_schema.values if name != "sys"]
    rows = chain.to_list(*signals) if signals else []
    read[name] = [dict(zip(signals, map(plain, row))) for row in rows]
with open(out, "wb") as file:
    pickle.dump(read, file)
