"""Pulls datasets of the team `team` by reading them, as a script does: `pulls.py NAME...`."""

import sys

import datachain as dc

for name in sys.argv[1:]:
    chain = dc.read_dataset(f"team.prod.{name}")
    print(name, chain.count())
