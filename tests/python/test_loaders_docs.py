"""The Python of `docs/training.md` runs as printed."""

import os
import re

import pytest
from PIL import Image

import mounts

pytestmark = pytest.mark.mount


def test_the_page_runs(tmp_path, monkeypatch):
    for number in range(24):
        place = tmp_path / "pets" / f"litter{number % 5}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place / f"{'dog' if number % 3 else 'cat'}_{number}.png")
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", tmp_path / "pets", "--save", "pets", "--with", "path:{litter}/{kind}_{n:int}", cwd=tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (mounts.ROOT / "docs/training.md").read_text(), re.M | re.S)
    assert len(blocks) == 5
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        monkeypatch.chdir(mount.datasets / "pets@1.0.0")
        shared = {}
        for block in blocks:
            exec(compile(block, "docs/training.md", "exec"), shared)
        monkeypatch.chdir(os.path.dirname(tmp_path))
