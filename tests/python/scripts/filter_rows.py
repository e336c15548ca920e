"""Asks DataChain which rows of `awkward` pass each of many random filters, all in one process.

Writes a line of JSON for each: `text` (for dcfs), `source` (for DataChain), and the `sys__id`s of
the rows as `rows`, or the name of the exception as `error`.

python filter_rows.py OUT SEED COUNT
"""

import datetime
import json
import sys
import warnings
from pathlib import Path

import sqlalchemy as sa

import datachain as dc
from datachain import C, func
from datachain.sql import functions as sql

sys.path.insert(0, str(Path(__file__).parent.parent))

import filters


def answer(rows, source):
    """The matching rows, or why DataChain cannot determine them."""
    names = {"C": C, "func": func, "sa": sa, "sql": sql, "datetime": datetime}
    try:
        return {"rows": sorted(rows.filter(eval(source, names)).to_values("sys.id"))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


out, seed, count = sys.argv[1:]
# A division by zero or a doubtful pattern is an expected result.
sys.unraisablehook = lambda _: None
warnings.simplefilter("ignore")
rows = dc.read_dataset("awkward").settings(sys=True)
with open(out, "w") as file:
    for text, source in filters.generate(seed, int(count)):
        print(json.dumps({"text": text, "source": source, **answer(rows, source)}), file=file)
