"""The mode in which the kernel reads an open file, directly or through dcfs: chosen per inode, and never visible in the bytes."""

import json
import mmap
import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

import mounts
import objects

pytestmark = pytest.mark.mount

SIZES = [0, 1, 4095, 65536, 65537, 300_000, 3 << 20]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    random.seed(21)
    files = {f"{number:02}.bin": random.randbytes(SIZES[number % len(SIZES)]) for number in range(21)}
    with objects.served(tmp_path_factory.mktemp("modes"), files) as store:
        yield store


class Walk:
    """Random opens, reads, maps and closes of one worker; every byte is compared."""

    def __init__(self, store, root, seed):
        self.store, self.root, self.random, self.open = store, root, random.Random(seed), []

    def run(self, steps):
        for _ in range(steps):
            self.random.choice([self.begin, self.begin, self.read, self.read, self.map, self.end])()
        while self.open:
            self.end()

    def begin(self):
        name = self.random.choice(sorted(self.store.files))
        self.open.append((name, os.open(self.root / name, os.O_RDONLY)))

    def read(self):
        if self.open:
            name, file = self.random.choice(self.open)
            offset, length = self.random.randrange(0, (3 << 20) + 10), self.random.choice([1, 4096, 200_000])
            if self.random.random() < 0.2:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file, length, offset) == self.store.files[name][offset : offset + length], name

    def map(self):
        if self.open:
            name, file = self.random.choice(self.open)
            if self.store.files[name]:
                with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
                    at = self.random.randrange(len(mapped))
                    assert mapped[at : at + 5000] == self.store.files[name][at : at + 5000], name

    def end(self):
        if self.open:
            os.close(self.open.pop(self.random.randrange(len(self.open)))[1])


@pytest.mark.parametrize("options", [[], ["--cache-size", "0"], ["--prefetch", "off", "--memory", "1M"]])
def test_any_interleaving_of_opens_reads_and_closes(store, tmp_path, options):
    """Files become complete while others have them open: both modes meet on one inode."""
    dcfs = mounts.Dcfs(tmp_path / "home")
    for round in range(3):
        with store.mounted(dcfs, tmp_path / "mnt", *options) as root:
            walks = [Walk(store, root, 100 * round + worker) for worker in range(8)]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda walk: walk.run(150), walks))
    assert dcfs.worries() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may let the kernel read files by itself")
def test_whole_files_are_read_by_the_kernel_alone(store, tmp_path):
    dcfs = mounts.Dcfs(tmp_path / "home")

    def read_all(root):
        for name, data in store.files.items():
            assert (root / name).read_bytes() == data

    with store.mounted(dcfs, tmp_path / "mnt") as root:
        read_all(root)
    with store.mounted(dcfs, tmp_path / "mnt", "--prefetch", "off") as root:
        asked = len([size for size in store.files.values() if len(size) <= 1 << 20])
        for name, data in store.files.items():
            if len(data) <= 1 << 20:
                assert (root / name).read_bytes() == data
        live = json.loads((root.parent.parent / "_status.json").read_text())["store"]
        assert live["opened"] == asked
        assert live["requests"] == live["bytes_from_disk"] == live["bytes_from_memory"] == 0
