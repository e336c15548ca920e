"""The order of an epoch, ahead of a reader: on a mount, for `dcfs warm`, and within a shard."""

import os
import random
import tarfile

import pytest

import mounts
import objects

pytestmark = pytest.mark.mount

FILES = 300


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    random.seed(77)
    files = {f"{number:04}.bin": random.randbytes(1000) for number in range(FILES)}
    with objects.served(tmp_path_factory.mktemp("ordered"), files) as store:
        yield store


def test_an_epoch_that_was_opened_is_fetched_ahead(store, tmp_path):
    with store.mounted(mounts.Dcfs(tmp_path / "home"), tmp_path / "mnt") as root:
        before = len(store.asked())
        order = (root / "_views/epochs/42/7.txt").read_text().splitlines()
        assert sorted(order) == sorted(store.files) != order
        assert not store.asked()[before:], "a list asks nothing of the store"
        for name in order[:3]:
            assert (root / name).read_bytes() == store.files[name]
        assert sorted(store.asked_after(before, 99)) == sorted(order[:99]), "the 96 that come next"
        for name in order[3:]:
            assert (root / name).read_bytes() == store.files[name]
        assert set(store.asked()[before:]) == set(order) and store.asked_twice(before, root) == 0, "each once"


def test_warm_fetches_in_the_order_of_an_epoch(store, tmp_path):
    dcfs = mounts.Dcfs(tmp_path / "home")
    with store.mounted(dcfs, tmp_path / "mnt") as root:
        order = (root / "_views/epochs/5/1.txt").read_text().splitlines()
    before = len(store.asked())
    dcfs.ok("warm", "static", "--order", "epochs/5/1", "--jobs", "1", *store.access())
    assert store.asked()[before:] == order
    for wrong in ("epochs/x", "5/1", "epochs/5/-1", "epochs/05"):
        result = dcfs.run("warm", "static", "--order", wrong, *store.access())
        assert result.returncode == 2 and "epochs/42/0" in result.stderr


def test_a_shard_is_fetched_ahead(store, tmp_path):
    with store.mounted(mounts.Dcfs(tmp_path / "home"), tmp_path / "mnt") as root:
        before = len(store.asked())
        path = root / "_views/webdataset/shard=200,json=no/000000.tar"
        assert path.stat().st_size > 200 * 1536
        assert not store.asked()[before:], "sizes ask nothing of the store"
        with open(path, "rb", buffering=0) as file:
            os.pread(file.fileno(), 4096, 0)
            assert len(store.asked_after(before, 90)) >= 90
        with tarfile.open(path) as tar:
            found = [tar.extractfile(member).read() for member in tar]
        assert found == [store.files[name] for name in sorted(store.files)[:200]]
        asked = store.asked()[before:]
        assert set(asked) >= set(sorted(store.files)[:200])
        assert store.asked_twice(before, root) == 0, "each once; those of the next shard may come, too"
