"""Prints how many files `read_storage` finds with the existing listing, and saves them.

python reads_storage.py URI NAME
"""

import sys

import datachain as dc

uri, name = sys.argv[1:]
chain = dc.read_storage(uri)
print(f"FOUND {chain.count()}")
if name:
    chain.save(name)
