"""The waiting times of training and browsing: shards, epochs, listings of both, and the page of `dcfs view`.

`cat` of a shard is of the second pass, against `cat` of the same tar as a file on the disk, read before; cold, of files of the store of the other
benches, 20 ms away, against a client without a file system that gets the same objects with 32 requests under way. An epoch reads files of that
store, one after another: in the order of the epoch's list, and in that of the directory, each by a mount of its own with an empty cache. The page is asked over HTTP, as its script does; a browser draws in `make test-browser`.
"""

import http.client
import json
import os
import shutil
import subprocess
import time
from urllib.parse import quote, urlsplit

import catalog
import machine
import store

SHARD = 1000


def training(bench, count, quick, verdict):
    bench.say("\n## Training and browsing\n")
    shards(bench, 100 if quick else 1000, verdict)
    listing(bench, count, verdict)
    distant(bench, 200 if quick else 1000, verdict)
    page(bench, count, verdict)


def mounted(bench, folder, cache, *words, **environment):
    command = [bench.dcfs, "mount", "-f", "--catalog", folder, "--cache-dir", cache, "--timeout", "30m", *words, bench.point]
    return machine.serving(command, bench.point, environment=environment)


def shards(bench, files, verdict):
    """A shard of local files against the same tar on the disk."""
    data = store.make(bench.folder / "shards", 0, files)
    folder, cache = bench.folder / "shards-catalog", bench.folder / "shards-cache"
    folder.mkdir()
    subprocess.run([bench.dcfs, "index", data.bucket / store.SMALL, "--save", "bench", "--cache-dir", cache], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    real = bench.folder / "real.tar"
    with mounted(bench, folder, cache):
        shard = f"{bench.version}/_views/webdataset/shard=65536/000000.tar"
        shutil.copy(shard, real)
        theirs, ours = machine.medians(5, lambda: machine.seconds(["cat", real]), lambda: machine.seconds(["cat", shard]))
    ratio = ours / theirs
    mib = real.stat().st_size / 2**20
    bench.say(
        f"`cat` of a shard of {files:,} local files ({mib:.0f} MiB), warm: {mib / ours:,.0f} MiB/s, of the same tar on the disk "
        f"{mib / theirs:,.0f} MiB/s: {ratio:.2f} times, {verdict(ratio, 1.3)} (bound: 1.3)."
    )


def listing(bench, count, verdict):
    """The names and sizes of all shards of a version."""
    folder, _ = bench.catalog("folders", count)
    tree = bench.folder / "shards-tree"
    tree.write_text("".join(f"{number:06}.tar\t{number}\n" for number in range(-(-count // SHARD))))
    cache = bench.folder / "listing-cache"
    shards = f"{bench.version}/_views/webdataset/shard={SHARD}"
    with mounted(bench, folder, cache):
        machine.seconds(["ls", bench.version])
        first = machine.seconds(["ls", "-l", shards])

    def once(mount, root):
        with mount:
            os.stat(root)
            return machine.seconds(["ls", "-l", root])

    null, ours = machine.medians(
        5, lambda: once(bench.mount_null(tree), bench.point), lambda: once(mounted(bench, folder, cache), shards)
    )
    ratio = ours / null
    bench.say(
        f"\n`ls -l` of the {count // SHARD:,} shards of {count:,} rows: {first:.2f} s the first time, when the rows are measured; from later mounts "
        f"{ours * 1000:.1f} ms, of the do-nothing file system {null * 1000:.1f} ms: {ratio:.2f} times, {verdict(ratio, 1.3)} (bound: 1.3)."
    )


def distant(bench, files, verdict):
    """Files of a distant store: a shard of them read in one go, and the files in a random order that was declared."""
    if why := store.missing():
        bench.later.append(f"Not measured: cold shards and epochs: {why}.")
        return
    data = store.make(bench.folder / "epochs", 1 << 20, files)
    server = store.Store(data, bench.programs.delay, bench.programs.rclone)
    with server.serving(store.DELAY, False) as url:
        cold(bench, data, url, verdict)
        epochs(bench, data, url, verdict)


def empty(bench, data, url):
    """A mount of the catalog of the store with nothing in its cache but the pack."""
    cache = bench.folder / "epochs-cache"
    shutil.rmtree(cache / "objects", ignore_errors=True)
    keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    return mounted(bench, data.folder / "catalog", cache, "--anon", "--endpoint-url", url, **keys)


def cold(bench, data, url, verdict):
    """A shard of all files, nothing of it cached."""
    names = bench.folder / "names"
    names.write_text("".join(f"{name}\n" for name in [store.LARGE, *(f"{store.SMALL}/{name}" for name in data.names)]))
    directory = f"{bench.version}/_views/webdataset/shard=65536"

    def direct():
        command = [bench.programs.direct, url, store.BUCKET, "files", "", names, 32]
        told = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
        return float(told.split()[0])

    def shard():
        with empty(bench, data, url):
            machine.seconds(["ls", "-l", directory])
            return machine.seconds(["cat", f"{directory}/000000.tar"])

    theirs, ours = machine.medians(3, direct, shard)
    ratio = ours / theirs
    mib = (data.bytes + data.size) / 2**20
    bench.say(
        f"\n`cat` of a shard of {len(data.names) + 1:,} files 20 ms away, cold: {mib / ours:,.0f} MiB/s, of the direct client with 32 in flight "
        f"{mib / theirs:,.0f} MiB/s: {ratio:.2f} times, {verdict(ratio, 1.5)} (bound: 1.5)."
    )


def epochs(bench, data, url, verdict):
    """The files one after another, in the order of an epoch and in that of the directory."""
    files = len(data.names)

    def once(listed):
        with empty(bench, data, url):
            names = listed()
            since = time.perf_counter()
            for name in names:
                with open(name, "rb") as file:
                    file.read()
            assert len(names) > files, len(names)
            return time.perf_counter() - since

    def of_epoch():
        lines = open(f"{bench.version}/_views/epochs/42/0.txt").read().splitlines()
        return [f"{bench.version}/{line}" for line in lines]

    def of_directory():
        folder = f"{bench.version}/{store.SMALL}"
        return [f"{bench.version}/{store.LARGE}", *(f"{folder}/{name}" for name in sorted(os.listdir(folder)))]

    listed, drawn = machine.medians(3, lambda: once(of_directory), lambda: once(of_epoch))
    ratio = drawn / listed
    bench.say(
        f"\n{files:,} files at a distance of 20 ms, one after another, cold: {files / drawn:,.0f} per second in the order of an epoch, {files / listed:,.0f} in that of "
        f"the directory: {ratio:.2f} times, {verdict(ratio, 1.2)} (bound: 1.2)."
    )


def page(bench, count, verdict):
    """The requests of the page before it draws, and a filter's count."""
    folder = bench.folder / f"page-{count}"
    catalog.make(folder, "filters", count, catalog.FILTERED)
    command = [bench.dcfs, "view", "bench", "--json", "--cache-dir", bench.folder / "page-cache"]
    subprocess.run([*command[:1], "count", "bench", "--where", "info.width > 0 and label != ''", *command[-2:]], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        url = urlsplit(json.loads(process.stdout.readline())["url"])
        connection = http.client.HTTPConnection(url.hostname, url.port)

        def get(path):
            connection.request("GET", url.path + path)
            answer = connection.getresponse().read()
            assert answer, path
            return answer

        def paint():
            since = time.perf_counter()
            for path in ("", "view.css", "view.js", "filter.js", "row.js", "near.js", "about.js", "about", "count?where=", "rows?where=&from=0&most=200"):
                get(path)
            return time.perf_counter() - since

        first = paint()
        numbers = iter(range(1000))

        def counted():
            path = "count?where=" + quote(f"info.width > {400 + next(numbers)} and label = 'class_07'")
            since = time.perf_counter()
            get(path)
            return time.perf_counter() - since

        took = machine.median(counted, 5)
    finally:
        process.terminate()
        process.wait()
    bench.say(
        f"\nThe page of `dcfs view` over {count:,} rows, all requests before it draws: {first:.2f} s, {verdict(first, 1)} (bound: 1 s); a filter's "
        f"count, columns packed: {took * 1000:.0f} ms, {verdict(took, 0.1)} (bound: 100 ms)."
    )
