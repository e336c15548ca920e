"""Reads a dataset that `dcfs index` saved, in a fresh process, and works with it.

python indexed.py NAME FOLDER
"""

import json
import sys

import datachain as dc

name, uri = sys.argv[1:]
chain = dc.read_dataset(name)
answers = {
    "schema": str(chain.schema),
    "rows": len(chain.to_pandas()),
    "filtered": chain.filter(dc.C("file.size") > 0).count(),
    "before": chain.count(),
}


def length(file: dc.File) -> int:
    return len(file.read())


# `map` has to read the very objects.
mapped = dc.read_dataset(name).map(length=length)
answers["lengths"] = sorted(map(list, mapped.to_list("file.path", "length")))
answers["listed"] = dc.read_storage(uri).count()
parents = dc.query.Session.get().catalog.get_dataset_dependencies(name, "1.0.0", indirect=False)
answers["parents"] = [parent.name for parent in parents if parent]
dc.read_storage(uri, delta=True).map(more=length).save("on_top")
answers["on_top"] = dc.read_dataset("on_top").count()
chain.save(name)
print("ANSWERS" + json.dumps(answers))
