"""`dcfs csi` as called by the kubelet: gRPC over a socket, with messages numbered as in CSI's version 1."""

import os
import subprocess
import time
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

import mounts
import sql

pytestmark = [pytest.mark.mount, pytest.mark.root]

TEXT, MESSAGE, ENUM, BOOL = 9, 11, 5, 8
"""Types of fields, as `descriptor.proto` counts them; an enum is a number on the wire."""

MESSAGES = {
    "Empty": [],
    "GetPluginInfoResponse": [("name", 1, TEXT), ("vendor_version", 2, TEXT)],
    "ProbeResponse": [("ready", 1, ".google.protobuf.BoolValue")],
    "NodeGetInfoResponse": [("node_id", 1, TEXT), ("max_volumes_per_node", 2, 3)],
    "BlockVolume": [],
    "MountVolume": [("fs_type", 1, TEXT), ("mount_flags", 2, TEXT)],
    "AccessMode": [("mode", 1, ENUM)],
    "VolumeCapability": [("block", 1, ".csi.v1.BlockVolume"), ("mount", 2, ".csi.v1.MountVolume"), ("access_mode", 3, ".csi.v1.AccessMode")],
    "NodePublishVolumeRequest": [
        ("volume_id", 1, TEXT), ("publish_context", 2, dict), ("staging_target_path", 3, TEXT), ("target_path", 4, TEXT),
        ("volume_capability", 5, ".csi.v1.VolumeCapability"), ("readonly", 6, BOOL), ("secrets", 7, dict), ("volume_context", 8, dict),
    ],
    "NodeUnpublishVolumeRequest": [("volume_id", 1, TEXT), ("target_path", 2, TEXT)],
}  # fmt: skip


def classes():
    """The messages as classes."""
    file = descriptor_pb2.FileDescriptorProto(name="csi.proto", package="csi.v1", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=1)
            if kind is dict:
                entry = message.nested_type.add(name="".join(part.title() for part in field.split("_")) + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=TEXT, label=1)
                entry.field.add(name="value", number=2, type=TEXT, label=1)
                added.type, added.label, added.type_name = MESSAGE, 3, f".csi.v1.{name}.{entry.name}"
            elif isinstance(kind, str):
                added.type, added.type_name = MESSAGE, kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"csi.v1.{name}")) for name in MESSAGES}


CSI = classes()


class Plugin:
    """A client of the socket."""

    def __init__(self, channel):
        self.channel = channel

    def call(self, method, request=None, answer="Empty"):
        request = request or CSI["Empty"]()
        to_bytes = type(request).SerializeToString
        ask = self.channel.unary_unary(f"/csi.v1.{method}", to_bytes, CSI[answer].FromString)
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
    capability = {"mount": {}, "access_mode": {"mode": 1}}
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
        info = node.call("Identity/GetPluginInfo", answer="GetPluginInfoResponse")
        assert info.name == "csi.dcfs" and dcfs.ok("--version").split()[1] == info.vendor_version
        node.call("Identity/GetPluginCapabilities")
        assert node.call("Identity/Probe", answer="ProbeResponse").ready.value is True
        node.call("Node/NodeGetCapabilities")
        assert node.call("Node/NodeGetInfo", answer="NodeGetInfoResponse").node_id == "node-1"
        for missing in ["Node/NodeStageVolume", "Controller/CreateVolume", "Nothing/AtAll"]:
            assert node.fails(missing)[0] == "UNIMPLEMENTED"


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
