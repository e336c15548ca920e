"""The tutorial is true: its commands, run in order in an empty folder, print what it shows."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import mounts

pytestmark = pytest.mark.mount

PAGE = mounts.ROOT / "docs" / "tutorial.md"

MAGICK = """#!{python}
import random, sys
from PIL import Image
_, flag, size, kind, path = sys.argv
assert (flag, kind) == ("-size", "plasma:"), sys.argv
width, height = map(int, size.split("x"))
Image.frombytes("RGB", (width, height), random.Random(0).randbytes(3 * width * height)).save(path, quality=50)
"""
"""The part of ImageMagick that the tutorial needs."""

UNLIKE = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:[\d.]+)?( UTC|Z)?", "<time>"),
    (r"[\d.,]+ ([KMG]i)?B\b", "<size>"),
    (r" {2,}", "  "),
]
"""Parts that differ from run to run, or with the release of the JPEG library; columns of tables move with it."""


def commands(text):
    """`(command, its output as shown)` of every session, in order."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def alike(text, folder):
    text = text.replace(str(folder), "/home/you/pets")
    for pattern, word in UNLIKE:
        text = re.sub(pattern, word, text)
    return text


def walk(folder, home):
    """Runs every command; yields it, the output on the page, and the real output."""
    programs = folder.parent / "bin"
    programs.mkdir()
    (programs / "dcfs").symlink_to(mounts.DCFS)
    (programs / "python").symlink_to(sys.executable)
    if not shutil.which("magick"):
        (programs / "magick").write_text(MAGICK.format(python=sys.executable))
        (programs / "magick").chmod(0o755)
    environment = mounts.Dcfs(home).environment
    # The environment of Python is found relative to the link itself.
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    folder.mkdir()
    for command, shown in commands(PAGE.read_text()):
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        yield command, shown, done.stdout


def test_the_tutorial_prints_what_it_shows(tmp_path):
    folder = tmp_path / "pets"
    try:
        for command, shown, came in walk(folder, tmp_path / "home"):
            assert alike(came, folder) == alike(shown, "/home/you/pets"), command
    finally:
        if mounts.mounted(folder / "mnt"):
            mounts.force_unmount(folder / "mnt")


def test_the_tutorial_names_what_is_there():
    text = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (PAGE.parent / name).exists(), name
