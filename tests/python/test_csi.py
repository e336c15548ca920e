"""`dcfs csi` as called by the kubelet: gRPC over a socket, with the messages and methods of the public `csi.proto`."""

import os
import time

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet

import mounts
import sql
from csi_plugin import CSI, METHODS, plugin, publishing, served_by

pytestmark = [pytest.mark.mount, pytest.mark.root]

@pytest.fixture
def catalogs(small_catalog, tmp_path):
    """A folder with two catalogs, one below another folder, and a link that leads out."""
    folder = tmp_path / "catalogs"
    sql.copy_catalog(small_catalog, folder / "a")
    sql.copy_catalog(small_catalog, folder / "teams" / "b")
    (folder / "out").symlink_to(small_catalog)
    return folder


def test_it_says_who_it_is(dcfs, catalogs, tmp_path):
    with plugin(dcfs, catalogs, tmp_path / "plugin") as node:
        info = node.call("Identity/GetPluginInfo")
        assert info.name == "csi.dcfs" and dcfs.ok("--version").split()[1] == info.vendor_version
        assert not node.call("Identity/GetPluginCapabilities").capabilities, "no controller, no topology"
        assert node.call("Identity/Probe").ready.value is True
        assert not node.call("Node/NodeGetCapabilities").capabilities, "nothing is staged, measured or expanded"
        assert node.call("Node/NodeGetInfo").node_id == "node-1"
        answered = {"GetPluginInfo", "GetPluginCapabilities", "Probe", "NodeGetCapabilities", "NodeGetInfo", "NodePublishVolume", "NodeUnpublishVolume"}
        missing = [method for method in METHODS if method.split("/")[1] not in answered]
        assert "Node/NodeStageVolume" in missing and "Controller/CreateVolume" in missing
        for method in [*missing, "Nothing/AtAll"]:
            assert node.fails(method)[0] == "UNIMPLEMENTED", method


def test_all_that_is_sent_is_read_by_the_public_proto(dcfs, catalogs, tmp_path):
    """No field of an answer is one that `csi.proto` does not know, and a request that sets all of its fields is read."""
    with plugin(dcfs, catalogs, tmp_path / "plugin") as node:
        for method in ["Identity/GetPluginInfo", "Identity/Probe", "Node/NodeGetInfo"]:
            answer = node.call(method)
            assert answer.ListFields() and len(UnknownFieldSet(answer)) == 0, method
        target = tmp_path / "target"
        full = publishing(target, secrets={"AWS_REGION": "eu-central-1"}, catalog="a")
        full.publish_context["a"] = "b"
        full.staging_target_path = str(tmp_path / "staging")
        mount = full.volume_capability.mount
        mount.fs_type, mount.volume_mount_group = "fuse", "1000"
        node.call("Node/NodePublishVolume", full)
        assert "few" in os.listdir(target / "datasets")
        node.unpublish(target)


def test_a_volume_comes_and_goes(dcfs, catalogs, tmp_path):
    target = tmp_path / "pods" / "p" / "volume"
    with plugin(dcfs, catalogs, tmp_path / "plugin") as node:
        node.publish(target, catalog="a", **{"csi.storage.k8s.io/ephemeral": "true"})
        assert "few" in os.listdir(target / "datasets")
        node.publish(target, catalog="a")
        with open("/proc/self/mountinfo") as table:
            assert sum(line.split(" ")[4] == str(target) for line in table) == 1, "once, though it was asked for twice"
        node.unpublish(target)
        node.unpublish(target)
        assert not target.exists() and os.listdir(tmp_path / "plugin" / "own") == []


