"""The README is true: its session is what the demo prints, its flags and targets are there."""

import os
import re
import subprocess
import sys

import pytest

import datachain_runs
import mounts

README = (mounts.ROOT / "README.md").read_text()


def session():
    """The lines of the README's session; `...` stands for any lines."""
    return re.search(r"```console\n(.*?)```", README, re.DOTALL)[1].splitlines()


def follows(wanted, printed):
    """Whether `printed` is `wanted`, line by line, where `...` is any number of lines."""
    pattern = "".join("(?:.*\n)*" if line == "..." else re.escape(line) + "\n" for line in wanted)
    return re.fullmatch(pattern, printed) is not None


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
    assert follows(session(), printed), printed
    assert not mounts.mounted(tmp_path / "demo" / "mnt")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)", README))))
def test_every_target_named_is_there(target):
    makefile = (mounts.ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"dcfs (\w+)(?= |`|\n)", README)) - {"is"}))
def test_every_command_named_is_there(dcfs, command):
    assert dcfs.run(command, "--help").returncode == 0


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"--[a-z][a-z-]+", README))))
def test_every_flag_named_is_there(dcfs, flag):
    commands = ("mount", "unmount", "status", "ls", "schema", "lineage", "doctor")
    assert any(flag in dcfs.ok(command, "--help") for command in commands)


def test_every_file_named_is_there():
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert os.path.exists(mounts.ROOT / name), name
