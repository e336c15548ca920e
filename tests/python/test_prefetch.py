"""Prefetching of files."""

import os
import random
import time

import pytest

import mounts
import objects

pytestmark = pytest.mark.mount

FILES = 300


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    random.seed(31)
    # Every third is longer: a filter selects it.
    sizes = [2000 if number % 3 == 0 else 1000 for number in range(FILES)]
    files = {f"{number:04}.bin": random.randbytes(size) for number, size in enumerate(sizes)}
    with objects.served(tmp_path_factory.mktemp("siblings"), files) as store:
        yield store


def read(root, names, store):
    for name in names:
        assert (root / name).read_bytes() == store.files[name]


def test_three_opens_in_order_fetch_what_comes_next(store, tmp_path):
    names = sorted(store.files)
    before = len(store.asked())
    with store.mounted(mounts.Dcfs(tmp_path / "home"), tmp_path / "mnt") as root:
        read(root, names[:2], store)
        assert store.asked_after(before, 2) == names[:2], "two are a chance"
        read(root, names[2:3], store)
        assert sorted(store.asked_after(before, 99)) == names[:99], "96 ahead, not all of them"
        read(root, names[3:], store)
    asked = store.asked()[before:]
    assert sorted(asked) == names, "each once"


def test_a_query_directory_fetches_its_own(store, tmp_path):
    before = len(store.asked())
    with store.mounted(mounts.Dcfs(tmp_path / "home"), tmp_path / "mnt") as root:
        query = root / "file.size > 1500"
        names = [name for name in sorted(os.listdir(query)) if name.endswith(".bin")]
        assert names == sorted(store.files)[::3]
        read(query, names[:3], store)
        asked = store.asked_after(before, 40)
        assert len(asked) >= 40 and set(asked) <= set(names)
        read(query, names, store)
    assert sorted(store.asked()[before:]) == names


def test_opens_in_no_order_and_off_fetch_nothing_else(store, tmp_path):
    names = sorted(store.files)
    for number, (options, opened) in enumerate([
        (["--prefetch", "off"], names[:40]),
        ([], names[::-20]),
    ]):
        before = len(store.asked())
        with store.mounted(mounts.Dcfs(tmp_path / f"home{number}"), tmp_path / "mnt", *options) as root:
            read(root, opened, store)
            time.sleep(0.5)
        assert store.asked()[before:] == opened


@pytest.mark.parametrize("options", [[], ["--cache-size", "0"]], ids=["cached", "uncached"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_random_order_is_one_request_for_each_file_over_few_connections(store, tmp_path, options, secure):
    names = sorted(store.files)
    random.Random(19).shuffle(names)
    before = len(store.asked())
    dcfs = mounts.Dcfs(tmp_path / "home", AWS_CA_BUNDLE=str(store.authority))
    with store.mounted(dcfs, tmp_path / "mnt", *options, secure=secure) as root:
        read(root, names, store)
        time.sleep(0.5)
    assert store.asked()[before:] == names, "each once, and nothing that nobody opened"
    assert store.connections(before) <= 2


def test_all_are_fetched_once_one_is_opened(store, tmp_path):
    before = len(store.asked())
    with store.mounted(mounts.Dcfs(tmp_path / "home"), tmp_path / "mnt", "--prefetch", "all") as root:
        read(root, sorted(store.files)[:1], store)
        assert sorted(store.asked_after(before, FILES)) == sorted(store.files)
        read(root, store.files, store)
    assert len(store.asked()) - before == FILES


def test_what_cannot_be_fetched_is_told_to_who_opens_it(tmp_path):
    names = [f"{number:02}.bin" for number in range(20)]
    with objects.served(tmp_path / "store", {name: name.encode() for name in names}) as store:
        (store.bucket / names[7]).unlink()
        with store.mounted(mounts.Dcfs(tmp_path / "home"), tmp_path / "mnt") as root:
            for name in names:
                if name == names[7]:
                    with pytest.raises(OSError, match="Stale"):
                        (root / name).read_bytes()
                else:
                    read(root, [name], store)
