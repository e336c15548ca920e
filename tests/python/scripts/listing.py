"""Prints the result of `read_storage`, and the listings behind it, as JSON.

python listing.py CLIENT_CONFIG VERSIONS URI...
"""

import contextlib
import json
import sqlite3
import sys

import datachain as dc

FIELDS = ["source", "path", "size", "version", "etag", "is_latest", "last_modified"]

config, versions, *uris = sys.argv[1:]
answers = {}
for uri in uris:
    chain = dc.read_storage(uri, client_config=json.loads(config), versions=versions == "1", update=True)
    *names, time = [f"file.{name}" for name in FIELDS]
    answers[uri] = [[*row[:-1], str(row[-1])] for row in chain.to_list(*names, time)]

# Listings have no schema of their own that a chain could read.
with contextlib.closing(sqlite3.connect(".datachain/db")) as db:
    query = "SELECT d.name, max(v.version) FROM datasets d JOIN datasets_versions v ON v.dataset_id = d.id GROUP BY d.name"
    for name, version in db.execute(query).fetchall():
        if name.startswith("lst__"):
            table = f"src_system_listing_{name}_{version.replace('.', '_')}"
            columns = ", ".join(f"file__{field}" for field in FIELDS)
            answers[name] = db.execute(f'SELECT {columns} FROM "{table}"').fetchall()
print("ANSWERS" + json.dumps(answers))
