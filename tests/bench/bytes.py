"""Reading bytes: dcfs against the mounts people use, a client without a file system, a do-nothing one, and the disk.

Everybody reads the same objects of one server in the same run, in turn. A *cold* pass is the first of a mount that
kept nothing; *again* is the second of the same mount, when the kernel may hold the pages; *remounted* is the first of a
new mount over what the last one kept: the kernel holds nothing, the disk all. Names are listed before, outside the clock.
"""

import first
import store
from contenders import Dcfs, Local
from lab import FULL, MIB, QUICK, Story, Table, check, in_turn, laboratory

FAR = (0, store.DELAY)
QUEUES = (1, 8, 32)  # Concurrent requests of the direct client for small files.
BLOCKS = {"4 KiB": 4 << 10, "128 KiB": 128 << 10}
JOBS = (1, 16)


# The passes over a mount: functions of `(lab, cpus, mount, account)` that return seconds for each unit.


def large(lab, cpus, mount, account):
    seconds, count = lab.read(cpus, 1, "sequential", mount.root / store.LARGE, account=account)
    check(count, lab.data.size)
    return seconds / (count / MIB)


def small(lab, names, title, jobs):
    """A pass over some small files."""
    expected = sum((lab.data.bucket / store.SMALL / name).stat().st_size for name in names)
    listed = lab.names(names, title)

    def read(lab, cpus, mount, account):
        words = (jobs, "files", mount.root / store.SMALL, listed)
        seconds, count = lab.read(cpus, *words, account=account)
        check(count, expected)
        return seconds / len(names)

    return read


def blocks(size, jobs, reads):
    """Random blocks of the large file."""

    def read(lab, cpus, mount, account):
        words = (jobs, "random", mount.root / store.LARGE, size, reads)
        seconds, count = lab.read(cpus, *words, account=account)
        check(count, size * reads)
        return seconds / reads

    return read


def whole(lab, contender, url, cpus, read, part, remount=True):
    """One contender from an empty state: every pass."""
    account, found = contender.account, {}
    contender.empty()
    with contender.mounted(url, cpus) as mount:
        lab.list(mount, account)
        found["cold" if contender.fetches else "remounted"] = read(lab, cpus, mount, account)
        found["again"] = read(lab, cpus, mount, account)
        lab.remember(contender, part, mount)
    if contender.fetches and remount:
        with contender.mounted(url, cpus) as mount:
            lab.list(mount, account)
            found["remounted"] = read(lab, cpus, mount, account)
    return found


def passes(lab, members, url, cpus, read, part, remount=True):
    """The passes for each contender, by name."""

    def tell(one):
        return lambda: whole(lab, one, url, cpus, read, part, remount)

    return {one.name: Story(tell(one), lab.patience(one)) for one in members}


def sequential(lab, verdict):
    mib = lab.data.size // MIB
    lab.bench.say(f"\n### {mib} MiB sequentially\n")
    lab.bench.say(
        "One reader, 1 MiB at a time. `direct` is a client of `object_store` with 8 concurrent ranges of 8 MiB that drops the "
        "data. Bounds: cold 1.6 times the direct client (1.15 at a distance); later 1.1 times the disk as root, 1.15 times "
        "the do-nothing file system as a user."
    )
    table = Table(lab.bench, "MiB", "distance, ms")
    for title, cpus in lab.conditions:
        for far in FAR:
            with lab.server.serving(far, bool(cpus)) as url:
                members = lab.ours()[:1] if far else lab.ours() + lab.floors()
                stories = {"direct": direct(lab, url, cpus, mib, "sequential", store.LARGE, lab.data.size)}
                stories |= passes(lab, members + lab.peers(), url, cpus, large, "sequential", remount=not far)
                found = in_turn(lab, stories)
            table.add((title, far), found)
            sequential_bounds(lab, table, (title, far), found)
    table.compare(verdict)


def direct(lab, url, cpus, units, *words):
    """The direct client, for this many units."""
    return Story(lambda: {"cold": lab.direct(cpus, url, *words)[0] / units}, lab.sizes.patient)


def sequential_bounds(lab, table, cells, found):
    for ours in lab.ours():
        table.bound(cells, found, (ours.name, "direct"), "cold", 1.15 if cells[1] else 1.6)
        for measure in ("again", "remounted"):
            if ours.account.title == "root":
                table.bound(cells, found, (ours.name, lab.disk.name), (measure, "again"), 1.1)
            else:
                table.bound(cells, found, (ours.name, lab.floor_of(ours)), measure, 1.15)


