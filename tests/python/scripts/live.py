"""Saves versions of `live` and removes old ones until its input ends; prints `saved V`, `removed V`.

python live.py FOLDER
"""

import select
import sys

import datachain as dc

KEPT = 3

alive = []
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    dc.read_storage(sys.argv[1]).mutate(number=number).save("live")
    alive.append(dc.read_dataset("live").version)
    print(f"saved {alive[-1]}", flush=True)
    while len(alive) > KEPT:
        print(f"removing {alive[0]}", flush=True)
        dc.delete_dataset("live", version=alive.pop(0))
