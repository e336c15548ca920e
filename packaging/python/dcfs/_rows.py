"""Rows of a dataset, without a mount."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence

from ._program import StrPath, binary, failure, of_catalog, run

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Rows:
    """Rows, read when iterated over: dictionaries, nested as the models nest. Each loop reads them again."""

    def __init__(self, flags: List[str], dataset: str) -> None:
        self._flags, self._dataset = flags, dataset

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        with tempfile.TemporaryFile() as errors:
            command = [str(binary()), "show", *self._flags, "--format=jsonl", "--", self._dataset]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process:
                assert process.stdout is not None
                try:
                    for line in process.stdout:
                        yield json.loads(line)
                finally:
                    # A reader that stops early closes the pipe, which ends the program successfully.
                    process.stdout.close()
            errors.seek(0)
            if process.returncode:
                raise failure(errors.read().decode(errors="replace"), process.returncode)

    def to_arrow(self) -> "pyarrow.Table":
        """A table of Arrow, typed; needs pyarrow."""
        import pyarrow.parquet

        with tempfile.TemporaryDirectory(prefix="dcfs-") as folder:
            file = Path(folder) / "rows.parquet"
            run("show", *self._flags, "--format=parquet", "-o", file, "--", self._dataset)
            return pyarrow.parquet.read_table(file, memory_map=False)

    def to_pandas(self) -> "pandas.DataFrame":
        """A frame of pandas; needs pandas and pyarrow."""
        return self.to_arrow().to_pandas()


def rows(
    dataset: str,
    where: Optional[str] = None,
    *,
    columns: Optional[Sequence[str]] = None,
    limit: Optional[int] = None,
    catalog: Optional[StrPath] = None,
) -> Rows:
    """The rows of a dataset: all, or those that pass a filter, in its order.

        for row in dcfs.rows("pets", where="info.width > 400 order by score desc", columns=["label", "info.width"]):
            ...
    """
    flags = of_catalog(catalog)
    if where is not None:
        flags.append(f"--where={where}")
    if columns is not None:
        flags.append("--columns=" + ",".join(columns))
    flags.append("--all" if limit is None else f"--limit={os.fspath(str(limit))}")
    return Rows(flags, dataset)
