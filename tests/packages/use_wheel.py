"""Each part of the package `dcfs`, as it is installed, over the catalog of `tests/packages/session`."""

import importlib.util
import sys
from pathlib import Path

import dcfs


def main(catalog):
    assert dcfs.binary().parent == Path(sys.executable).parent, dcfs.binary()
    assert (Path(dcfs.__file__).parent / "py.typed").is_file()

    try:
        dcfs.path("pets", catalog=catalog)
    except dcfs.Error as error:
        assert error.code == 1 and "not mounted" in str(error)
    else:
        raise AssertionError("a path without a mount")

    with dcfs.mount(catalog, cache_size="1G", xattr=True, anon=False) as top:
        assert dcfs.path("pets", catalog=catalog) == top / "datasets" / "pets@1.0.0"
        pugs = dcfs.path("pets", where="label = pug", catalog=catalog)
        assert sorted(path.name for path in pugs.rglob("*.txt")) == ["1.txt", "2.txt", "3.txt"]
        epochs(top / "datasets" / "pets")
    assert not top.exists(), "a temporary mount point is gone"

    wanted = [{"label": "pug", "n": 3}, {"label": "pug", "n": 2}]
    asked = dcfs.rows("pets", where="label = pug order by n desc", columns=["label", "n"], limit=2, catalog=catalog)
    assert [{name: row[name] for name in ("label", "n")} for row in asked] == wanted
    assert len(list(asked)) == 2, "rows can be read again"
    assert next(iter(dcfs.rows("pets", catalog=catalog)))["file"]["size"] > 0
    if importlib.util.find_spec("pyarrow"):
        assert dcfs.rows("pets", catalog=catalog).to_arrow().num_rows == 6

    for call in [lambda: list(dcfs.rows("pets", where="m > 1", catalog=catalog)), lambda: dcfs.run("count", "--catalog", catalog, "pets", "--where", "m > 1")]:
        try:
            call()
        except dcfs.Error as error:
            assert error.code == 2 and str(error).startswith("no column `m`"), error
        else:
            raise AssertionError("a wrong filter")
    print("wheel: ok")


def epochs(directory):
    """A training loop: each epoch has another order, each rank its part, and all files occur once."""
    orders = []
    for epoch in range(3):
        parts = []
        for rank in range(2):
            sampler = dcfs.Sampler(directory, seed=7, rank=rank, world=2)
            sampler.set_epoch(epoch)
            part = list(sampler)
            assert len(part) == len(sampler) == 3 and part == list(sampler)
            assert all(path.read_text() for path in part)
            assert all(str(path).startswith(str(directory)) for path in part)
            parts += part
        assert len(set(parts)) == 6
        orders.append(tuple(parts))
    assert len(set(orders)) == 3


main(sys.argv[1])
