"""Listings as DataChain makes them, and the places to list."""

import json
import subprocess

import datachain_runs

PATTERNS = [
    "", "/", "/a", "/a/", "/a.jpg", "/*", "/*.jpg", "/**", "/**/*", "/**/*.jpg", "/**/x.jpg", "/a/**", "/a/*", "/*/*.jpg",
    "/a/**/x.jpg", "/*/b/*", "/**/b/**", "/**/b/**/*.txt", "/file?", "/file{1..2}", "/file{03..03}", "/*.{jpg,JPG}",
    "/[ab].*", "/[^ab].jpg", "/file[0-9]*", "/{a,deep}/**", "/*.{txt,png}", "/a/b/{c.png,x.jpg}", "/.*", "/a?b/*",
]  # fmt: skip
"""After the root; each names at least one folder that is there."""


def by_datachain(folder, uris, config=None, versions=True, environment=None):
    """The result of DataChain's `read_storage`, by URI, and its listings, by name: sets of rows."""
    folder.mkdir(exist_ok=True)
    script = datachain_runs.SCRIPTS / "listing.py"
    arguments = [json.dumps(config or {}), "1" if versions else "0", *uris]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = datachain_runs.start(script, folder, *arguments, environment=environment, **pipe)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    answers = json.loads(output.rsplit("ANSWERS", 1)[1].splitlines()[0])
    return {name: sorted(map(normal, rows)) for name, rows in answers.items()}


def normal(row):
    """A row with its time as dcfs prints it."""
    *rest, time = row
    time = time.removesuffix("+00:00").replace("T", " ")
    return (*rest[:5], bool(rest[5]), time if "." in time else f"{time}.000000")


def config_of(s3):
    """The settings with which DataChain reaches a server."""
    return {"aws_endpoint_url": s3.url, "aws_key": "key", "aws_secret": "secret"}
