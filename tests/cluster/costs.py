#!/usr/bin/env python3
"""What a fleet costs: requests, bytes, seconds, processors and memory, for one version on ClickHouse and PostgreSQL with a bucket 20 ms away.

    tests/cluster/costs.py [--rows N] [--files N] [--tries N]

Prints tables for docs/scaling.md. DCFS_BIN names the binary, DCFS_BENCH_EXAMPLES the folder of `bench_delay`; `make cluster-costs` builds
both. Ten million rows need some 6 GB of disk below TMPDIR, and some 5 minutes.

Names are in directories of 1,000; those of every million rows are in one directory if there are more.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "python")]
import copied
import meters
import mounts
import servers

import catalog as made  # isort: skip
import machine  # isort: skip

TABLE = "datachain.`ds_local_local_bench_1_0_0`"

SHARED = "width > 400"
"""The filter whose rows are shared."""

FILTERS = {
    "width > {0}": "width > {0}",
    "width > {0} and label = 'class_07'": "width > {0} and label = 'class_07'",
    "label in ('class_01', 'class_02') or score < 0.{0}": "label IN ('class_01', 'class_02') OR score < 0.{0}",
    "file.path like '%{0}%'": "file__path LIKE '%{0}%'",
}
"""Of class A, as dcfs has them and as SQL by hand; the number makes each try a filter of its own."""

LISTED = 10
"""Directories that are listed."""

WATCH = 20
"""Seconds that an idle mount is watched."""

ROWS = """INSERT INTO {table} (sys__id, sys__rand, file__source, file__path, file__size, file__version, file__etag, file__is_latest,
    file__last_modified, file__location, width, height, score, label)
  SELECT number + 1, bitShiftRight(rand64(), 1), 's3://bench',
    concat({above}, 'n', leftPad(toString(1440764 + intDiv(number, 1000)), 8, '0'), '/', lower(hex(sipHash64(number))), '.jpg'),
    {size}, '', '{etag}', true, toDateTime64('2026-11-20 10:00:00', 6, 'UTC'), '',
    100 + number * 7919 % 900, 100 + number * 104729 % 900, (number * 7919 % 1000003) / 1000003,
    concat('class_', leftPad(toString(number * 31 % 100), 2, '0'))
  FROM numbers({rows})"""

MILLION = 1_000_000
ABOVE = f"'m', leftPad(toString(intDiv(number, {MILLION})), 4, '0'), '/'"


class Fleet:
    """The servers with one version, and hosts that share a bucket."""

    def __init__(self, folder, rows, stack):
        self.folder, self.rows = folder, rows
        self.cluster = servers.Cluster(folder / "cluster")
        stack.callback(self.cluster.stop)
        self.cluster.start()
        delay = Path(os.environ["DCFS_BENCH_EXAMPLES"]) / "bench_delay"
        self.bucket = meters.Bucket(folder / "bucket", delay, stack)
        self.postgres = stack.enter_context(meters.Messages(self.cluster.postgres.port))
        self.meters = meters.Meters(self.cluster, self.bucket, self.postgres)
        self._fill()

    def _fill(self):
        made.make(self.folder / "one", "class/hash", 1, made.TYPED)
        copied.copy(self.folder / "one", self.cluster)
        ask = self.cluster.clickhouse.ask
        ask(f"TRUNCATE TABLE {TABLE}")
        above = ABOVE if self.rows > MILLION else "''"
        ask(ROWS.format(table=TABLE, rows=self.rows, size=meters.SIZE, etag=self.bucket.etag, above=above))
        ask(f"OPTIMIZE TABLE {TABLE} FINAL")
        self.cluster.postgres.sql(f"UPDATE datasets_versions SET num_objects = {self.rows}")

    @property
    def address(self):
        return self.cluster.address(user="dcfs").replace(self.cluster.postgres.authority, f"127.0.0.1:{self.postgres.port}")

    def host(self, name, shares=None):
        """A machine with nothing on it: `shares` is whether it writes what is shared; `None` if it has no shared folder."""
        keys = {**meters.stores.S3.KEYS, "AWS_ENDPOINT_URL": self.bucket.written_at if shares else self.bucket.read_at}
        if shares is not None:
            config = self.folder / f"{name}.toml"
            config.write_text(f'[shared]\nprefix = "s3://team/dcfs"\nwrite = {str(shares).lower()}\n')
            keys["DCFS_CONFIG"] = str(config)
        return mounts.Dcfs(self.folder / name, **self.cluster.environment, **keys)

    @contextlib.contextmanager
    def mounted(self, host):
        """A mount in the foreground: its version's folder, and its process."""
        point = host.home / "mnt"
        command = [mounts.DCFS, "mount", "-f", "--catalog", self.address, "--allow-uri", "s3://bench", "--timeout", "30m", point]
        with machine.serving(command, point, environment=host.environment) as process:
            yield point / "datasets" / "bench@1.0.0", process

    @property
    def tops(self):
        """The number of names in the version's directory."""
        return -(-self.rows // (MILLION if self.rows > MILLION else 1000))

    def paths(self, count, order):
        sql = f"SELECT file__path FROM {TABLE} ORDER BY {order} LIMIT {count} FORMAT TSV"
        return self.cluster.clickhouse.ask(sql).decode().split()


def listed(root):
    """The names in a directory, without the pages about it."""
    return [name for name in os.listdir(root) if not name.startswith("_")]


def say(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def table(*headers):
    print()
    say(*headers)
    print("|" + "---|" * len(headers))


def forget(host):
    """Gives back the disk of a host that is not used any more: each has gigabytes of a large version."""
    shutil.rmtree(host.home)


def builders(fleet):
    """The first host, and one that shares nothing."""
    alone = fleet.host("alone")
    with fleet.mounted(alone) as (root, process), machine.Peak(process.pid) as peak:
        with fleet.meters.of(process.pid) as spent:
            assert len(listed(root)) == fleet.tops
        say("a host without `[shared]`: first `ls`", *spent.cells())
    memory = {"a host that packs for itself": peak}
    forget(alone)
    first = fleet.host("first", shares=True)
    warm = ["warm", "--to-shared", "bench", "--catalog", fleet.address, "--json"]
    told = {}
    for title, more in [("names packed and shared", []), ("columns and rows of a filter shared", ["--where", SHARED])]:
        with fleet.meters.of() as spent:
            cost = machine.cost([mounts.DCFS, *warm, *more], env=first.environment)
        told[title] = json.loads(cost.output)
        say(f"first host: {title} (`dcfs warm --to-shared`)", *spent.cells())
    fleet.bucket.publish()
    forget(first)
    return memory, told


def second(fleet, files):
    """A second host: from nothing to an epoch."""
    host = fleet.host("second", shares=False)
    began = time.perf_counter()
    with fleet.mounted(host) as (root, process), machine.Peak(process.pid) as peak:
        pid = process.pid

        def step(title, work):
            with fleet.meters.of(pid) as spent:
                work()
            say(f"second host: {title}", *spent.cells())

        folders = []
        step(f"`ls` of the root, {fleet.tops:,} names", lambda: folders.extend(listed(root)))
        first = time.perf_counter() - began
        at_first = peak.mib, peak.resident
        paths = fleet.paths(2 * files + LISTED + 1, "cityHash64(sys__id)")
        step("look-up of a name", lambda: os.stat(root / paths[-1]))
        folders = [Path(path).parent for path in paths[2 * files : -1]]
        step(f"`ls` of {LISTED} directories never looked up, 1,000 names each", lambda: [os.listdir(root / folder) for folder in folders])
        step("open and read of a file", lambda: (root / paths[-1]).read_bytes())
        step(f"the filter that was shared, `{SHARED}`", lambda: (root / SHARED / "_count").read_text())
        step(f"idle for {WATCH} s", lambda: time.sleep(WATCH))
        ordered = fleet.paths(files, "file__path")
        step(f"{files:,} files read in the order of names", lambda: [(root / path).read_bytes() for path in ordered])
        step(f"{files:,} files read at random", lambda: [(root / path).read_bytes() for path in paths[:files]])
        warm = paths[files : 2 * files]
        [os.stat(root / path) for path in warm[:10]]
        began = time.perf_counter()
        [os.stat(root / path) for path in warm[10:]]
        look_up = (time.perf_counter() - began) / len(warm[10:])
        told = json.loads((root.parents[1] / "_status.json").read_text())["shared"]
        assert told["refused"] == 0 and told["put"] == 0 and told["fetched"] > 0, told
    print(
        f"\nSecond host, from `dcfs mount` to the end of the first `ls`: {first:.2f} s, at most {at_first[0]:.0f} MiB anonymous, {at_first[1]:.0f} resident. "
        f"Another name is looked up in {look_up * 1e6:.0f} us."
    )
    return {"second host": peak}


def filters(fleet, tries):
    """Filters that are pushed, beside the same SQL by hand: medians."""
    host = fleet.host("filters")
    ask = fleet.cluster.clickhouse.ask
    pid = fleet.cluster.clickhouse.process.pid
    table("filter", "rows", "SQL by hand, ms", "CPU of the server, ms", "dcfs, ms", "CPU of the server, ms", "CPU of dcfs, ms", "ratio", "of CPU")
    with fleet.mounted(host) as (root, process):
        len(os.listdir(root))
        (root / "width > 5" / "_count").read_text()
        for text, sql in FILTERS.items():
            runs, counts = {"hand": [], "dcfs": []}, []
            for number in range(tries):
                literal = 400 + 7 * number
                by_hand = f"SELECT groupBitmapState(toUInt32(sys__id)) FROM {TABLE} WHERE {sql.format(literal)} FORMAT RowBinary"
                found = []
                for who, work in [("hand", lambda: ask(by_hand)), ("dcfs", lambda: found.append((root / text.format(literal) / "_count").read_text()))]:
                    before, own = meters.cpu(pid), meters.cpu(process.pid)
                    began = time.perf_counter()
                    work()
                    took = time.perf_counter() - began
                    runs[who].append((took, meters.cpu(pid) - before, meters.cpu(process.pid) - own))
                counts.append(ask(f"SELECT count() FROM {TABLE} WHERE {sql.format(literal)} FORMAT TSV").decode().strip())
                assert found[0].split()[0].replace(",", "") == counts[-1], (found, counts)
            hand, dcfs = ([statistics.median(column) for column in zip(*runs[who])] for who in ("hand", "dcfs"))
            ratios = [f"{ours / theirs:.2f}" if theirs else "" for ours, theirs in zip(dcfs[:2], hand[:2])]
            say(f"`{text.format(400)}`", f"{int(counts[0]):,}", *(f"{seconds * 1e3:.1f}" for seconds in (*hand[:2], *dcfs)), *ratios)
    # Where nothing is packed, a command asks the server alone.
    fresh = fleet.host("fresh", shares=False)
    with fleet.meters.of() as spent:
        machine.cost([mounts.DCFS, "count", "bench", "--where", "width > 300", "--catalog", fleet.address], env=fresh.environment)
    table("", *meters.COLUMNS)
    say("another host: `dcfs count` of a filter that nobody shared", *spent.cells())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--tries", type=int, default=25, help="of each filter")
    options = parser.parse_args()
    if why := servers.why_none() or mounts.why_no_mount():
        sys.exit(why)
    with tempfile.TemporaryDirectory(prefix="dcfs-costs-") as folder, contextlib.ExitStack() as stack:
        os.chmod(folder, 0o755)
        fleet = Fleet(Path(folder), options.rows, stack)
        size = fleet.cluster.clickhouse.ask("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'datachain' FORMAT TSV")
        today = datetime.date.today().isoformat()
        print(f"tests/cluster/costs.py --rows {options.rows} --files {options.files}; load {os.getloadavg()[0]:.1f} at the beginning\n")
        print(f"{options.rows:,} rows, {int(size) / options.rows:.0f} bytes each in ClickHouse; {machine.describe()}; {today}")
        table("", *meters.COLUMNS)
        memory, told = builders(fleet)
        memory |= second(fleet, options.files)
        for title, shared in told.items():
            print(f"\n{title}: {shared['objects']} objects, {shared['bytes'] / options.rows:.1f} bytes a row.")
        filters(fleet, options.tries)
        table("peak memory, MiB", "anonymous", "with files that are mapped")
        for title, peak in memory.items():
            say(title, f"{peak.mib:.0f}", f"{peak.resident:.0f}")


if __name__ == "__main__":
    main()
