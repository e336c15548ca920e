"""Removes a version: python remove.py DATASET VERSION."""

import sys

import datachain as dc

dc.delete_dataset(sys.argv[1], version=sys.argv[2])
