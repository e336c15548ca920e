"""The order of an epoch: a permutation of the files of a dataset that depends only on the seed and the epoch."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Iterator, List, Optional

from ._program import StrPath


class Sampler:
    """The files of a directory in a random order, another one each epoch, the same on every machine.

        sampler = dcfs.Sampler(top / "datasets" / "pets@1.0.0", seed=7, rank=rank, world=world)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for path in sampler:
                ...

    The order is the one that a mount lists below `_views/epochs/`: whoever reads in it has files fetched before they are asked
    for. Of a directory that has no such list (a copy, a mount by an older dcfs), the files are shuffled here. Ranks share no file,
    and the numbers of their files differ by one at most.
    """

    def __init__(self, directory: StrPath, *, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not below world {world}")
        self.directory, self.seed, self.rank, self.world = Path(directory), seed, rank, world
        self.epoch = 0
        self._files: Optional[List[Path]] = None

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of this epoch, like a sampler of PyTorch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Path]:
        shard = f"shard={self.rank}/{self.world}/" if self.world > 1 else ""
        listed = self.directory / f"_views/epochs/{self.seed}/{shard}{self.epoch}.txt"
        try:
            lines = open(listed, encoding="utf-8", errors="surrogateescape", newline="\n")
        except (FileNotFoundError, NotADirectoryError):
            yield from self._shuffled()[self.rank :: self.world]
            return
        with lines:
            for line in lines:
                yield self.directory / line.rstrip("\n")

    def _shuffled(self) -> List[Path]:
        if self._files is None:
            self._files = sorted(path for path in self.directory.rglob("*") if path.is_file() and not _is_helper(path))
        order = list(self._files)
        # `Random.random` gives the same numbers for a seed in every release of Python; `shuffle` need not.
        generator = random.Random(f"{self.seed}/{self.epoch}")
        for last in range(len(order) - 1, 0, -1):
            other = int(generator.random() * (last + 1))
            order[last], order[other] = order[other], order[last]
        return order


def _is_helper(path: Path) -> bool:
    return path.name in {"_README.md", "_lineage.md", "_schema.json"}
