"""Rows of an answer, as DataChain takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class Rows(Iterator[tuple[Any, ...]]):
    """All rows of an answer, and how many rows a statement changed; -1 if unknown."""

    def __init__(self, rows: Sequence[Sequence[Any]] = (), rowcount: int = -1) -> None:
        self.rowcount = rowcount
        self._rows = iter(rows)

    def __next__(self) -> tuple[Any, ...]:
        return tuple(next(self._rows))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self)

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self, None)

    def close(self) -> None:
        self._rows = iter(())
