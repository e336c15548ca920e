"""Tables and folders by value, against SQLite printing the same rows and DuckDB writing them."""

import shutil
import subprocess
from pathlib import Path

import catalog
import machine

TABLE = "ds_local_local_bench_1_0_0"
PYTHON = Path(__file__).parent.parent.parent / ".venv" / "bin" / "python"


def fresh(bench, folder):
    """A mount of a packed version without any table made before."""
    for tables in bench.cache.rglob("tables"):
        shutil.rmtree(tables)
    return bench.mount(folder)


def timed(bench, folder, name, command, times):
    """Seconds from the first look at a file to the end of `command` on it, and the memory meanwhile."""
    peaks = []

    def once():
        with fresh(bench, folder) as process, machine.Peak(process.pid) as peak:
            took = machine.seconds([*command, f"{bench.version}/{name}"])
        peaks.append(peak.mib)
        return took

    return machine.median(once, times), max(peaks)


def tables(bench, counts, times, verdict):
    bench.say("\n## Tables\n")
    bench.say(
        "Rows of a File, two ints, a float and a label. `_rows.jsonl`: from the first access to the end of `cat`, against "
        "`sqlite3 -json`. `_rows.parquet`: from the first access until it is written, against DuckDB writing the same "
        "rows from a table of its own in memory, on all CPUs. Bounds: 3 times those, 200 MiB of anonymous memory.\n"
    )
    bench.table("rows", "table", "baseline, s", "dcfs, s", "ratio", "", "peak anonymous, MiB", "")
    for count in counts:
        folder = bench.folder / f"typed-{count}"
        if not folder.exists():
            catalog.make(folder, "class/hash", count, catalog.TYPED)
        with bench.mount(folder):
            machine.seconds(["ls", bench.version])
        sql = ["sqlite3", "-json", folder / ".datachain/db", f"SELECT * FROM {TABLE}"]
        rounds = times if count <= 1_000_000 else 1
        floor = machine.median(lambda: machine.seconds(sql), rounds)
        row(bench, count, "`_rows.jsonl`", floor, timed(bench, folder, "_rows.jsonl", ["cat"], rounds), verdict)
        parquet = timed(bench, folder, "_rows.parquet", ["stat"], rounds)
        with bench.mount(folder):
            duck = subprocess.run(
                [PYTHON, Path(__file__).parent / "duck.py", f"{bench.version}/_rows.parquet"],
                check=True, capture_output=True, text=True,
            )
        row(bench, count, "`_rows.parquet`", float(duck.stdout), parquet, verdict)
        folders(bench, folder, count)
        if count > 1_000_000:
            shutil.rmtree(folder)


def row(bench, count, name, floor, found, verdict):
    took, peak = found
    ratio = took / floor
    bench.row(
        f"{count:,}", name, f"{floor:.2f}", f"{took:.2f}", f"{ratio:.2f}", verdict(ratio, 3), f"{peak:.0f}",
        verdict(peak, 200),
    )


def folders(bench, folder, count):
    """The waiting time of `ls`, for the first access to a mount and again."""
    with fresh(bench, folder):
        before = machine.median(lambda: machine.seconds(["ls", "-l", bench.version]), 5)
        machine.seconds(["stat", f"{bench.version}/_rows.jsonl"])
        after = machine.median(lambda: machine.seconds(["ls", "-l", bench.version]), 5)
        values = machine.seconds(["ls", f"{bench.version}/_views/by/label"])
        inside = machine.seconds(["ls", f"{bench.version}/_views/by/label/class_07"])
    bench.later.append(
        f"{count:,} rows: `ls -l` of the version's directory takes {before * 1000:.0f} ms before the first access to a table and "
        f"{after * 1000:.0f} ms after it; `ls _views/by/label` (100 values) {values:.2f} s the first time, `ls` of one value "
        f"{inside * 1000:.0f} ms."
    )
