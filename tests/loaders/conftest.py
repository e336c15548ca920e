"""One catalog of drawn pets, mounted for the whole run."""

import subprocess
import sys
from pathlib import Path

import pytest

import datachain_runs
import mounts

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    """The folder of the catalog."""
    folder = tmp_path_factory.mktemp("loaders")
    draw = HERE.parent / "demo" / "draw.py"
    subprocess.run([sys.executable, draw, folder / "data"], check=True)
    process = datachain_runs.start(HERE / "catalog.py", folder)
    assert process.wait(timeout=300) == 0
    return folder


@pytest.fixture(scope="session")
def mount(catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mount")
    with mounts.Dcfs(folder).mount(catalog, folder / "mnt") as mount:
        yield mount
        assert mount.dcfs.worries() == []


@pytest.fixture(scope="session")
def records(catalog):
    """A dataset as DataChain reads it: its rows as dictionaries, by recorded path."""

    def read(name):
        script = (
            "import datachain as dc, sys\n"
            "frame = dc.read_dataset(sys.argv[1]).to_pandas(flatten=True)\n"
            "frame.to_pickle(sys.argv[2])\n"
        )
        out = catalog / f"{name}.pickle"
        command = [sys.executable, "-c", script, name, out]
        environment = datachain_runs.clean_environment(catalog)
        subprocess.run(command, cwd=catalog, env=environment, check=True)
        import pandas

        return pandas.read_pickle(out)

    return read
