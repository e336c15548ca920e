"""Lists storages, all of them into one dataset.

python stores.py DATASET CLIENT_CONFIG URI...
"""

import json
import sys
from functools import reduce

import datachain as dc

dataset, config, *uris = sys.argv[1:]
chains = [dc.read_storage(uri, client_config=json.loads(config)) for uri in uris]
reduce(lambda a, b: a.union(b), chains).save(dataset)
