"""A volume of Kubernetes whose catalog is on servers: `dcfs csi` as called by the kubelet, with real servers and a bucket."""

import contextlib
import importlib.util
import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

import mounts
import servers
import taps
from csi_plugin import plugin, publishing, served_by

# The module of that name here is another.
spec = importlib.util.spec_from_file_location("stores", Path(__file__).parents[1] / "python" / "servers.py")
stores = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stores)

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="interfaces are made by root"),
]

BYTES = b"a cat, some 40 bytes of it, in the bucket"


@pytest.fixture
def elsewhere():
    """An address of this machine that is not of the node itself: volumes may name it."""
    name, address = f"dcfs{os.getpid() % 10000}c", f"10.78.{os.getpid() % 250}.1"
    ip = lambda text: subprocess.run(["ip", *text.split()], check=True)  # noqa: E731
    ip(f"link add {name} type veth peer name {name}p")
    try:
        ip(f"addr add {address}/32 dev {name}")
        ip(f"link set {name} up")
        yield address
    finally:
        ip(f"link del {name}")


@pytest.fixture
def there(catalog, cluster, elsewhere, tmp_path):
    """The catalog on servers, with `cats`, a dataset of a bucket, as a writer and a volume name it; the writer shares what it builds."""
    address = cluster.database("volumes")
    name = address.rsplit("/", 1)[1]
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(stores.moto(tmp_path))
        bucket = f"cats-{random.randrange(1 << 32):08x}"
        s3.bucket(bucket, versioned=False)
        s3.put(bucket, "cats/a.jpg", BYTES)
        clickhouse, postgres, store = (
            stack.enter_context(taps.Tap(port, host=elsewhere))
            for port in [cluster.clickhouse.port, cluster.postgres.port, int(s3.url.rsplit(":", 1)[1])]
        )

        def named(user):
            metastore = f"postgresql://datachain@{elsewhere}:{postgres.port}/{name}%3Fsslmode=disable"
            return f"clickhouse://{user}@{elsewhere}:{clickhouse.port}/{name}?secure=false&metastore={metastore}"

        config = tmp_path / "config.toml"
        config.write_text(f'[shared]\nprefix = "s3://{bucket}/shared"\n')
        endpoint = f"http://{elsewhere}:{store.port}"
        keys = {**s3.KEYS, "AWS_ENDPOINT_URL": endpoint, "DCFS_CONFIG": str(config)}
        writer = mounts.Dcfs(tmp_path / "writer", **cluster.environment, **keys)
        # Other tests may have saved more into the catalog.
        writer.ok("catalog", "copy", catalog, named("dcfs"), "--dataset", "awkward", "--dataset", "few")
        writer.ok("index", f"s3://{bucket}/cats/", "--save", "cats", "--catalog", named("dcfs"))
        writer.ok("warm", "--to-shared", "cats", "--catalog", named("dcfs"))
        yield {"address": named("reader"), "endpoint": endpoint, "config": config, "keys": s3.KEYS}
    cluster.clickhouse.ask(f"DROP DATABASE {name}")


def daemons(own):
    """The processes that serve volumes: the words of each."""
    folders = [str(own / name) for name in os.listdir(own)]
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and any(served_by(pid, folder) for folder in folders)]
    return {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in pids}


def test_a_volume_is_a_catalog_on_servers(there, cluster, tmp_path):
    """Its passwords come from its secret and are in no command line and no file; it has what hosts share; local files stay closed."""
    nobody = mounts.Dcfs(tmp_path / "plugin-home", DCFS_CONFIG=str(there["config"]))
    (tmp_path / "catalogs").mkdir()
    own, target, other = tmp_path / "plugin" / "own", tmp_path / "target", tmp_path / "other"
    attributes = {"catalog": there["address"], "endpointUrl": there["endpoint"]}
    secret = {**cluster.environment, **there["keys"]}
    with plugin(nobody, tmp_path / "catalogs", tmp_path / "plugin", "--allow-uri=s3://") as node:
        node.publish(target, "1", secret, **attributes)
        assert sorted(os.listdir(target / "datasets")) == ["awkward", "awkward@1.0.0", "cats", "cats@1.0.0", "few", "few@1.0.0"]
        assert (target / "datasets" / "cats" / "cats" / "a.jpg").read_bytes() == BYTES
        shared = json.loads((target / "_status.json").read_text())["shared"]
        assert shared["fetched"] > 0 and shared["put"] == 0, "settings of the plugin are those of its volumes"
        local = next(path for path in (target / "datasets" / "few").rglob("*") if path.is_file() and not path.name.startswith("_"))
        with pytest.raises(OSError):
            local.read_bytes()
        # Another secret: a process and a cache of its own, which are not in the way of the first.
        node.publish(other, "2", {**secret, "AWS_SESSION_TOKEN": "another"}, dataset="cats", **attributes)
        assert (other / "cats" / "a.jpg").read_bytes() == BYTES
        served = daemons(own)
        caches = {next(word for word in reversed(words) if word.startswith(b"--cache-dir=")) for words in served.values()}
        assert len(served) == len(caches) == 2
        wrong = publishing(tmp_path / "third", "3", {**secret, "CLICKHOUSE_PASSWORD": "pa:ss@wrong"}, **attributes)
        code, told = node.fails("Node/NodePublishVolume", wrong)
        assert code == "PERMISSION_DENIED" and "does not let `reader` in" in told and "pa:ss" not in told, (code, told)
        assert len(os.listdir(own)) == 2 and not (tmp_path / "third").exists()
        assert not any(servers.PASSWORD.encode() in word for words in served.values() for word in words)
        files = [path for top in [nobody.home, tmp_path / "plugin"] for path in top.rglob("*") if own not in path.parents and path.is_file()]
        assert len(files) > 4 and not any(b"pa:ss" in path.read_bytes() for path in files)
        node.unpublish(target, "1")
        assert (other / "cats" / "a.jpg").read_bytes() == BYTES
        node.unpublish(other, "2")
        end = time.monotonic() + 30
        while any(os.path.exists(f"/proc/{pid}/exe") for pid in served) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in served)
