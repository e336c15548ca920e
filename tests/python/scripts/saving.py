"""Saves versions of a dataset made of `few`, one after another; prints each.

python saving.py NAME COUNT
"""

import sys

import datachain as dc

name, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    dc.read_dataset("few").mutate(number=number).save(name)
    print(dc.read_dataset(name).version, flush=True)
