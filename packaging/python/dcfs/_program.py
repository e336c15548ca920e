"""The program `dcfs`: its path, and how it is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Union

StrPath = Union[str, "os.PathLike[str]"]


class Error(Exception):
    """An error of the program. `code` is its exit code: 1 no such name, 2 invalid request, 3 stale, and so on."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def binary() -> Path:
    """The program: `$DCFS_BIN`, else the one installed with this package, else the first on `PATH`."""
    named = os.environ.get("DCFS_BIN")
    if named:
        return Path(named)
    for folder in (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", "posix_user")):
        found = Path(folder) / "dcfs"
        if found.is_file():
            return found
    on_path = shutil.which("dcfs")
    if on_path is None:
        raise FileNotFoundError("there is no program `dcfs`: pip install dcfs, or name it by DCFS_BIN")
    return Path(on_path)


def run(*arguments: StrPath) -> str:
    """The output of `dcfs ARGUMENTS`. Raises `Error` if it fails."""
    command = [str(binary()), *(os.fspath(argument) for argument in arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise failure(done.stderr, done.returncode)
    return done.stdout


def failure(stderr: str, code: int) -> Error:
    """The error message of the program, without the warnings before it."""
    text = stderr.strip()
    text = text[text.rfind("\ndcfs: ") + 1 :]
    return Error(text[len("dcfs: ") :] if text.startswith("dcfs: ") else text, code)


def of_catalog(catalog: StrPath | None) -> list[str]:
    """The flag that names a catalog."""
    return [] if catalog is None else ["--catalog", os.fspath(catalog)]
