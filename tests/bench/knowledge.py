"""Statistics of columns, and pages about many datasets.

`dcfs stats` is a whole command with its columns packed before and no statistics kept; `sqlite3` says count, least, most, mean and the number of
different values of the same columns in one statement over DataChain's table, its file in the page cache. `dcfs knowledge` begins with an empty cache.
"""

import shutil
import statistics
import subprocess

import catalog
import machine
from sql import TABLE, cost

# With the path and size of the File these are twelve columns.
WIDE = catalog.FILTERED | {
    f"more.{name}": (kind, declared, written, value)
    for name, kind, declared, written, value in [
        ("id", "int", "INTEGER", "Int64", lambda n: n),
        ("small", "int", "INTEGER", "Int64", lambda n: n % 7),
        ("x", "float", "FLOAT", "Float", lambda n: (n * 7919 % 1_000_003) / 7),
        ("y", "float", "FLOAT", "Float", lambda n: None if n % 5 else n / 3),
        ("name", "str", "VARCHAR", "String", lambda n: f"picture number {n}"),
        ("kind", "str", "VARCHAR", "String", lambda n: "odd" if n % 2 else "even"),
    ]
}

# The datasets that pages are made from.
DATASETS = 200
ROWS = 10_000


def knowledge(bench, counts, quick, verdict):
    bench.say("\n## Statistics and pages\n")
    bench.say("Statistics of 12 columns, exact. Bounds: 1.5 s of processor time and 64 MiB of anonymous memory for a million rows.\n")
    bench.table("rows", "sqlite3, s", "dcfs stats, s", "processor, s", "", "peak anonymous, MiB", "")
    for count in counts:
        measure(bench, count, verdict)
    pages(bench, 20 if quick else DATASETS, verdict)


def measure(bench, count, verdict):
    folder = bench.folder / f"stats-{count}"
    if not folder.exists():
        catalog.make(folder, "filters", count, WIDE)
    command = [bench.dcfs, "stats", "bench", "--json", "--cache-dir", bench.cache]

    def once():
        for kept in bench.cache.glob("packs/*/stats"):
            shutil.rmtree(kept)
        return cost(command, cwd=folder)

    once()  # Its columns are packed.
    runs = [once() for _ in range(3)]
    took, processor = (statistics.median(run[at] for run in runs) for at in (0, 1))
    for kept in bench.cache.glob("packs/*/stats"):
        shutil.rmtree(kept)
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    with machine.Peak(process.pid) as peak:
        process.wait()
    names = ["file__path", "file__size", *(name.replace(".", "__") for name in WIDE)]
    asked = ", ".join(f'count("{n}"), min("{n}"), max("{n}"), avg("{n}"), count(distinct "{n}")' for n in names)
    theirs, _, _ = cost(["sqlite3", folder / ".datachain/db", f"select {asked} from {TABLE}"])
    million = count / 1_000_000
    bench.row(
        f"{count:,}", f"{theirs:.2f}", f"{took:.2f}", f"{processor:.2f}", verdict(processor, 1.5 * million),
        f"{peak.mib:.0f}", verdict(peak.mib, 64),
    )


def pages(bench, datasets, verdict):
    folder = bench.folder / f"pages-{datasets}"
    catalog.make(folder, "filters", ROWS, catalog.FILTERED)
    cache = ["--cache-dir", bench.folder / "pages-cache"]
    for number in range(1, datasets):
        save = [bench.dcfs, "save", "bench", "--where", f"sys__id <> {number}", "--as", f"made_{number:03}"]
        subprocess.run([*save, *cache], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(cache[1], ignore_errors=True)
    first, again = (cost([bench.dcfs, "knowledge", *cache], cwd=folder)[0] for _ in range(2))
    written = folder / "dc-knowledge"
    largest = max(page.stat().st_size for page in (written / "datasets").glob("*.md"))
    index = (written / "index.md").stat().st_size / datasets
    share = datasets / DATASETS
    bench.say(
        f"\n`dcfs knowledge` of {datasets} datasets of {ROWS:,} rows, nothing packed: {first:.1f} s, {verdict(first, 10 * share)} (bound: {10 * share:.0f} s); "
        f"again without changes: {again:.2f} s, {verdict(again, 0.3)} (bound: 0.3 s). The largest page has {largest:,} bytes, {verdict(largest, 6 << 10)}; the index "
        f"{index:.0f} bytes for each dataset, {verdict(index, 120)} (bound: 120)."
    )
