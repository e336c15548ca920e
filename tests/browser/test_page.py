"""`dcfs view` in Chromium: what a person does."""

import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from test_view import viewing

SHOTS = os.environ.get("DCFS_SHOTS")
"""Where screenshots are put, to be looked at."""


@pytest.fixture
def page(browser, dcfs, here):
    """The page of `pets`, and what went wrong in it."""
    with viewing(dcfs, here, "pets") as served:
        context = browser.new_context(viewport={"width": 1200, "height": 800})
        page = context.new_page()
        page.wrong = []
        page.hosts = set()
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: page.hosts.add(asked.url.split("/")[2]))
        page.goto(served.url)
        page.served = served
        page.wait_for_selector(".cell img")
        yield page
        assert page.title() != "run", "a script of a stranger ran"
        assert page.hosts <= {served.split.netloc}, "another host was asked"
        context.close()


def shot(page, name):
    if SHOTS:
        page.wait_for_function("() => [...document.images].every((image) => image.complete)")
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def count(page, text):
    page.wait_for_function("(text) => document.getElementById('count').textContent.startsWith(text)", arg=text)


def test_a_person_filters_by_typing_and_by_clicking(page):
    count(page, "61 of 61")
    shot(page, "grid")
    page.fill("#where", "lab")
    page.wait_for_selector("#offers li")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.input_value("#where") == "label"
    page.keyboard.type(" = 'pu")
    page.wait_for_selector("#offers li")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    count(page, "20 of 61")
    assert "where=label" in page.url
    page.click("#facets details[data-name='info.width'] .bar >> nth=0")
    page.wait_for_function("() => /info.width >=/.test(document.getElementById('where').value)")
    assert not page.wrong, page.wrong
    page.go_back()
    count(page, "20 of 61")
    page.fill("#where", "labl = pug")
    page.keyboard.press("Enter")
    page.wait_for_selector("#wrong:not([hidden])")
    assert "did you mean `label`" in page.text_content("#wrong") and "^" in page.text_content("#wrong")


def test_a_row_shows_all_of_itself_and_the_address_keeps_it(page):
    page.click(".cell >> nth=3")
    page.wait_for_selector("dialog[open] img")
    told = page.text_content("dialog")
    assert "info.width" in told and "file://" in told and "etag" in told
    shot(page, "row")
    address = page.url
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog').open && !location.hash.includes('row')")
    page.goto(address)
    page.wait_for_selector("dialog[open] img")
    page.keyboard.press("Escape")
    page.focus(".cell >> nth=0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.place") == "1"
    page.click("#save")
    assert "dcfs save 'pets@1.0.0'" in page.text_content("dialog")
    assert not page.wrong, page.wrong


def test_names_of_strangers_are_texts(page):
    page.fill("#where", "file.path glob '*x.html'")
    page.keyboard.press("Enter")
    count(page, "1 of 61")
    page.click(".cell")
    page.wait_for_selector("dialog[open] pre")
    assert "onerror=" in page.text_content("dialog")
    page.click("dialog summary")
    assert "<script>" in page.text_content("dialog")
    page.wait_for_timeout(300)
    assert not page.wrong, page.wrong


def test_it_is_read_at_360_pixels_and_in_the_dark(page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector(".cell img")
    shot(page, "small-dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(0, 0, 0)"


def test_a_million_rows_scroll(browser, dcfs, here):
    """First paint, a filter's count, and the last row of a million; the times are printed, none is held against a bound."""
    database = here / ".datachain" / "db"
    dcfs.ok("sql", "select file, info, label from pets", "--as", "million", cwd=here)
    with sqlite3.connect(database) as catalog:
        (table,) = catalog.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'ds_local_local_million_%'").fetchone()
        names = [row[1] for row in catalog.execute(f'PRAGMA table_info("{table}")') if row[1] != "sys__id"]
        listed = ",".join(f'"{name}"' for name in names)
        for _ in range(14):
            catalog.execute(f'INSERT INTO "{table}" ({listed}) SELECT {listed} FROM "{table}"')
        (rows,) = catalog.execute(f'SELECT count(*) FROM "{table}"').fetchone()
        catalog.execute("UPDATE datasets_versions SET num_objects = ? WHERE dataset_id = (SELECT id FROM datasets WHERE name = 'million')", (rows,))
    dcfs.ok("count", "million", "--where", "info.width > 0", cwd=here)
    with viewing(dcfs, here, "million") as served:
        page = browser.new_page()
        began = time.monotonic()
        page.goto(served.url)
        page.wait_for_selector(".cell img")
        first = time.monotonic() - began
        count(page, f"{rows:,} of")
        began = time.monotonic()
        page.fill("#where", "label = 'pug' and info.width > 310")
        page.keyboard.press("Enter")
        page.wait_for_function("(all) => !document.getElementById('count').textContent.startsWith(all) && location.hash.includes('pug')", arg=f"{rows:,} of")
        filtered = time.monotonic() - began
        page.fill("#where", "")
        page.keyboard.press("Enter")
        count(page, f"{rows:,} of")
        page.evaluate("() => { const grid = document.getElementById('grid'); grid.scrollTop = grid.scrollHeight; }")
        page.wait_for_function("(last) => [...document.querySelectorAll('.cell')].some((cell) => Number(cell.dataset.place) === last)", arg=rows - 1)
        print(json.dumps({"rows": rows, "first paint": round(first, 3), "filter": round(filtered, 3)}))
