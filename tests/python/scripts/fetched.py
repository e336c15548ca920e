"""Saves `fetched`: the objects of a bucket, each read by DataChain, which keeps them in its own cache.

python fetched.py ENDPOINT BUCKET
"""

import sys

import datachain as dc
from datachain import File

endpoint, bucket = sys.argv[1:]
access = {"aws_endpoint_url": endpoint, "aws_key": "key", "aws_secret": "secret"}


def length(file: File) -> int:
    return len(file.read())


chain = dc.read_storage(f"s3://{bucket}/", client_config=access)
chain.settings(cache=True, prefetch=0).map(length=length).save("fetched")
