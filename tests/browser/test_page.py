"""`dcfs view` in Chromium: the actions of a user."""

import contextlib
import json
import os
import sqlite3
import tarfile
import time
import wave
from pathlib import Path

import pytest
from PIL import Image

from test_view import viewing

SHOTS = os.environ.get("DCFS_SHOTS")
"""The folder of screenshots, for people to look at."""


@pytest.fixture
def page(browser, dcfs, here):
    """The page of `pets`, and the errors in it."""
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


def test_versions_are_compared_side_by_side_and_lineage_is_clicked(page, dcfs, here):
    page.click("#graph")
    page.wait_for_selector("dialog[open] svg .node")
    assert page.locator("dialog .node.storage").count() == 1
    page.keyboard.press("Escape")
    dcfs.ok("save", "pets", "--where", "label = pug", "--as", "pugs", cwd=here)
    Image.new("RGB", (500, 220), (10, 10, 200)).save(here / "files" / "pug" / "01.png")
    dcfs.ok("index", "files", "--save", "pets", cwd=here)
    with viewing(dcfs, here, "pets") as served:
        first, page = page, page.context.new_page()
        page.on("pageerror", lambda error: first.wrong.append(str(error)))
        page.goto(served.url)
        page.wait_for_selector(".cell img")
        assert page.locator("#version option").count() == 2
        page.select_option("#with", "1.0.0")
        page.wait_for_selector("#pairs figure img")
        assert page.locator("#pairs figure").count() == 1 and "1 changed" in page.text_content("#pairs")
        assert "info.width" in page.text_content("#pairs figcaption")
        shot(page, "pairs")
        page.click("#pairs .side >> nth=1")
        page.wait_for_selector("dialog[open] table")
        page.keyboard.press("Escape")
        page.select_option("#version", "1.0.0")
        count(page, "61 of 61")
        assert "of=pets%401.0.0" in page.url
        page.keyboard.press("g")
        page.wait_for_selector("dialog[open] .node.here")
        shot(page, "lineage")
        page.click("dialog .node:has-text('pugs@1.0.0')")
        count(page, "20 of 20")
        assert page.text_content("#name") == "pugs@1.0.0"
        page.go_back()
        page.wait_for_selector("dialog[open] .node.here")
        page.close()
    assert not first.wrong, first.wrong


def test_masks_and_boxes_are_over_the_picture(browser, dcfs, tmp_path):
    folder = tmp_path / "masked"
    (folder / "files").mkdir(parents=True)
    Image.new("RGB", (300, 200), (200, 220, 240)).save(folder / "files" / "a.jpg")
    mask = Image.new("L", (300, 200))
    mask.paste(1, (50, 50, 150, 150))
    mask.paste(2, (160, 60, 280, 190))
    mask.save(folder / "files" / "a_mask.png")
    (folder / "notes.json").write_text('{"a":[1,2,{"b":null}]}')
    dcfs.ok("index", "files/*.jpg", "--save", "pictures", cwd=folder)
    dcfs.ok("index", "files/*.png", "--save", "masks", cwd=folder)
    boxes = "json('[[20, 30, 120, 160]]')"
    dcfs.ok("sql", f"select p.file, m.file as mask, {boxes} as bbox from pictures p join masks m on p.file.stem || '_mask' = m.file.stem", "--as", "both", cwd=folder)
    with viewing(dcfs, folder, "both") as served:
        page = browser.new_page()
        page.goto(served.url)
        page.click(".cell")
        page.wait_for_selector("dialog canvas[data-painted='1']")
        page.wait_for_function("""() => {
            const canvas = document.querySelector('dialog .stage canvas');
            const at = (x, y) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data];
            return canvas.width === 300 && at(5, 5)[3] === 0 && at(100, 100)[3] === 128 && at(200, 100)[3] === 128 && String(at(100, 100)) !== String(at(200, 100));
        }""")
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / "mask.png")
        page.uncheck("dialog .over input")
        assert page.is_hidden("dialog .stage canvas")
        page.close()


def test_outlines_and_key_points_are_over_the_picture(browser, dcfs, tmp_path):
    """As DataChain's `Segment`, `Pose` and `Pose3D` have them: an outline has a title, key points have none."""
    folder = tmp_path / "drawn"
    (folder / "files").mkdir(parents=True)
    Image.new("RGB", (300, 200), (200, 220, 240)).save(folder / "files" / "a.jpg")
    said = {
        "stem": "a",
        "lake": {"title": "<b>lake", "x": [10, 60, 40], "y": [10, 20, 70]},
        "hut": {"title": "hut", "x": [100, 140, 140, 100], "y": [50, 50, 90, 90]},
        "person": {"x": [200, 210, 220, 230], "y": [20, 40, 60, 80]},
        "other": {"x": [250, 260, 270], "y": [20, 40, 60], "visible": [1.0, 0.5, 0.0]},
    }
    (folder / "said.jsonl").write_text(json.dumps(said) + "\n")
    dcfs.ok("index", "files", "--save", "pictures", cwd=folder)
    dcfs.ok("load", "said.jsonl", "--as", "said", cwd=folder)
    joined = "select p.file, s.lake, s.hut, s.person, s.other from pictures p join said s on p.file.stem = s.stem"
    dcfs.ok("sql", joined, "--as", "drawn", cwd=folder)
    with viewing(dcfs, folder, "drawn") as served:
        page = browser.new_page()
        page.goto(served.url)
        page.click(".cell")
        page.wait_for_selector("dialog .stage svg polygon")
        drawn = page.evaluate("""() => {
            const all = (tag) => [...document.querySelectorAll(`dialog .stage svg ${tag}`)];
            const spot = ({ cx, cy }) => [cx.baseVal.value, cy.baseVal.value];
            return { polygons: all('polygon').map((one) => one.getAttribute('points')), circles: all('circle').map(spot), texts: all('text').map((one) => one.textContent) };
        }""")
        assert drawn["polygons"] == ["10,10 60,20 40,70", "100,50 140,50 140,90 100,90"]
        assert drawn["circles"] == [[200, 20], [210, 40], [220, 60], [230, 80], [250, 20], [260, 40], [270, 60]]
        assert drawn["texts"] == ["<b>lake", "hut"]
        over = page.evaluate("() => ['svg', 'img'].map((tag) => document.querySelector(`dialog .stage ${tag}`).getBoundingClientRect()).map(({ x, y, width, height }) => [x, y, width, height])")
        assert over[0] == over[1], "the drawing lies on the picture"
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / "outlines.png")
        page.close()


