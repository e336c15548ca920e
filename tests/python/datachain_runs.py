"""Running real DataChain: a script file in a folder, as a user would, so that its source is recorded."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"


MOVING = ("AWS_", "AZURE_", "CLICKHOUSE_", "DATACHAIN_", "GOOGLE_", "HF_", "PG", "SSL_", "STORAGE_", "XDG_")
"""Prefixes of variables that select another catalog, cache or bucket."""


def clean_environment(home, **extra):
    """The environment without the caller's variables that select another catalog, cache or bucket."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(MOVING) and not name.lower().endswith("_proxy")
    }
    return kept | {"HOME": str(home), "DATACHAIN_NO_ANALYTICS": "1"} | extra


def start(script, folder, *arguments, environment=None, **popen):
    """Starts `python script` in `folder`; the catalog is `folder/.datachain`."""
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        cwd=folder,
        env=clean_environment(folder, **(environment or {})),
        text=True,
        **popen,
    )


def run(name, folder, *arguments, timeout=180, environment=None):
    """Runs `scripts/<name>.py` in `folder` to its end; a failure contains its output."""
    script = SCRIPTS / f"{name}.py"
    process = start(script, folder, *arguments, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"{script}:\n{output}"


def command(folder, *words):
    """DataChain's own command line."""
    result = subprocess.run(
        [Path(sys.executable).parent / "datachain", *words],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
