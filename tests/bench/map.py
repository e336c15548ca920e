"""What a row costs that a program sees, against `xargs` and DataChain's `map`, over the same files.

Every figure is a whole command: its start, reading the rows, the program, keeping and publishing the answers. Processor time is that of all processes.
"""

import os
import shutil
import subprocess
import textwrap

import filters
from sql import cost

FILES = 10_000
SIZE = 2048

SIZES = """
def size(file) -> int:
    return len(file.read())
"""

BUSY = """
import time
def busy(file) -> int:
    end = time.process_time() + 0.01
    while time.process_time() < end:
        pass
    return 1
"""

VECTOR = """
def vector(file) -> list[float]:
    return [n * 0.1234567 for n in range(768)]
"""

DOUBLE = """
def double(n: int) -> int:
    return n * 2
"""

FEW, MANY = 10_000, 500_000

DATACHAIN = """
import datachain as dc

# Another function each time: DataChain goes on from the checkpoint of an equal one, and computes nothing.
def size_{number}(file) -> int:
    return len(file.read()) + {number} - {number}

chain = dc.read_dataset("f").settings({settings})
chain.map(size=size_{number}, output=int).save("d_{number}")
"""

SETTINGS = {"default": "", "prefetch=0": "prefetch=0", "parallel=2": "parallel=2"}


def files(folder):
    """A catalog of so many files of 2 KiB."""
    (folder / "files").mkdir(parents=True)
    for n in range(FILES):
        (folder / "files" / f"{n:05}.bin").write_bytes(b"%06d" % n * (SIZE // 6))
    for name, text in {"sizes.py": SIZES, "busy.py": BUSY, "vector.py": VECTOR, "double.py": DOUBLE}.items():
        (folder / name).write_text(textwrap.dedent(text))
    for number, (which, settings) in enumerate(SETTINGS.items()):
        (folder / f"{which}.py").write_text(DATACHAIN.format(number=number, settings=settings))


def measure(bench):
    """Adds the table."""
    folder = bench.folder / "map"
    files(folder)
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "DATACHAIN_NO_ANALYTICS": "1"}
    here = {"cwd": folder, "env": environment}
    python = filters.interpreter("datachain")
    if not python:
        bench.later.append("Not measured: programs over files, for there is no DataChain to measure against.")
        return
    subprocess.run([bench.dcfs, "index", "files", "--save", "f"], **here, check=True, stdout=subprocess.DEVNULL)

    def ours(name, *words, rows=FILES):
        wall, cpu, _ = cost([bench.dcfs, "map", "f", "--as", name, *words], **here)
        return wall / rows, cpu / rows

    def row(title, figures, against, bound=""):
        wall, cpu = figures
        ratios = ", ".join(f"{cpu / other[1]:.3g} of {name}" for name, other in against.items())
        bench.row(title, f"{cpu * 1e6:,.0f} us", f"{wall * 1e6:,.0f} us", ratios, bound)

    def datachain(which):
        wall, cpu, _ = cost([python, f"{which}.py"], **here)
        return wall / FILES, cpu / FILES

    bench.say(f"\n## Programs over {FILES:,} files of 2 KiB\n")
    bench.say("Per row, start and publishing in it.\n")
    bench.table("what", "processor", "wall", "processor, as a part", "bound")
    theirs = {which: datachain(which) for which in SETTINGS}
    for which, figures in theirs.items():
        row(f"DataChain `map`, {which}", figures, {})
    function = ("--", python, "sizes.py:size")
    one = ours("one", *function)
    row("`dcfs map`, a Python function (E2)", one, {"DataChain": theirs["default"], "prefetch=0": theirs["prefetch=0"]}, "1/10, 1/4")
    row("the same, `--jobs 2`", ours("two", "--jobs", "2", *function), {"parallel=2": theirs["parallel=2"]}, "1/20")
    xargs = cost(["sh", "-c", "find files -type f -print0 | xargs -0 -P2 -n1 wc -c"], **here)
    xargs = xargs[0] / FILES, xargs[1] / FILES
    row("`xargs -P2 -n1 wc -c`", xargs, {})
    each = ours("each", "--out", "n: int", "--jobs", "2", "--stdin", "--", "wc", "-c")
    against = {"xargs": xargs}
    if shutil.which("parallel"):
        wall, cpu, _ = cost(["sh", "-c", "find files -type f | parallel -j2 wc -c"], **here)
        against["GNU parallel"] = wall / FILES, cpu / FILES
    row("`dcfs map`, a process for each file (E3)", each, against, "1.15, 1/4")
    row("`dcfs map --step hash`", ours("hash", "--step", "hash"), {})
    row("768 floats a row (E7, Python's part in it)", ours("vector", "--", python, "vector.py:vector"), {"the function alone": one})
    few = ("--where", "file.path < '00400.bin'", "--", python, "busy.py:busy")
    single, double = ours("b1", *few, rows=400), ours("b2", "--jobs", "2", *few, rows=400)
    bench.row("10 ms of processor a row (E5)", "", f"{double[0] * 1e6:,.0f} us with 2 jobs", f"{single[0] / double[0]:.2f} times as fast as with one", "1.9")
    memory(bench, here, python)


def memory(bench, here, python):
    """Rows without files: what one costs where there are many, and whether memory grows with them (E1, E8)."""
    peaks = {}
    for rows in (FEW, MANY):
        (here["cwd"] / "n.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
        subprocess.run([bench.dcfs, "load", "n.csv", "--as", f"n{rows}"], **here, check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(
            [bench.dcfs, "map", f"n{rows}", "--as", f"m{rows}", "--on-error", "keep", "--", python, "double.py:double"],
            **here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        # Of the driver: its workers are far smaller.
        peaks[rows] = used.ru_maxrss / 1024
        cpu = (used.ru_utime + used.ru_stime) / rows
        bench.row(f"a function of a column, {rows:,} rows (E1, Python in it)", f"{cpu * 1e6:,.1f} us", "", f"{peaks[rows]:,.0f} MiB at most", "25 us of the driver")
    ratio = peaks[MANY] / peaks[FEW]
    bench.row(f"memory for {MANY:,} rows against {FEW:,} (E8)", "", "", f"{ratio:.2f}", "1.1")
