"""Reads a dataset saved by dcfs: types, values, filters, files, and saves the next version on top.

python read_back.py NAME
"""

import sys

import datachain as dc
from datachain import C

name = sys.argv[1]
chain = dc.read_dataset(name)
chain.print_schema()
frame = chain.to_pandas()
count = chain.count()
assert len(frame) == count > 0, (len(frame), count)

ids = chain.to_values("sys.id")
assert chain.filter(C("sys.id") > ids[0]).count() == count - 1


def length(file) -> int:
    return len(file.read())


lengths = chain.map(length=length).to_values("length")
assert lengths == chain.to_values("file.size"), lengths

chain.mutate(again=1).save(name)
