"""A store that fails in every way: the right bytes or a clear errno, in bounded time, for its own readers only.

`fault_proxy.py` breaks the answers of nginx. Every fault has a small object, fetched whole, and a large
one, fetched in ranges. All are read at the same time, with and without the cache, so that the run takes
as long as the slowest; the tests then look at what came of each. No test depends on the clock: a read
that does not end is ended with its daemon, and fails.
"""

import contextlib
import errno
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES, EIO, ESTALE
from types import SimpleNamespace

import pytest

import buckets
import datachain_runs
import mounts
import servers

pytestmark = pytest.mark.mount

RIGHT = "right"
OR_EIO = {RIGHT, EIO}

FAULTS = {
    # The fault, and the possible results for a small object, and for a large one.
    "delay": (RIGHT, RIGHT),
    "chunked": (OR_EIO, OR_EIO),
    "no_length": (OR_EIO, OR_EIO),
    "extra": (RIGHT, RIGHT),
    "encoded": (OR_EIO, OR_EIO),
    "whole": (RIGHT, OR_EIO),
    "part": (EIO, EIO),
    "parts": ({EIO, ESTALE}, {EIO, ESTALE}),
    "cut": (OR_EIO, OR_EIO),
    "short": ({EIO, ESTALE}, {EIO, ESTALE}),
    "long": ({EIO, ESTALE}, {EIO, ESTALE}),
    "wrong_range": (EIO, {EIO, ESTALE}),
    "wrong_total": (EIO, ESTALE),
    "absurd_range": (EIO, EIO),
    "changed_etag": (ESTALE, ESTALE),
    "ignored_condition": (ESTALE, ESTALE),
    "no_etag": (EIO, EIO),
    "status_400": (EIO, EIO),
    "status_403": (EACCES, EACCES),
    "status_404": (ESTALE, ESTALE),
    "status_412": (ESTALE, ESTALE),
    "status_416": (ESTALE, ESTALE),
    "status_429": (EIO, EIO),
    "status_500": (EIO, EIO),
    "status_503": (EIO, EIO),
    "error_in_200": ({EIO, ESTALE}, {EIO, ESTALE}),
    "redirect": (EIO, EIO),
    "redirect_bare": (EIO, EIO),
    "reset": (EIO, EIO),
    "garbage": (EIO, EIO),
    "garbage_chunk": (EIO, EIO),
    "hold_head": (EIO, EIO),
    "hold_body": (EIO, EIO),
    "trickle": (EIO, EIO),
    "endless_head": (EIO, EIO),
    "endless_promise": (EIO, EIO),
    "endless_body": ({EIO, ESTALE}, {EIO, ESTALE}),
    "endless_error": ({EIO, EACCES}, {EIO, EACCES}),
    "endless_failure": (EIO, EIO),
    "hold": (EIO, EIO),
}

ONCE = ["status_429", "status_500", "status_503", "reset", "cut"]
"""Faults after which the request is retried."""

MODES = {"cached": (), "uncached": ("--cache-size", "0")}

HELD = 100
"""Readers that wait for a dead store: more than the kernel's limit of background requests for readahead."""

MOST = 400 << 20
"""Limit of the daemon's private memory in bytes, whatever a server sends."""


