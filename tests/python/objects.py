"""A dataset whose files are served by nginx, and the requests to that server."""

import contextlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import datachain_runs
import servers


@dataclass
class Store:
    folder: Path
    bucket: Path
    url: str
    files: dict
    secure: str = ""
    authority: Path | None = None

    @contextlib.contextmanager
    def mounted(self, dcfs, point, *options, secure=False):
        """A mount of the catalog; the version's directory."""
        url = self.secure if secure else self.url
        with dcfs.mount(self.folder, point, "--anon", "--endpoint-url", url, *options) as mount:
            yield mount.datasets / "static@1.0.0"

    def access(self):
        """The flags with which a command without a mount reaches the store."""
        return ["--catalog", self.folder, "--anon", "--endpoint-url", self.url]

    def asked(self):
        """The requested names, in order."""
        log = (self.folder / "access.log").read_text()
        return [match[1] for match in re.finditer(r'"GET /b/(\S+) HTTP', log)]

    def connections(self, before):
        """How many connections the requests after the first `before` came over."""
        log = (self.folder / "access.log").read_text()
        return len(set(re.findall(r'^(\d+) "GET /b/', log, re.MULTILINE)[before:]))

    def asked_twice(self, before, root):
        """How many names were requested again after the first `before`, except those that the mount raced because they were slow."""
        page = (root.parent.parent / "_metrics.prom").read_text()
        raced = int(re.search(r"^dcfs_requests_raced_total (\d+)$", page, re.MULTILINE)[1])
        asked = self.asked()[before:]
        return max(0, len(asked) - len(set(asked)) - raced)

    def asked_after(self, before, wanted, seconds=30):
        """The requests after the first `before`, once they include `wanted` names or the time is up."""
        deadline = time.monotonic() + seconds
        while len(self.asked()) - before < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.asked()[before:]


@contextlib.contextmanager
def served(folder, files):
    """Files by name as objects of bucket `b`, saved as dataset `static`."""
    if not shutil.which("nginx"):
        pytest.skip("no nginx (apt install nginx-light)")
    bucket = folder / "root" / "b"
    bucket.mkdir(parents=True)
    for name, data in files.items():
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / name).write_bytes(data)
    datachain_runs.run("static", folder, str(bucket))
    lines, secure, authority = servers.over_tls(folder)
    with servers.nginx(folder, folder / "root", lines) as url:
        yield Store(folder, bucket, url, files, secure, authority)
