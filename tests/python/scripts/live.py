"""Saves versions of `live`, at least one, and removes old ones until something comes on its input.

Prints `saved V` after and `removing V` before the fact.

python live.py FOLDER
"""

import select
import sys

import datachain as dc

KEPT = 3

alive = []
number = 0
while True:
    number += 1
    dc.read_storage(sys.argv[1]).mutate(number=number).save("live")
    alive.append(dc.read_dataset("live").version)
    print(f"saved {alive[-1]}", flush=True)
    while len(alive) > KEPT:
        print(f"removing {alive[0]}", flush=True)
        dc.delete_dataset("live", version=alive.pop(0))
    if select.select([sys.stdin], [], [], 0)[0]:
        break
