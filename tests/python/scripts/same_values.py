"""Fails where two datasets differ in a value or a type as DataChain reads them.

python same_values.py < lines of JSON, each a list of two names
"""

import json
import sys

from pydantic import ValidationError

import datachain as dc


def models(chain):
    """Every row as its models; `None` where DataChain cannot read back what it wrote (a NaN in an optional model)."""
    try:
        return [repr(row) for row in chain.to_list()]
    except ValidationError:
        return None


def columns(chain):
    """Every column, flat."""
    frame = chain.to_pandas(flatten=True)
    return {name: repr(frame[name].tolist()) for name in frame.columns}


for line in sys.stdin:
    original, copy = (dc.read_dataset(**wanted) for wanted in json.loads(line))
    assert repr(original.signals_schema) == repr(copy.signals_schema), line
    # Compared as text, because NaN is not equal to itself; models print all of their fields.
    assert models(original) == models(copy), line
    assert columns(original) == columns(copy), line