def test_a_volume_is_a_dataset_or_a_filter(dcfs, catalogs, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    with plugin(dcfs, catalogs, tmp_path / "plugin") as node:
        node.publish(one, "1", catalog="teams/b", dataset="few")
        assert "_README.md" in os.listdir(one)
        node.publish(other, "2", catalog="teams/b", dataset="few@1.0.0", filter='file.path glob "a/*"')
        assert os.listdir(other) == ["a"]
        node.unpublish(one, "1")
        assert os.listdir(other) == ["a"], "each volume is a mount of its own"
        node.unpublish(other, "2")


def test_what_makes_no_sense_is_refused_and_leaves_nothing(dcfs, catalogs, tmp_path):
    target = tmp_path / "target"
    own = tmp_path / "plugin" / "own"
    with plugin(dcfs, catalogs, tmp_path / "plugin") as node:
        request = publishing(target, catalog="a")
        request.ClearField("volume_capability")
        wrong = [
            (request, "INVALID_ARGUMENT", "volume_capability"),
            (publishing(target, "", catalog="a"), "INVALID_ARGUMENT", "volume_id"),
            (publishing("relative", catalog="a"), "INVALID_ARGUMENT", "target_path"),
            (publishing(target, catalog="none"), "NOT_FOUND", "no catalog"),
            (publishing(target, catalog="../small"), "INVALID_ARGUMENT", "below the folder"),
            (publishing(target, catalog="out"), "INVALID_ARGUMENT", "leads out"),
            (publishing(target, catalog="a", endpointUrl="http://minio:9000"), "INVALID_ARGUMENT", "needs a secret"),
            (publishing(target, catalog="a", endpointUrl="http://169.254.169.254", anon="true"), "INVALID_ARGUMENT", "the node itself"),
            (publishing(target, catalog="a", dataset="none"), "NOT_FOUND", "no dataset"),
            (publishing(target, catalog="a", dataset="few", filter="wrong >"), "INVALID_ARGUMENT", "not a filter"),
            (publishing(target, catalog="a", local_root="/"), "INVALID_ARGUMENT", "local_root"),
            (publishing(target, secrets={"LD_PRELOAD": "/x"}, catalog="a"), "INVALID_ARGUMENT", "LD_PRELOAD"),
        ]
        block = publishing(target, catalog="a")
        block.volume_capability.block.SetInParent()
        wrong.append((block, "INVALID_ARGUMENT", "block"))
        for request, code, message in wrong:
            failed = node.fails("Node/NodePublishVolume", request)
            assert failed[0] == code and message in failed[1], (failed, message)
            assert not mounts.mounted(target) and os.listdir(own) == []
        assert node.fails("Node/NodeUnpublishVolume", CSI["NodeUnpublishVolumeRequest"](volume_id="1"))[0] == "INVALID_ARGUMENT"


SERVERS = "clickhouse://reader@clickhouse.data/d?metastore=postgresql://reader@postgres.data/d"
PASSWORDS = {"CLICKHOUSE_PASSWORD": "pa:ss@word", "PGPASSWORD": "pa:ss@word"}
REFUSED = {
    "no secret": (SERVERS, {}, "no `CLICKHOUSE_PASSWORD`"),
    "half a secret": (SERVERS, {"CLICKHOUSE_PASSWORD": "x"}, "no `PGPASSWORD`"),
    "no token": ("studio://team", PASSWORDS, "no `DATACHAIN_STUDIO_TOKEN`"),
    "no team": ("studio://", {"DATACHAIN_STUDIO_TOKEN": "x"}, "names no team"),
    "a password": (SERVERS.replace("reader@click", "reader:pa:ss@word@click"), PASSWORDS, "leave it out of `clickhouse://`"),
    "a password for names": (SERVERS.replace("reader@post", "reader:pa:ss@word@post"), PASSWORDS, "leave it out of `postgresql://`"),
    "another scheme": ("postgresql://reader:pa:ss@word@host/d", PASSWORDS, "below the folder of catalogs, or an address"),
    "a file": ("clickhouse://host/d?metastore=/catalogs/a", PASSWORDS, "reads no file of the node"),
    "this node": (SERVERS.replace("clickhouse.data", "127.0.0.1"), PASSWORDS, "the node itself"),
    "names on this node": (SERVERS.replace("postgres.data", "localhost"), PASSWORDS, "the node itself"),
    "a file of passwords": (SERVERS, {**PASSWORDS, "PGPASSFILE": "/root/.pgpass"}, "PGPASSFILE"),
    "a server that gets the token": ("studio://team", {"DATACHAIN_STUDIO_TOKEN": "x", "DATACHAIN_STUDIO_URL": "http://169.254.169.254"}, "the node itself"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_catalog_on_servers_is_refused(dcfs, catalogs, tmp_path, why):
    """Before anybody is asked, with a message that repeats no password; the plugin's own passwords do not count."""
    address, secrets, message = REFUSED[why]
    target = tmp_path / "target"
    with plugin(dcfs, catalogs, tmp_path / "plugin", **PASSWORDS, DATACHAIN_STUDIO_TOKEN="mine") as node:
        code, told = node.fails("Node/NodePublishVolume", publishing(target, secrets=secrets, catalog=address))
        assert code == "INVALID_ARGUMENT" and message in told and "pa:ss" not in told, (code, told)
        assert not target.exists() and os.listdir(tmp_path / "plugin" / "own") == []


def test_a_volume_whose_process_died_is_mounted_again(dcfs, catalogs, tmp_path):
    target = tmp_path / "target"
    with plugin(dcfs, catalogs, tmp_path / "plugin") as node:
        node.publish(target, catalog="a")
        (note,) = [line for line in open("/proc/self/mountinfo") if str(tmp_path / "plugin" / "own") in line]
        own = note.split(" ")[4]
        pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]
        (served,) = [pid for pid in pids if served_by(pid, own)]
        os.kill(served, 9)
        until = time.monotonic() + 30
        while os.path.exists(f"/proc/{served}/exe") and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(OSError):
            os.listdir(target)
        node.publish(target, catalog="a")
        assert "few" in os.listdir(target / "datasets")
        node.unpublish(target)


def test_a_secret_is_of_its_volume_alone(dcfs, catalogs, tmp_path):
    """Its process has the secret's variables and none of the plugin's credentials; another volume has the plugin's."""
    targets = {"with": {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "s"}, "without": {}}
    mine = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "m", "AWS_SESSION_TOKEN": "t"}
    mine |= {"CLICKHOUSE_PASSWORD": "c", "CLICKHOUSE_PASSWORD_FILE": "/c", "PGPASSWORD": "p", "PGPASSFILE": "/p", "DATACHAIN_STUDIO_TOKEN": "d"}
    with plugin(dcfs, catalogs, tmp_path / "plugin", **mine) as node:
        seen, caches = {}, set()
        for name, secrets in targets.items():
            before = set(os.listdir("/proc"))
            node.publish(tmp_path / name, name, secrets, catalog="a")
            own = tmp_path / "plugin" / "own"
            new = [int(pid) for pid in set(os.listdir("/proc")) - before if pid.isdigit()]
            (pid,) = [pid for pid in new if any(served_by(pid, str(own / folder)) for folder in os.listdir(own))]
            variables = dict(line.split(b"=", 1) for line in open(f"/proc/{pid}/environ", "rb").read().split(b"\0") if b"=" in line)
            seen[name] = [variables.get(key.encode(), b"").decode() for key in mine]
            assert (b"AWS_EC2_METADATA_DISABLED" in variables) == (name == "with" or "AWS_EC2_METADATA_DISABLED" in dcfs.environment)
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
            caches.add([word for word in words if word.startswith(b"--cache-dir=")][-1])
        assert seen == {"with": ["theirs", "s", "", "", "", "", "/dev/null", ""], "without": list(mine.values())}
        assert len(caches) == 2, "what one may read is not the other's to find"
        for name in targets:
            node.unpublish(tmp_path / name, name)


def test_flags_that_are_wrong_are_told_at_once(dcfs, catalogs, tmp_path):
    wrong = dcfs.run("csi", "--endpoint", f"unix://{tmp_path}/s", "--node", "n", "--catalogs", catalogs, "--folder", tmp_path / "own", "--", "--cache-sise=1")
    assert wrong.returncode == 2 and "cache-sise" in wrong.stderr
    wrong = dcfs.run("csi", "--endpoint", "tcp://0.0.0.0:1", "--node", "n", "--catalogs", catalogs)
    assert wrong.returncode == 2 and "unix://" in wrong.stderr
