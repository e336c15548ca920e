"""`dcfs csi` over its socket, called as the kubelet calls it."""

import subprocess
from contextlib import contextmanager

import grpc
import pytest

import csi_proto
import mounts

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


def served_by(pid, mountpoint):
    """Whether a process serves the mount at a folder."""
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        return b"--report" in words and mountpoint.encode() in words
    except OSError:
        return False