def files(lab, verdict):
    count, sample = len(lab.data.names), lab.sizes.sample
    lab.bench.say("\n### Small files\n")
    lab.bench.say(
        f"{count:,} files of 20 to 150 KB in one directory, in listing order unless marked *shuffled*; of n jobs, each a process, "
        f"job k reads every n-th file. rclone, s3fs and shuffled reads at a distance read only the first {sample[0]} files, at a "
        f"distance {sample[store.DELAY]}. `direct` has 1, 8 or 32 concurrent requests, independent of the jobs. Bounds: cold at a distance 1.5 times the "
        "direct client with 32, cold without distance a quarter of the best peer's time; later 1.15 times the do-nothing file "
        "system of the same mode."
    )
    table = Table(lab.bench, "files", "distance, ms", "jobs")
    for title, cpus in lab.conditions:
        for far in FAR:
            with lab.server.serving(far, bool(cpus)) as url:
                clients = {}
                for jobs in (1, 4):
                    found = in_turn(lab, files_stories(lab, url, cpus, far, jobs))
                    clients = clients or {name: one for name, one in found.items() if name.startswith("direct")}
                    table.add((title, far, jobs), found)
                    files_bounds(lab, table, (title, far, jobs), clients | found)
    table.compare(verdict)


def files_stories(lab, url, cpus, far, jobs):
    """All contenders that read small files under one condition; the direct client once, because it has no jobs."""
    names, part = lab.data.names, "small files"
    few = lab.sizes.sample[far]
    first, everything = lab.ours()[0], small(lab, names, "all", jobs)
    stories = {}
    if jobs == 1:
        stories = {f"direct, {queue}": direct_files(lab, url, cpus, queue, far) for queue in QUEUES}
    members = [first] if far else lab.ours() + lab.floors()
    stories |= passes(lab, members, url, cpus, everything, part, remount=not far)
    stories |= shuffled(lab, first, url, cpus, far, jobs)
    return stories | passes(lab, lab.peers(), url, cpus, small(lab, names[:few], "some", jobs), part, remount=not far)


def direct_files(lab, url, cpus, queue, far):
    """The direct client; with few concurrent requests at a distance it takes long, so a sample suffices."""
    most = len(lab.data.names) if queue == QUEUES[-1] or not far else lab.sizes.sample[far] * queue
    names = lab.data.names[:most]
    listed = lab.names(names, f"direct-{queue}-{far}")
    return direct(lab, url, cpus, len(names), "files", f"{store.SMALL}/", listed, queue)


def shuffled(lab, ours, url, cpus, far, jobs):
    """An order other than that of the listing: without hints, and with everything prefetched."""
    names = lab.data.shuffled()
    some = small(lab, names[: lab.sizes.sample[far]] if far else names, "shuffled", jobs)
    contenders = {f"{ours.name}, shuffled": (ours, some)}
    if "--prefetch" in lab.known:
        ahead = Dcfs(lab.programs, ours.account, ["--prefetch", "all"], "prefetch all")
        ahead.packed = ours.packed
        contenders[f"{ahead.name}, shuffled"] = (ahead, small(lab, names, "mixed", jobs))

    def tell(one, read):
        return lambda: whole(lab, one, url, cpus, read, "small files", remount=not far)

    return {name: Story(tell(*of), lab.sizes.brief) for name, of in contenders.items()}


def files_bounds(lab, table, cells, found):
    first, far = lab.ours()[0], cells[1]
    peers = [one.name for one in lab.peers() if one.name in found]
    if far:
        table.bound(cells, found, (first.name, "direct, 32"), "cold", 1.5)
    elif peers:
        best = min(peers, key=lambda name: found[name]["cold"])
        table.bound(cells, found, (first.name, best), "cold", 0.25)
    for ours in lab.ours():
        for measure in ("again", "remounted"):
            table.bound(cells, found, (ours.name, lab.floor_of(ours)), measure, 1.15)


def randomly(lab, verdict):
    lab.bench.say("\n### Random reads\n")
    lab.bench.say(
        f"Blocks of {lab.data.size // MIB} MiB in random order, none twice, split among 1 or 16 processes; the direct client has "
        "the same number of concurrent requests. Here *remounted* means that the daemon answers from its cache, and *again* that the whole file was read "
        "through this mount before. Bounds: cold 1.3 times the direct client; again as root 1.2 times the disk."
    )
    table = Table(lab.bench, "reads", "block", "jobs")
    for title, cpus in lab.conditions:
        with lab.server.serving(0, bool(cpus)) as url:
            served = in_turn(lab, warm_stories(lab, url, cpus))
            for block, size in BLOCKS.items():
                for jobs in JOBS:
                    found = in_turn(lab, cold_stories(lab, url, cpus, size, jobs))
                    for name, one in served.items():
                        mine = {measure: one[measure, size, jobs] for measure in ("again", "remounted")}
                        found.setdefault(name, {"runs": one["runs"]}).update(mine)
                    table.add((title, block, jobs), found)
                    random_bounds(lab, table, (title, block, jobs), found)
    table.compare(verdict)


