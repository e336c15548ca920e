"""Lists buckets, each into a dataset of its name.

python buckets.py ENDPOINT BUCKET...
"""

import sys

import datachain as dc

endpoint, *buckets = sys.argv[1:]
access = {"aws_endpoint_url": endpoint, "aws_key": "key", "aws_secret": "secret"}
for bucket in buckets:
    dc.read_storage(f"s3://{bucket}/", client_config=access).save(bucket)