def fill(root):
    sizes = {f"{fault}/{size}": length for fault in FAULTS for size, length in (("small", 50_000), ("large", 1_500_000))}
    sizes |= {f"other/{number:03}": 60_000 + number for number in range(80)}
    sizes |= {f"held/{number:03}": 20_000 + number for number in range(HELD)}
    sizes |= {f"once/{fault}-{size}": length for fault in ONCE for size, length in (("s", 40_000), ("l", 1_400_000))}
    sizes |= {f"leak/{number:03}": 30_000 + number for number in range(64)}
    sizes |= {f"plain/{number:03}": 10_000 + number for number in range(20)}
    buckets.fill(root, sizes)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A bucket behind the proxy, and a catalog of it that also has nine local files, as `few`."""
    folder = tmp_path_factory.mktemp("broken")
    with buckets.serving(folder, fill) as bucket, servers.faulty(folder, bucket.url) as proxy:
        datachain_runs.run("few", folder)
        yield SimpleNamespace(folder=folder, bucket=bucket, proxy=proxy)


def mounted(broken, name, mode, timeout, *options, url=None):
    """A mount by way of the proxy, with a home of its own."""
    dcfs, point = mounts.Dcfs(broken.folder / f"home-{name}-{mode}"), broken.folder / f"mnt-{name}-{mode}"
    return broken.bucket.mount(dcfs, point, "--timeout", timeout, *MODES[mode], *options, url=url or broken.proxy.url)


@contextlib.contextmanager
def in_each_mode(broken, name, timeout):
    """`{mode: mount}`."""
    with contextlib.ExitStack() as stack:
        yield {mode: stack.enter_context(mounted(broken, name, mode, timeout)) for mode in MODES}


@pytest.fixture(scope="module")
def served(broken):
    """A mount in each mode."""
    with in_each_mode(broken, "all", "5s") as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_broken(broken):
    """Before and after each test."""
    broken.proxy.rules()
    yield
    broken.proxy.rules()


def read_all(pool, broken, served, names):
    """Starts to read files in every mode: `{(mode, name): future}`."""
    jobs = [(mode, name) for name in names for mode in served]
    return {(mode, name): pool.submit(buckets.outcome, served[mode], broken.bucket, name) for mode, name in jobs}


def local_is_right(mount):
    return (mount.datasets / "few" / "a" / "0.txt").read_bytes() == b"a0\n" * 10


def replace(path):
    """Another object of the same size, and a function that restores the first one."""
    before, known = path.read_bytes(), path.stat()
    path.write_bytes(bytes(reversed(before)))
    os.utime(path, (known.st_mtime + 100, known.st_mtime + 100))

    def restore():
        path.write_bytes(before)
        os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))

    return restore


@pytest.fixture(scope="module")
def seen(broken, served):
    """The results of every read during the fault, of other reads meanwhile, and of all afterwards."""
    names = [f"{fault}/{size}" for fault in FAULTS for size in ("small", "large")]
    restore = [replace(broken.bucket.root / "ignored_condition" / size) for size in ("small", "large")]
    broken.proxy.rules(*((f"/{fault}/", fault) for fault in FAULTS))
    patience, peak = buckets.Patience(*served.values()), buckets.Peak(*served.values())
    with ThreadPoolExecutor(len(names) * len(served)) as pool, ThreadPoolExecutor(4) as others:
        faulty = read_all(pool, broken, served, names)
        meanwhile = patience.results(read_all(others, broken, served, broken.bucket.names("other")))
        local = {mode: local_is_right(mount) for mode, mount in served.items()}
        came = patience.results(faulty, peak.look)
        broken.proxy.rules()
        for undo in restore:
            undo()
        after = patience.results(read_all(pool, broken, served, names))
    return SimpleNamespace(came=came, meanwhile=meanwhile, local=local, after=after, peak=peak.bytes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_the_right_bytes_or_a_clear_errno(broken, seen, fault, size, mode):
    allowed = FAULTS[fault][size == "large"]
    allowed = allowed if isinstance(allowed, set) else {allowed}
    assert seen.came[mode, f"{fault}/{size}"] in allowed
    assert seen.after[mode, f"{fault}/{size}"] == RIGHT, "the fault is over"
    assert broken.proxy.counts()[fault] > 0, "the fault was played"


def test_other_files_are_read_meanwhile(seen):
    assert set(seen.meanwhile.values()) == {RIGHT} and all(seen.local.values())


def test_memory_is_bounded_whatever_a_server_sends(seen):
    assert seen.peak < MOST


def test_every_failure_is_told_and_nothing_panics(seen, served):
    for mode, mount in served.items():
        told = mount.dcfs.log()
        assert "panic" not in told
        failed = [name for (where, name), came in seen.came.items() if where == mode and came != RIGHT]
        assert [name for name in failed if name not in told] == []


def test_a_fault_that_passes_is_not_seen(broken):
    """The request is retried, and the reader never notices."""
    names = broken.bucket.names("once")
    broken.proxy.rules(*((f"/once/{fault}-", fault, {"times": 2}) for fault in ONCE))
    with in_each_mode(broken, "once", "60s") as served, ThreadPoolExecutor(len(names) * 2) as pool:
        came = buckets.Patience(*served.values()).results(read_all(pool, broken, served, names))
    assert set(came.values()) == {RIGHT}, came


@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_readers_of_a_dead_store_wait_alone(broken, mode):
    """More than the kernel's limit of requests: nobody else may wait behind them."""
    broken.proxy.rules(("/held/", "hold"))
    with mounted(broken, "held", mode, "150s") as mount, ThreadPoolExecutor(HELD) as pool, ThreadPoolExecutor(4) as others:
        one, patience = {mode: mount}, buckets.Patience(mount)
        held = read_all(pool, broken, one, broken.bucket.names("held"))
        all_asked(broken.proxy)
        came = patience.results(read_all(others, broken, one, broken.bucket.names("plain")))
        assert set(came.values()) == {RIGHT}
        assert not any(future.done() for future in held.values()), "nobody else waits"
        broken.proxy.rules()
        assert set(patience.results(held).values()) == {RIGHT}


def all_asked(proxy):
    """Waits until the store gets no more requests, or readers on a busy machine begin to send them again."""
    before = -1
    for _ in range(10):
        if before == (before := proxy.counts()["requests"]):
            return
        time.sleep(1)


