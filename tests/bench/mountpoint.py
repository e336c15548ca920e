"""mountpoint-s3 over the objects of the bench: its published crate's own example, which mounts a manifest.

`mount-s3` itself is not published as a crate; the file system below it, `mountpoint-s3-fs`, is, and its example differs in what the
bench leaves out: names come from a list, as in dcfs, and not from the bucket. tests/setup says how it is built.
"""

import base64
import csv
import json

import store
from contenders import Contender

POLYNOMIAL = 0x82F63B78  # CRC-32C.
FOLDER = "all"


def crc32c(parts):
    """The checksum of some bytes one after the other: no module of Python's own has it."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for part in parts:
        for byte in part:
            crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _told(number):
    return base64.b64encode(number.to_bytes(4, "big")).decode()


def manifest(data, path):
    """Writes the list of all objects; its checksum."""
    parts = []
    with open(path, "w", newline="") as lines:
        rows = csv.writer(lines)
        for key in (store.LARGE, *(f"{store.SMALL}/{name}" for name in data.names)):
            size = (data.bucket / key).stat().st_size
            etag = f'"{store.ETAG}"'
            part = key.encode() + etag.encode() + size.to_bytes(8, "big")
            rows.writerow([key, etag, size, _told(crc32c([part]))])
            parts.append(part)
    return _told(crc32c(parts))


class Mountpoint(Contender):
    """With its disk cache or without."""

    peer = True

    def __init__(self, programs, account, data, keeps):
        super().__init__(f"mountpoint-s3, {'cache' if keeps else 'no cache'}", account)
        self.binary, self.data, self.keeps = programs.mountpoint, data, keeps
        self.own = self.cache.with_name(f"{self.cache.name}-own")

    def command(self, url):
        self.own.mkdir(exist_ok=True)
        path = self.own / "manifest.csv"
        channel = {"directory_name": FOLDER, "bucket_name": store.BUCKET, "manifest_path": str(path)}
        channel["manifest_checksum"] = manifest(self.data, path)
        config = {
            "config_version": "0.0.1", "mountpoint": str(self.account.point), "region": "us-east-1", "endpoint_url": url,
            "throughput_config": {"type": "Explicit", "throughput": 10.0}, "metadata_store_dir": str(self.own),
            "event_log_dir": str(self.own), "channels": [channel], "loglevel": "error",
        }
        if self.keeps:
            config["disk_cache"] = {"path": str(self.cache)}
        (self.own / "config.json").write_text(json.dumps(config))
        # Signed with keys that nobody compares: it has no anonymous requests.
        return ["env", "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", self.binary, "--config", self.own / "config.json"]

    @property
    def root(self):
        return self.account.point / FOLDER
