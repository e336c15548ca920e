"""A second host that reads a version's names in blocks: first answer, cold look-ups, listings, memory, with a bucket at a distance.

    python tests/bench/blocks.py DCFS BENCH_DELAY [ROWS] [MILLISECONDS]

The first host shares into a folder, nginx serves it as a bucket, and every answer begins some milliseconds late. Directories
of 1,000 files; names are hashes. With GAPS=3 every third row is missing, as a filter leaves them.
"""

import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "python")]
import catalog
import servers

EACH = 1000
LOOKED_UP = 300
LISTED = 50


class Host:
    """A cache, and settings that name the bucket."""

    def __init__(self, dcfs, folder, prefix, url):
        self.dcfs, self.folder = dcfs, folder
        folder.mkdir()
        (folder / "config.toml").write_text(f'[shared]\nprefix = "{prefix}"\nsplit = {os.environ.get("SPLIT", 4_000_000)}\n')
        self.environment = os.environ | servers.S3.KEYS | {"AWS_ENDPOINT_URL": url, "DCFS_CONFIG": str(folder / "config.toml"), "XDG_STATE_HOME": str(folder / "state")}

    def words(self, *words):
        return [self.dcfs, *words, "--cache-dir", self.folder / "cache"]

    def mount(self, project, point):
        point.mkdir(exist_ok=True)
        process = subprocess.Popen(self.words("mount", "-f", "--catalog", project, point), env=self.environment)
        while not os.path.ismount(point):
            if process.poll() is not None:
                raise RuntimeError("no mount")
            time.sleep(0.005)
        return process


def timed(question):
    began = time.perf_counter()
    question()
    return (time.perf_counter() - began) * 1000


def memory(pid, name):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def maps(pid):
    """What is resident, in MiB: the program, the heap and other anonymous memory, files of the cache."""
    found = dict.fromkeys(("program", "anonymous", "files"), 0.0)
    kind = "anonymous"
    for line in open(f"/proc/{pid}/smaps"):
        words = line.split()
        if "-" in words[0] and ":" not in words[0]:
            path = words[5] if len(words) > 5 else ""
            kind = "anonymous" if not path.startswith("/") else "files" if "/cache/" in path or path.endswith(("db", "db-shm")) else "program"
        elif words[0] in ("Rss:", "Anonymous:"):
            size = int(words[1]) / 1024
            if words[0] == "Rss:":
                found[kind] += size
            elif kind != "anonymous":
                found[kind] -= size
                found["anonymous"] += size
    return ", ".join(f"{kind} {size:.1f}" for kind, size in found.items())


def told(times):
    times = sorted(times)
    return f"median {statistics.median(times):.1f} ms, 95 of 100 below {times[len(times) * 95 // 100]:.1f} ms, most {times[-1]:.1f} ms"


def fetched(point, what="fetched"):
    return json.loads((point / "_status.json").read_text())["shared"][what]


def main(dcfs, delay, rows=5_000_000, late=20):
    random.seed(1)
    with tempfile.TemporaryDirectory(dir=os.environ.get("ROOM")) as room:
        room = Path(room)
        root, project = room / "root", room / "project"
        (root / "team" / "dcfs").mkdir(parents=True)
        name = lambda n: catalog._hex(n, 16)  # noqa: E731
        files = (("s3://bench", f"part-{n // EACH:06d}/{name(n)}.jpg", 1000 + n % 1000, catalog._hex(n, 32)) for n in range(rows))
        database = catalog._write(project, files, rows, {})
        if gaps := int(os.environ.get("GAPS", 0)):
            leave_out(database, gaps)
        first = Host(dcfs, room / "first", f"file://{root}/team/dcfs", "http://127.0.0.1:1")
        shared = timed(lambda: subprocess.run(first.words("warm", "--to-shared", "bench", "--catalog", project), env=first.environment, check=True))
        print(f"{rows} rows: shared in {shared / 1000:.1f} s (pack built, both forms written)", flush=True)
        pack = sum(file.stat().st_size for file in (room / "first" / "cache").rglob("c0.*"))
        total = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
        print(f"pack {pack / rows:.1f} bytes a row, blocks and top {(total - pack) / rows:.1f}", flush=True)
        (room / "nginx").mkdir()
        port = servers.free_port()
        with servers.nginx(room / "nginx", root) as url:
            distance = subprocess.Popen([delay, str(port), url.rsplit(":", 1)[1], str(late)])
            try:
                second(Host(dcfs, room / "second", "s3://team/dcfs", f"http://127.0.0.1:{port}"), project, room / "mnt", rows, name)
            finally:
                distance.kill()
                distance.wait()


