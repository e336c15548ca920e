"""The order of an epoch: a permutation of a directory's files that depends on the seed and the epoch alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Iterator, List

from ._program import StrPath


class Sampler:
    """The files of a directory in a random order, another one each epoch, the same on every machine and for every rank.

        sampler = dcfs.Sampler(top / "datasets" / "pets@1.0.0", seed=7, rank=rank, world=world)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for path in sampler:
                ...

    Each rank gets the same number of files: the last ones of the order are left out where they do not divide.
    """

    def __init__(self, directory: StrPath, *, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not below world {world}")
        self.directory, self.seed, self.rank, self.world = Path(directory), seed, rank, world
        self.epoch = 0
        self._files = sorted(path for path in self.directory.rglob("*") if path.is_file() and not _is_helper(path))

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch, as a sampler of PyTorch does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._files) // self.world

    def __iter__(self) -> Iterator[Path]:
        order: List[Path] = list(self._files)
        # Python keeps what a seed gives over its releases: `random.Random(int).random()` is the same since 3.2, and so is
        # this shuffle, which is made of it alone.
        generator = random.Random(f"{self.seed}/{self.epoch}")
        for last in range(len(order) - 1, 0, -1):
            other = int(generator.random() * (last + 1))
            order[last], order[other] = order[other], order[last]
        return iter(order[self.rank :: self.world][: len(self)])


def _is_helper(path: Path) -> bool:
    return path.name in {"_README.md", "_lineage.md", "_schema.json"}
