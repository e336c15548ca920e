"""What tests of tables have in common: values as `dcfs show` writes them, and a folder in which tables are loaded."""

import base64
import datetime
import decimal
import json
import subprocess
import uuid

import pyarrow

import mounts
from written import leftovers, versions


def plain(value):
    """A value of Python as `dcfs show` writes it."""
    match value:
        case datetime.datetime():
            at = value.astimezone(datetime.UTC) if value.tzinfo else value
            return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case datetime.date():
            return value.strftime("%Y-%m-%dT00:00:00.000000Z")
        case datetime.time():
            return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
        case decimal.Decimal():
            return float(value)
        case uuid.UUID():
            return base64.b64encode(value.bytes).decode()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {key: plain(own) for key, own in value.items()}
        case list():
            return [plain(own) for own in value]
    return value


def in_order(rows):
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def wide(numbers):
    """Rows with a value of each type that is common in tables."""
    at = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)
    return pyarrow.table(
        {
            "n": pyarrow.array(numbers, pyarrow.int64()),
            "small": pyarrow.array([n % 7 if n % 5 else None for n in numbers], pyarrow.int32()),
            "x": pyarrow.array([n / 8 for n in numbers], pyarrow.float64()),
            "text": [f"2024-01-0{n % 9 + 1}" for n in numbers],
            "ok": [n % 2 == 0 for n in numbers],
            "day": pyarrow.array([at.date() + datetime.timedelta(n) for n in numbers], pyarrow.date32()),
            "at": pyarrow.array([at + datetime.timedelta(seconds=n) for n in numbers], pyarrow.timestamp("us", "UTC")),
            "price": pyarrow.array([decimal.Decimal(n) / 4 for n in numbers], pyarrow.decimal128(10, 2)),
            "raw": [bytes([n % 256, 0, 255]) for n in numbers],
            "box": [{"w": n, "name": f"b{n}"} for n in numbers],
            "tags": [[f"t{n}", "all"] for n in numbers],
            "k": [["a b", "x/y", "%41", "\u00e9=1"][n % 4] for n in numbers],
            "p": pyarrow.array([n % 3 if n % 3 else None for n in numbers], pyarrow.int32()),
        }
    )


class Home:
    """A folder with a catalog, in which a table is loaded as `d`."""

    def __init__(self, dcfs, folder):
        self.dcfs = dcfs
        self.path = folder
        self.table = str(folder / "t")

    def run(self, *words, name="d", env=None):
        command = [mounts.DCFS, "load", *map(str, words), "--as", name]
        env = env or self.dcfs.environment
        return subprocess.run(command, env=env, cwd=self.path, capture_output=True, text=True)

    def ok(self, *words, **more):
        result = self.run(*words, **more)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def refused(self, *words, **more):
        """What is said of what cannot be loaded, of which nothing is kept."""
        result = self.run(*words, **more)
        assert result.returncode in (1, 2), result
        assert "panicked" not in result.stderr
        if (self.path / ".datachain").exists():
            assert versions(self.path, "d") == [] and leftovers(self.path) == []
        return result.stderr

    def rows(self, name="d"):
        told = self.dcfs.ok("show", name, "--format", "jsonl", cwd=self.path)
        own = ("path", "sys__id")
        return in_order([{k: v for k, v in json.loads(line).items() if k not in own} for line in told.splitlines()])

    def other(self, *words):
        return self.dcfs.ok(*words, cwd=self.path)