def leave_out(database, each):
    """Every so manyth row goes, and the files with it: names are then those of the others."""
    with sqlite3.connect(database) as connection:
        table = "ds_local_local_bench_1_0_0"
        connection.execute(f"DELETE FROM {table} WHERE sys__id % {each} = 0")
        connection.execute(f"UPDATE datasets_versions SET num_objects = (SELECT count(*) FROM {table})")


def second(host, project, point, rows, name):
    mount = host.mount(project, point)
    try:
        top = point / "datasets" / "bench@1.0.0"
        folders = random.sample(range(rows // EACH), LOOKED_UP + LISTED)
        path = lambda n: top / f"part-{n // EACH:06d}" / f"{name(n)}.jpg"  # noqa: E731
        missing = int(os.environ.get("GAPS", 0))
        any_of = lambda folder: next(n for n in iter(lambda: folder * EACH + random.randrange(EACH), None) if not missing or (n + 1) % missing)  # noqa: E731
        print(f"first answer {timed(lambda: os.stat(path(any_of(folders[0])))):.0f} ms, then {memory(mount.pid, 'VmRSS'):.0f} MiB resident, "
              f"{memory(mount.pid, 'RssAnon'):.0f} of them anonymous ({maps(mount.pid)})", flush=True)
        looked, requests, again = [], [], []
        sizes = fetched(point, "fetched_bytes")
        for folder in folders[:LOOKED_UP]:
            before = fetched(point)
            looked.append(timed(lambda: os.stat(path(any_of(folder)))))
            requests.append(fetched(point) - before)
            again.append(timed(lambda: os.stat(path(any_of(folder)))))
        sizes = (fetched(point, "fetched_bytes") - sizes) / LOOKED_UP
        print(f"cold look-up in a directory never looked up: {told(looked)}; requests {statistics.mean(requests):.2f}, at most {max(requests)}; "
              f"with another one in the same directory {sizes / 1000:.1f} kB", flush=True)
        print(f"then another file of the directory: {told(again)}", flush=True)
        listed, requests = [], []
        for folder in folders[LOOKED_UP:]:
            before = fetched(point)
            listed.append(timed(lambda: len(os.listdir(top / f"part-{folder:06d}"))))
            requests.append(fetched(point) - before)
        print(f"ls of {EACH}: {told(listed)}; requests {statistics.mean(requests):.2f}, at most {max(requests)}", flush=True)
        print(f"ls of {rows // EACH} directories: {timed(lambda: len(os.listdir(top))):.1f} ms", flush=True)
        print(f"memory at most {memory(mount.pid, 'VmHWM'):.0f} MiB; now {memory(mount.pid, 'VmRSS'):.0f}: {maps(mount.pid)}; kept on disk "
              f"{sum(file.stat().st_blocks * 512 for file in (host.folder / 'cache').rglob('*') if file.is_file()) / 2**20:.1f} MiB", flush=True)
    finally:
        subprocess.run(["fusermount3", "-u", point], check=True)
        mount.wait()
    mount = host.mount(project, point)
    try:
        before = [timed(lambda n=folder: os.stat(path(any_of(n)))) for folder in folders[LOOKED_UP:]]
        print(f"a later mount, from the cache directory: {told(before)}; {fetched(point)} requests", flush=True)
    finally:
        subprocess.run(["fusermount3", "-u", point], check=True)
        mount.wait()


if __name__ == "__main__":
    words = sys.argv[1:]
    main(Path(words[0]).resolve(), Path(words[1]).resolve(), *map(int, words[2:]))
