"""The README is true: its session is the output of the demo, its flags and targets exist."""

import os
import re
import subprocess
import sys

import pytest

import datachain_runs
import mounts

README = (mounts.ROOT / "README.md").read_text()


UNLIKE = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"[\d.]+ KiB", "<size>"),
    (r'"size": \d+', '"size": <bytes>'),
]
"""Parts that differ from run to run, or with the release of the JPEG library."""


def alike(text):
    for pattern, word in UNLIKE:
        text = re.sub(pattern, word, text)
    return text


def session():
    """The README's session."""
    return re.search(r"```console\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.mount
def test_the_session_is_what_the_demo_prints(tmp_path):
    result = subprocess.run(
        [mounts.ROOT / "tests" / "demo" / "run", mounts.DCFS, tmp_path / "demo"],
        env=datachain_runs.clean_environment(tmp_path, PYTHON=sys.executable),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    printed = result.stdout.replace(f"{tmp_path}/", "/home/you/")
    assert alike(printed) == alike(session())
    first, second = re.findall(r"\b[0-9a-f]{64}\b", printed)
    assert first == second, "the bytes are those of the origin"
    assert not mounts.mounted(tmp_path / "demo" / "mnt")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)", README))))
def test_every_target_named_is_there(target):
    makefile = (mounts.ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


COMMANDS = sorted(set(re.findall(r"(?:`|^    |\$ )dcfs (\w+)", README, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_named_is_there(dcfs, command):
    assert dcfs.run(command, "--help").returncode == 0


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"--[a-z][a-z-]+", README))))
def test_every_flag_named_is_there(dcfs, flag):
    assert any(flag in dcfs.ok(command, "--help") for command in COMMANDS)


def test_every_file_named_is_there():
    for name in re.findall(r"\]\(([^)#:]+)\)", README.replace(session(), "")):
        assert os.path.exists(mounts.ROOT / name), name
