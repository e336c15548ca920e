"""A browser, and a catalog to look at."""

import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

import mounts

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def dcfs(tmp_path):
    return mounts.Dcfs(tmp_path / "home")


@pytest.fixture
def here(dcfs, tmp_path):
    """60 pictures of three kinds, and a file whose name would run a script if names were treated as markup."""
    folder = tmp_path / "here"
    for n in range(60):
        place = folder / "files" / ("beagle", "pug", "samoyed")[n % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300 + n, 220), (n * 4, 255 - n * 4, 120)).save(place / f"{n:02}.png")
    hostile = folder / "files" / "<img src=x onerror=document.title='run'>"
    hostile.mkdir()
    (hostile / "x.html").write_text("<script>document.title='run'</script>")
    describe = ["--description", "<script>document.title='run'</script>"]
    dcfs.ok("index", "files", "--save", "pets", "--with", "image", "--with", "path:{label}/{name}", *describe, cwd=folder)
    return folder