def cold_stories(lab, url, cpus, size, jobs):
    reads = lab.sizes.cold[size]
    stories = {"direct": direct(lab, url, cpus, reads, "random", store.LARGE, lab.data.size, size, reads, jobs)}

    def tell(one):
        return lambda: cold_blocks(lab, one, url, cpus, blocks(size, jobs, reads))

    return stories | {one.name: Story(tell(one), lab.patience(one)) for one in [lab.ours()[0], *lab.peers()]}


def cold_blocks(lab, contender, url, cpus, read):
    contender.empty()
    with contender.mounted(url, cpus) as mount:
        found = {"cold": read(lab, cpus, mount, contender.account)}
        lab.remember(contender, "random reads", mount)
    return found


def warm_stories(lab, url, cpus):
    """Random reads of cached data, of every size by any number of jobs."""
    members = lab.ours() + lab.floors() + lab.peers()
    for one in members:
        fill(lab, one, url)

    def tell(one):
        return lambda: warm_blocks(lab, one, url, cpus)

    return {one.name: Story(tell(one), lab.patience(one)) for one in members}


def fill(lab, contender, url):
    """Has the large object fetched completely, and compared: a fast wrong answer does not count."""
    if contender.fetches:
        contender.empty()
        with contender.mounted(url) as mount:
            lab.compare(mount, contender.account)


def warm_blocks(lab, contender, url, cpus):
    found, account, sizes = {}, contender.account, lab.sizes
    every = [(size, jobs) for size in BLOCKS.values() for jobs in JOBS]
    with contender.mounted(url, cpus) as mount:
        for size, jobs in every:
            if not isinstance(contender, Local):
                lab.read((), 1, "forget", mount.root / store.LARGE, account=account)
            found["remounted", size, jobs] = blocks(size, jobs, sizes.served[size])(lab, cpus, mount, account)
        large(lab, (), mount, account)
        for size, jobs in every:
            found["again", size, jobs] = blocks(size, jobs, sizes.warm[size])(lab, cpus, mount, account)
        lab.remember(contender, "random reads", mount)
    return found


def random_bounds(lab, table, cells, found):
    table.bound(cells, found, (lab.ours()[0].name, "direct"), "cold", 1.3)
    for ours in lab.ours():
        if ours.account.title == "root":
            table.bound(cells, found, (ours.name, lab.disk.name), "again", 1.2)
        else:
            table.bound(cells, found, (ours.name, lab.floor_of(ours)), "again", 1.15)


def memory(lab):
    """Leftovers of the parts before it."""
    parts = ("sequential", "small files", "random reads")
    lab.bench.say("\n### Memory of the daemons\n")
    lab.bench.say(
        "Anonymous and resident MiB at the end of each part, maximum of all runs; resident includes mapped files.\n"
    )
    lab.bench.table("program", *parts)
    for name, found in lab.memory.items():
        told = [f"{found[part][0]:.0f} / {found[part][1]:.0f}" if part in found else "" for part in parts]
        lab.bench.row(name, *told)


PARTS = {"sequential": sequential, "files": files, "random": randomly, "first": first.measure}


def reading(bench, quick, verdict, parts=PARTS):
    """All parts, or some by name; then their memory use."""
    bench.say("\n## Reading bytes\n")
    if why := store.missing():
        return bench.say(f"Not measured: {why}.")
    sizes = QUICK if quick else FULL
    bench.say(
        f"One S3 server on loopback (nginx), without delay and with {store.DELAY} ms before each answer; all rows of a condition are "
        "measured in turn. *cold*: the first pass of a mount that kept nothing. *again*: the second of the same mount, when the kernel may "
        "hold the pages. *remounted*: the first of a new mount over the cache of the last one: nothing is in the kernel's cache, everything on disk. "
        f"Names are listed before, outside the measured time. Medians of {sizes.times} runs, or fewer if they take long (*runs*). "
        "With *one* CPU for reader and daemon, the server has the other."
    )
    with laboratory(bench, sizes, bench.programs) as lab:
        for name in parts:
            PARTS[name](lab, verdict)
        memory(lab)
