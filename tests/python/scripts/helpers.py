"""Saves `helpers`: every file below FOLDER.

python helpers.py FOLDER
"""

import sys

import datachain as dc

dc.read_storage(sys.argv[1]).save("helpers")