def test_a_mount_can_be_taken_away_while_readers_wait(broken):
    broken.proxy.rules(("/held/", "hold"))
    with mounted(broken, "forced", "cached", "150s") as mount, ThreadPoolExecutor(8) as pool:
        held = read_all(pool, broken, {"": mount}, broken.bucket.names("held")[:8])
        all_asked(broken.proxy)
        mount.dcfs.ok("unmount", "--force", mount.path, timeout=30)
        assert not mounts.mounted(mount.path)
        broken.proxy.rules()
        came = buckets.Patience(mount).results(held)
    assert set(came.values()) <= {RIGHT, errno.EIO, errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT}, came


def test_refused_connections_end_with_the_server_back(broken):
    """Cached data, and local files, are read all the time."""
    kept, lost = broken.bucket.names("plain")[:10], broken.bucket.names("plain")[10:]
    with mounted(broken, "refused", "cached", "3s", "--prefetch", "off") as mount, ThreadPoolExecutor(8) as pool:
        patience = buckets.Patience(mount)

        def outcomes(names):
            return set(patience.results(read_all(pool, broken, {"": mount}, names)).values())

        assert outcomes(kept) == {RIGHT}
        with refusing(broken.proxy):
            for name in kept:
                forget_pages(buckets.version(mount) / name)
            assert outcomes(kept) == {RIGHT}
            assert outcomes(lost) == {EIO}
            assert local_is_right(mount)
        assert outcomes(lost) == {RIGHT}
        mount.unmount()


@contextlib.contextmanager
def refusing(proxy):
    """Nothing listens until the block ends."""
    proxy.refuse(True)
    try:
        yield
    finally:
        proxy.refuse(False)


def forget_pages(path):
    """The kernel's copy of a file, so that the daemon is asked again."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_host_that_does_not_resolve(broken):
    names = broken.bucket.names("plain")[:4]
    url = "http://no-such-host.invalid:9000"
    with mounted(broken, "name", "cached", "3s", url=url) as mount, ThreadPoolExecutor(4) as pool:
        futures = read_all(pool, broken, {"": mount}, names)
        assert local_is_right(mount)
        assert set(buckets.Patience(mount).results(futures).values()) == {EIO}
        assert any("no-such-host.invalid" in line for line in mount.dcfs.worries()), "the log says which host"
        mount.unmount()


LEAKING = [fault for fault in FAULTS if fault not in ("ignored_condition", "trickle")]


def test_a_thousand_faults_leave_nothing_behind(broken):
    """Open files and memory are the same after a hundred faults and after a thousand, threads as before any."""
    names = broken.bucket.names("leak")
    faults = itertools.cycle(LEAKING)
    with in_each_mode(broken, "leak", "1s") as served:
        broken.proxy.rules(*((f"/{name}$", fault) for name, fault in zip(names, faults)))
        threads = {mode: held_by(mount)[0] for mode, mount in served.items()}
        fail(broken, served, names, 64)
        first = {mode: (threads[mode], *held_by(mount)[1:]) for mode, mount in served.items()}
        fail(broken, served, names, 500)
        expect_no_more(served, first)
        broken.proxy.rules()
        assert set(fail(broken, served, names, len(names))) == {RIGHT}
        for mount in served.values():
            mount.unmount()


def fail(broken, served, names, count):
    """Reads `count` files of each mount, over and over, many at a time."""
    jobs = [(mode, number) for number in range(count) for mode in served]
    with ThreadPoolExecutor(2 * len(names)) as pool:
        futures = {
            (mode, number): pool.submit(buckets.outcome, served[mode], broken.bucket, names[number % len(names)])
            for mode, number in jobs
        }
        return buckets.Patience(*served.values()).results(futures).values()


def held_by(mount):
    """Threads, open files and bytes of the daemon."""
    pid = mount.daemon()
    now = buckets.status(pid)
    return now["Threads"], len(os.listdir(f"/proc/{pid}/fd")), now["RssAnon"] << 10


MORE = (4, 64, 16 << 20)
"""Threads, open files (a connection for each reader is kept for a while) and bytes that may be added."""

REST = 100
"""Seconds within which cached resources must be released: idle threads after 10, connections after 90."""


def expect_no_more(served, first):
    """The daemons come to hold no more than at first, soon."""
    end = time.monotonic() + REST
    while not all(is_no_more(held_by(mount), first[mode]) for mode, mount in served.items()):
        now = {mode: held_by(mount) for mode, mount in served.items()}
        assert time.monotonic() < end, f"threads, files, bytes: {first} first, {now} in the end"
        time.sleep(0.5)


def is_no_more(now, first):
    return all(new <= old + more for new, old, more in zip(now, first, MORE, strict=True))
