"""The files that DataChain's `process_tar` finds in the shards of a folder, as JSON: names and contents, in order."""

import json
import sys

import datachain as dc
from datachain.lib.tar import process_tar

found = dc.read_storage(sys.argv[1]).gen(member=process_tar).order_by("member.path")
rows = [(file.path, file.read().hex()) for (file,) in found.to_iter("member")]
print("found:" + json.dumps(rows))
