"""A mount as a service: notifications to systemd, SIGHUP, requests of Prometheus, the manual pages."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

import mounts
import servers

pytestmark = pytest.mark.mount


@contextmanager
def foreground(dcfs, catalog, point, *options, **environment):
    """`dcfs mount --foreground` without a terminal."""
    point.mkdir()
    command = [mounts.DCFS, "mount", "--foreground", "--catalog", catalog, *options, point]
    environment = {**dcfs.environment, **environment}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)
        if mounts.mounted(point):
            mounts.force_unmount(point)


class Manager:
    """A notification socket like systemd's."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def hears(self, wanted):
        """The next message that is not about the watchdog, or the requested one."""
        while True:
            text = self.socket.recv(4096).decode()
            if text == wanted or text != "WATCHDOG=1":
                return text


def test_systemd_hears_of_a_mount(dcfs, small_catalog, tmp_path):
    manager = Manager(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    point = tmp_path / "mnt"
    with foreground(dcfs, small_catalog, point, **environment) as process:
        ready = manager.hears("")
        assert re.fullmatch(rf"READY=1\nSTATUS=.*/\.datachain/db is mounted at {point}", ready), ready
        assert "few" in os.listdir(point / "datasets"), "it answers when it says so"
        assert manager.hears("WATCHDOG=1") == "WATCHDOG=1"
        process.send_signal(signal.SIGHUP)
        assert manager.hears("").startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert manager.hears("") == "READY=1"
        assert "few" in os.listdir(point / "datasets"), "it goes on"
        process.send_signal(signal.SIGTERM)
        assert manager.hears("") == "STOPPING=1\nSTATUS=unmounting"
        assert process.wait(timeout=30) == 0
    assert not mounts.mounted(point)


def test_a_watchdog_of_another_process_is_not_fed(dcfs, small_catalog, tmp_path):
    manager = Manager(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    with foreground(dcfs, small_catalog, tmp_path / "mnt", **environment):
        assert manager.hears("").startswith("READY=1")
        manager.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.hears("WATCHDOG=1")


def test_hangup_rereads_settings_and_reopens_the_log(dcfs, small_catalog, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("")
    with dcfs.mount(small_catalog, tmp_path / "mnt", "--config", config) as mount:
        (log,) = (dcfs.home / "state").rglob("*.log")
        moved = log.rename(log.with_suffix(".log.1"))

        def hangup(text, said):
            config.write_text(text)
            os.kill(mount.daemon(), signal.SIGHUP)
            end = time.monotonic() + 20
            while not (log.exists() and said in log.read_text()):
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)

        hangup('["s3://pets"]\nanon = true\n', "settings were read")
        assert "settings were read" not in moved.read_text()
        hangup('["s3://pets"]\nanom = true\n', "settings stay as they were")
        assert "few" in os.listdir(mount.datasets)


def test_metrics_are_answered_over_http(dcfs, small_catalog, tmp_path):
    address = f"127.0.0.1:{servers.free_port()}"
    with dcfs.mount(small_catalog, tmp_path / "mnt", "-o", f"metrics={address}") as mount:
        (mount.datasets / "few" / "a" / "0.txt").read_bytes()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"
            assert re.search(r"^dcfs_opened_total [1-9]", answer.read().decode(), re.M)
        other = dcfs.run("mount", "--catalog", small_catalog, "--metrics", address, tmp_path / "other")
        assert other.returncode == 2 and f"cannot listen at `--metrics {address}`" in other.stderr


def test_the_board_asks_for_metrics_that_there_are(dcfs, small_catalog, tmp_path):
    board = json.loads((mounts.ROOT / "packaging" / "grafana" / "dcfs.json").read_text())
    asked = re.findall(r"\bdcfs_[a-z_]+", json.dumps(board))
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        page = (mount.path / "_metrics.prom").read_text()
    there = set(re.findall(r"^dcfs_[a-z_]+", page, re.M))
    assert set(asked) <= there and len(board["panels"]) > 5
    assert all(target["expr"].count("(") == target["expr"].count(")") for panel in board["panels"] for target in panel["targets"])


ENDS = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGABRT, signal.SIGXCPU]

CRASHES = [signal.SIGKILL, signal.SIGSTOP, signal.SIGILL, signal.SIGFPE, signal.SIGSEGV, signal.SIGBUS, signal.SIGTRAP, signal.SIGSYS]

UNHEARD = sorted(signal.valid_signals() - {*ENDS, *CRASHES, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""All other signals that can be caught: on SIGHUP a background mount rereads its settings."""


def test_a_signal_that_means_nothing_does_nothing(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        pid = mount.daemon()
        for number in UNHEARD:
            os.kill(pid, number)
        assert "few" in os.listdir(mount.datasets)
        for number in UNHEARD:
            os.kill(pid, number)
            assert (mount.datasets / "few" / "a" / "0.txt").read_bytes(), number
        assert mount.daemon() == pid


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_that_ends_a_mount_leaves_no_dead_one(dcfs, small_catalog, tmp_path, number):
    point = tmp_path / "mnt"
    mount = dcfs.mount(small_catalog, point)
    with open(mount.datasets / "few" / "a" / "0.txt") as held:
        os.kill(mount.daemon(), number)
        until = time.monotonic() + 30
        while mounts.mounted(point):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert os.listdir(point) == [], "an empty directory, not one where every access fails"
        held.close()


def test_the_manual_has_a_page_for_each_command(dcfs, tmp_path):
    dcfs.ok("man", tmp_path / "man")
    pages = {page.name: page.read_text() for page in (tmp_path / "man").iterdir()}
    assert {"dcfs.1", "dcfs-mount.1", "dcfs-cache-clear.1", "dcfs-filters.7", "dcfs-config.5"} <= set(pages)
    assert "\\-\\-metrics" in pages["dcfs-mount.1"] and "dcfs-list.1" not in pages
    if shutil.which("mandoc"):
        files = sorted((tmp_path / "man").iterdir())
        lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *files], capture_output=True, text=True)
        assert lint.stdout == ""


def test_a_mount_in_use_is_drained(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        with open(mount.datasets / "few" / "a" / "0.txt", "rb") as reader:
            command = [mounts.DCFS, "unmount", "--when-idle", mount.path]
            waiting = subprocess.Popen(command, env=dcfs.environment, stdout=subprocess.PIPE, text=True)
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(timeout=1.5)
            assert reader.read() == b"a0\n" * 10
        assert waiting.communicate(timeout=30)[0] == f"{mount.path} is unmounted\n"
        assert waiting.returncode == 0 and not mounts.mounted(mount.path)


def documents():
    folder = Path(__file__).resolve().parents[2] / "packaging/kubernetes"
    files = [path for path in sorted(folder.glob("*/*.yaml")) if path.parent.name != "chart"]
    return [document for path in files for document in yaml.safe_load_all(path.read_text())]


def containers(found):
    """The containers anywhere in a manifest."""
    if isinstance(found, list):
        return [container for one in found for container in containers(one)]
    if not isinstance(found, dict):
        return []
    here = [found] if str(found.get("image", "")).startswith("dcfs:") else []
    return here + [container for one in found.values() for container in containers(one)]


def caches(found):
    """The volumes anywhere in a manifest that are a cache."""
    if isinstance(found, list):
        return [volume for one in found for volume in caches(one)]
    if not isinstance(found, dict):
        return []
    mounted = {mount["name"] for container in containers(found) for mount in container["volumeMounts"] if mount["mountPath"] == "/var/cache/dcfs"}
    here = [volume for volume in found.get("volumes", []) if volume["name"] in mounted]
    return here + [volume for one in found.values() for volume in caches(one)]


def test_manifests_say_what_the_program_takes(tmp_path):
    """Flags, settings and caches; schemas of Kubernetes are checked with the packages, and the chart."""
    dcfs, commands = mounts.Dcfs(tmp_path / "home"), set()
    for container in containers(documents()):
        words = container["args"]
        own, flags = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
        for asked in [own, ["mount", *flags]]:
            result = dcfs.run(*asked, "--help")
            assert result.returncode == 0, (asked, result.stderr)
        commands.add(own[0])
    assert commands == {"mount", "warm", "cache", "csi"}
    # A cache that everybody may write into is refused, and an emptyDir is one.
    assert {volume["hostPath"]["path"] for volume in caches(documents())} == {"/var/cache/dcfs"}
    settings = [text for one in documents() if one["kind"] == "ConfigMap" for text in one["data"].values()]
    assert [tomllib.loads(text)["shared"]["prefix"] for text in settings] == ["s3://team-cache/dcfs"]
    for text in settings:
        config = tmp_path / "config.toml"
        config.write_text(text)
        checks = dcfs.run("doctor", f"--config={config}").stdout
        assert f"ok       settings: {config} with" in checks, checks
