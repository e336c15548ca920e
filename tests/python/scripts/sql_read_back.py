"""Prints, as JSON, the schema and the rows of the datasets named, as DataChain reads them."""

import json
import sys

import datachain as dc

told = {}
for name in sys.argv[1:]:
    chain = dc.read_dataset(name)
    types = {signal: str(getattr(kind, "__name__", kind)) for signal, kind in chain.schema.items()}
    told[name] = {"types": types, "rows": [[str(value) for value in row] for row in chain.to_list()]}
print(json.dumps(told))
