"""The entry point `datachain.callables`: how DataChain, in another process, finds the classes of `dcfs.datachain`."""

from __future__ import annotations

import contextlib
import os


def register() -> None:
    """Does nothing unless DataChain was told to make a metastore or a warehouse of a serialized one.

    DataChain calls it in every process of an environment that has this package, also where its servers are others, or none, and where
    the extra `datachain` is not installed.
    """
    if os.environ.get("DATACHAIN__METASTORE") or os.environ.get("DATACHAIN__WAREHOUSE"):
        with contextlib.suppress(ImportError):
            import dcfs.datachain  # noqa: F401
