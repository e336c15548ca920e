"""Saves `static`: a row for each file below FOLDER, as objects of bucket `b` of an nginx server.

python static.py FOLDER

The etag is nginx's: the time of change and the size, in hexadecimal.
"""

import sys
from datetime import datetime, timezone
from pathlib import Path

import datachain as dc
from datachain import File

root = Path(sys.argv[1])


def row(path: Path) -> File:
    found = path.stat()
    return File(
        source="s3://b",
        path=str(path.relative_to(root)),
        size=found.st_size,
        etag=f"{int(found.st_mtime):x}-{found.st_size:x}",
        last_modified=datetime.fromtimestamp(int(found.st_mtime), timezone.utc),
    )


paths = sorted(path for path in root.rglob("*") if path.is_file())
dc.read_values(file=[row(path) for path in paths]).save("static")
