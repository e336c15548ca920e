"""Mounts, and the directories below them."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence, Union

from ._program import Error, StrPath, of_catalog, run

Option = Union[str, int, bool, StrPath, Sequence[str]]


@contextmanager
def mount(catalog: Optional[StrPath] = None, mountpoint: Optional[StrPath] = None, **options: Option) -> Iterator[Path]:
    """Mounts a catalog while the block runs, and returns the top of the mount.

    Without `mountpoint` it is a temporary directory. `options` are the flags of `dcfs mount`, with `_` for their dashes:
    `cache_size="500G"`, `anon=True`, `local_root=["/data"]`.

        with dcfs.mount("project", cache_size="100G") as top:
            names = sorted(path.name for path in (top / "datasets").iterdir())
    """
    place = Path(tempfile.mkdtemp(prefix="dcfs-") if mountpoint is None else mountpoint)
    try:
        run("mount", *of_catalog(catalog), *_flags(options), "--", place)
        try:
            yield place
        finally:
            _unmount(place)
    finally:
        if mountpoint is None:
            # Not recursively: the folder may still be mounted.
            shutil.rmtree(place, ignore_errors=True) if not any(place.iterdir()) else None


def _flags(options: dict[str, Option]) -> Iterator[str]:
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            yield flag
        elif isinstance(value, (list, tuple)):
            yield from (f"{flag}={item}" for item in value)
        elif value is not False and value is not None:
            yield f"{flag}={value}"


def _unmount(place: Path) -> None:
    try:
        run("unmount", place)
    except Error:
        # A file is still open: it stays readable, and the mountpoint is free.
        run("unmount", "--force", place)


def path(dataset: str, where: Optional[str] = None, *, catalog: Optional[StrPath] = None) -> Path:
    """The directory of a dataset, or of a filter of it, below the mount of its catalog.

    `dataset` is `pets`, `pets@1.0.0` or `pets@latest`. Raises `Error` where the catalog is not mounted, or the filter is wrong.
    """
    # A filter that all rows pass: the dataset is the directory around it.
    asked = run("path", *of_catalog(catalog), "--json", "--", dataset, "sys__id is not null" if where is None else where)
    answer = json.loads(asked)
    if not answer["mounted"]:
        raise Error("the catalog is not mounted; mount it with `dcfs.mount`, or `dcfs mount DIR`", 1)
    found = Path(answer["path"])
    return found.parent if where is None else found
