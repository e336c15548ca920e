"""Real servers, started once a run, with catalogs that real DataChain wrote."""

import shutil

import pytest

import copied
import datachain_runs
import mounts
import servers

WHY_NONE = servers.why_none()

CANNOT_MOUNT = mounts.why_no_mount()


def pytest_collection_modifyitems(items):
    for item in items:
        if WHY_NONE:
            item.add_marker(pytest.mark.skip(reason=WHY_NONE))
        elif item.get_closest_marker("mount") and CANNOT_MOUNT:
            item.add_marker(pytest.mark.skip(reason=CANNOT_MOUNT))


@pytest.fixture(scope="session", autouse=True)
def no_mount_is_left(tmp_path_factory):
    """Whatever happens, nothing below the temporary folder stays mounted."""
    yield
    mounts.force_unmount_below(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    cluster = servers.Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    """The folder of a SQLite catalog: `awkward`, of every kind of column, and `few`, nine files, with lineage."""
    folder = tmp_path_factory.mktemp("catalog")
    for script in ["awkward", "few"]:
        datachain_runs.run(script, folder)
    copied.level(folder)
    return folder


@pytest.fixture(scope="session")
def there(catalog, cluster):
    """The same catalog on the servers: its address."""
    copied.copy(catalog, cluster)
    return cluster.address()


@pytest.fixture
def changing(catalog, cluster, tmp_path):
    """A copy of the catalog that a test may change, and a function that copies it to the servers."""
    folder = tmp_path / "changing"
    shutil.copytree(catalog, folder)
    yield folder
    copied.copy(catalog, cluster)


@pytest.fixture
def dcfs(tmp_path, cluster):
    """The binary with a home of its own, which has the passwords."""
    return mounts.Dcfs(tmp_path / "home", **cluster.environment)
