"""Prints what `read_storage` lists, and what is in the listing behind it, as JSON.

python listing.py CLIENT_CONFIG VERSIONS URI...
"""

import json
import sys

import datachain as dc
from datachain.query.session import Session

FIELDS = ["path", "size", "version", "etag", "is_latest", "last_modified"]


def rows(chain):
    names = [f"file.{name}" for name in ["source", *FIELDS]]
    return [[str(value) if name == "last_modified" else value for name, value in zip(["source", *FIELDS], row)] for row in chain.to_list(*names)]


config, versions, *uris = sys.argv[1:]
answers = {}
for uri in uris:
    chain = dc.read_storage(uri, client_config=json.loads(config), versions=versions == "1", update=True)
    answers[uri] = {"rows": rows(chain)}
catalog = Session.get().catalog
for listing in catalog.ls_datasets(include_listing=True):
    if listing.name.startswith("lst__"):
        chain = dc.read_dataset(listing.name, namespace="system", project="listing")
        answers[listing.name] = {"rows": rows(chain)}
print("ANSWERS" + json.dumps(answers))