FILM = """async () => {
    const canvas = document.createElement('canvas');
    canvas.width = 160; canvas.height = 120;
    const area = canvas.getContext('2d');
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm;codecs=vp8' });
    const parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    const ended = new Promise((done) => { recorder.onstop = done; });
    recorder.start();
    for (let n = 0; n < 20; n++) {
        area.fillStyle = `hsl(${n * 18} 80% 50%)`;
        area.fillRect(0, 0, 160, 120);
        await new Promise((done) => setTimeout(done, 40));
    }
    recorder.stop();
    await ended;
    return [...new Uint8Array(await new Blob(parts).arrayBuffer())];
}"""
"""A film of a second, which the browser draws and records by itself."""


def test_films_are_played(browser, dcfs, tmp_path):
    folder = tmp_path / "films"
    (folder / "files").mkdir(parents=True)
    with viewing_nothing(browser) as studio:
        (folder / "files" / "a.webm").write_bytes(bytes(studio.evaluate(FILM)))
    dcfs.ok("index", "files", "--save", "films", cwd=folder)
    with viewing(dcfs, folder, "films") as served:
        page = browser.new_page()
        page.goto(served.url)
        page.click(".cell")
        page.wait_for_function("() => document.querySelector('dialog video')?.videoWidth === 160")
        page.evaluate("() => document.querySelector('dialog video').play()")
        page.wait_for_function("() => document.querySelector('dialog video').currentTime > 0.1")
        page.close()


@contextlib.contextmanager
def viewing_nothing(browser):
    page = browser.new_page()
    yield page
    page.close()


def test_a_dataset_tells_of_itself_and_rows_why_they_are_there(page, dcfs, here):
    page.click("#name")
    page.wait_for_selector("dialog[open] tbody tr")
    told = page.text_content("dialog")
    assert "info.width" in told and "<script>document.title='run'</script>" in told, "a hostile description is a text"
    assert "about=1" in page.url
    shot(page, "about")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog').open && !location.hash.includes('about')")
    page.click("#facets details[data-name='info.width'] .sorting button >> nth=1")
    page.wait_for_function("() => document.getElementById('where').value === 'order by info.width desc'")
    page.wait_for_function("() => document.querySelector(\".cell[data-place='0'] .name\").textContent === '59.png'")
    page.click(".cell >> nth=0")
    page.click("dialog .why summary")
    page.wait_for_function("() => document.querySelector('dialog .why pre').textContent.includes('pets@1.0.0')")
    shot(page, "why")
    assert not page.wrong, page.wrong


def test_keys_lead_everywhere(page):
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "where"
    page.keyboard.type("label = pug")
    page.keyboard.press("Enter")
    count(page, "20 of 61")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] table")
    page.keyboard.press("Escape")
    page.focus(".cell >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .files img")
    first = page.url
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(first) => location.href !== first", arg=first)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("(first) => location.href === first", arg=first)
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog').open")
    page.keyboard.press("s")
    page.wait_for_selector("dialog[open] pre")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    page.wait_for_selector("dialog[open] tbody tr")
    assert not page.wrong, page.wrong


def test_a_filter_is_saved(browser, dcfs, here):
    with viewing(dcfs, here, "pets", "--where", "label = pug", "--write") as served:
        page = browser.new_page()
        page.goto(served.url)
        count(page, "20 of 61")
        page.click("#save")
        page.fill("dialog input", "a..b")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog .bad")
        page.fill("dialog input", "pugs")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('dialog [role=status]').textContent === 'saved pugs@1.0.0: 20 rows'")
        page.close()
    assert "20" in dcfs.ok("count", "pugs", cwd=here)


def test_texts_and_sounds_are_shown(browser, dcfs, tmp_path):
    folder = tmp_path / "mixed"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "a.json").write_text('{"a":[1,{"b":null}]}')
    (folder / "files" / "b.txt").write_text("first line\nsecond")
    with wave.open(str(folder / "files" / "c.wav"), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000), sound.writeframes(bytes(16000))
    with tarfile.open(folder / "files" / "d.tar", "w") as tar:
        tar.add(folder / "files" / "b.txt", "inside/b.txt")
    dcfs.ok("index", "files", "--save", "mixed", cwd=folder)
    with viewing(dcfs, folder, "mixed", "--where", "order by file.path") as served:
        page = browser.new_page()
        page.goto(served.url)
        page.wait_for_function("() => [...document.querySelectorAll('.beginning')].some((one) => one.textContent.startsWith('first line'))")
        page.click(".cell >> nth=0")
        page.wait_for_function("() => document.querySelector('dialog .files pre')?.textContent.includes('\\n  \"a\": [')")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.querySelector('dialog .files pre')?.textContent === 'first line\\nsecond'")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("dialog audio")
        page.wait_for_function("() => document.querySelector('dialog audio').duration === 1")
        page.close()


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
    """First paint, a filter's count, and the last row of a million; the times are printed, none has a bound."""
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
