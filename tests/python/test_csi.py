"""`dcfs csi` as called by the kubelet: gRPC over a socket, with the messages and methods of the public `csi.proto`."""

import os
import subprocess
import time
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet

import csi_proto
import mounts
import sql

pytestmark = [pytest.mark.mount, pytest.mark.root]

CSI, METHODS = csi_proto.load()


class Plugin:
    """A client of the socket."""

    def __init__(self, channel):
        self.channel = channel

    def call(self, method, request=None):
        # One that no version of CSI has is asked with the first message that comes.
        asks, answers = METHODS.get(method, ("ProbeRequest", "ProbeResponse"))
        request = request or CSI[asks]()
        assert type(request) is CSI[asks]
        ask = self.channel.unary_unary(f"/csi.v1.{method}", CSI[asks].SerializeToString, CSI[answers].FromString)
        return ask(request, timeout=60, wait_for_ready=True)

    def fails(self, method, request=None):
        """The code that a call fails with, and why."""
        with pytest.raises(grpc.RpcError) as failed:
            self.call(method, request)
        return failed.value.code().name, failed.value.details()

    def publish(self, target, volume="v1", secrets=(), **attributes):
        self.call("Node/NodePublishVolume", publishing(target, volume, secrets, **attributes))

    def unpublish(self, target, volume="v1"):
        self.call("Node/NodeUnpublishVolume", CSI["NodeUnpublishVolumeRequest"](volume_id=volume, target_path=str(target)))


def publishing(target, volume="v1", secrets=(), **attributes):
    capability = {"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}
    return CSI["NodePublishVolumeRequest"](
        volume_id=volume, target_path=str(target), volume_capability=capability, readonly=True, volume_context=attributes, secrets=dict(secrets)
    )


@contextmanager
def plugin(dcfs, catalogs, folder, *flags, **environment):
    folder.mkdir(exist_ok=True)
    socket = folder / "csi.sock"
    command = [mounts.DCFS, "csi", "--endpoint", f"unix://{socket}", "--node", "node-1", "--catalogs", catalogs, "--folder", folder / "own", "--", *flags]
    process = subprocess.Popen(command, env={**dcfs.environment, **environment}, stdout=subprocess.PIPE, text=True)
    try:
        assert "serving volumes" in process.stdout.readline()
        # As sent by the kubelet; by default this client would send the path, which is not a valid host name.
        with grpc.insecure_channel(f"unix://{socket}", options=[("grpc.default_authority", "localhost")]) as channel:
            yield Plugin(channel)
    finally:
        process.terminate()
        process.wait(timeout=30)


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


def served_by(pid, mountpoint):
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        return b"--report" in words and mountpoint.encode() in words
    except OSError:
        return False


def test_a_secret_is_of_its_volume_alone(dcfs, catalogs, tmp_path):
    """Its process has the secret's variables and none of the plugin's credentials; another volume has the plugin's."""
    targets = {"with": {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "s"}, "without": {}}
    mine = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "m", "AWS_SESSION_TOKEN": "t"}
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
        assert seen == {"with": ["theirs", "s", ""], "without": ["mine", "m", "t"]}
        assert len(caches) == 2, "what one may read is not the other's to find"
        for name in targets:
            node.unpublish(tmp_path / name, name)


def test_flags_that_are_wrong_are_told_at_once(dcfs, catalogs, tmp_path):
    wrong = dcfs.run("csi", "--endpoint", f"unix://{tmp_path}/s", "--node", "n", "--catalogs", catalogs, "--folder", tmp_path / "own", "--", "--cache-sise=1")
    assert wrong.returncode == 2 and "cache-sise" in wrong.stderr
    wrong = dcfs.run("csi", "--endpoint", "tcp://0.0.0.0:1", "--node", "n", "--catalogs", catalogs)
    assert wrong.returncode == 2 and "unix://" in wrong.stderr
