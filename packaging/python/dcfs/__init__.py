"""Datasets of a DataChain catalog as directories and rows: a thin layer over the program `dcfs`, without dependencies."""

from ._mounts import mount, path
from ._program import Error, binary, run
from ._rows import Rows, rows
from ._sampler import Sampler

__all__ = ["Error", "Rows", "Sampler", "binary", "mount", "path", "rows", "run"]
