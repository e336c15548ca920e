"""Descriptions of columns and notes, and `dcfs why`: the origin of a row."""

import json
import os
import random
import sys
import time

import pytest
from PIL import Image

import datachain_runs
import mounts
from written import ask

PROGRAM = """
def brightness(file) -> float:
    from PIL import Image
    values = Image.open(file).convert("L").tobytes()
    return sum(values) / len(values)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A chain: index > save filter > map > save; and groups and a join of it."""
    folder = tmp_path_factory.mktemp("why")
    dcfs = mounts.Dcfs(folder / "home")
    dcfs.folder = folder
    photos = folder / "photos"
    draw = random.Random(0)
    for number in range(12):
        size = (300 + 20 * number, 50)
        picture = Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1]))
        path = photos / ("pug" if number % 2 else "cat") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=10)
    (folder / "program.py").write_text(PROGRAM)
    dcfs.ok("index", "./photos", "--save", "pets", "--with", "image", "--with", "path:{label}/{n:int}", cwd=folder)
    dcfs.ok("save", "pets", "--where", "info.width > 400", "--as", "wide", cwd=folder)
    dcfs.ok("map", "wide", "--as", "bright", "--", sys.executable, "program.py:brightness", cwd=folder)
    dcfs.ok("save", "bright", "--where", 'label = pug order by brightness desc limit 2', "--as", "best", cwd=folder)
    dcfs.ok("group", "wide", "--by", "label", "--count", "--as", "per_label", cwd=folder)
    return dcfs


def why(work, *words):
    return json.loads(work.ok("why", *words, "--json", cwd=work.folder))


def test_a_row_is_followed_back_to_its_storage(work):
    ((path, number),) = ask(work.folder, 'SELECT file__path, n FROM ds_local_local_best_1_0_0 ORDER BY sys__id LIMIT 1')
    best = why(work, "best", path)
    assert best == why(work, "best@1.0.0", str(best["row"])) == why(work, "best", path.split("/")[-1])
    assert best["passed"]["filter"] == 'label = "pug" order by brightness desc limit 2'
    assert best["passed"]["passes"] and best["passed"]["rank"] == 1 and best["passed"]["values"]["label"] == "pug"
    assert "computed" not in best and best["command"].startswith("dcfs save bright")
    (bright,) = [step["row"] for step in best["from"]]
    assert bright["dataset"] == "bright@1.0.0" and bright["rows"] == 1
    computed = bright["computed"]
    assert computed["types"] == {"brightness": "float"} and computed["program"] == "brightness"
    assert computed["values"]["brightness"] == best["passed"]["values"]["brightness"]
    assert [made["rows"] for made in computed["digests"]] == [6] and len(computed["digests"][0]["digest"]) == 64
    (wide,) = [step["row"] for step in bright["from"]]
    assert wide["passed"] == {"filter": "info.width > 400", "values": {"info.width": 300 + 20 * number}, "passes": True}
    (pets,) = [step["row"] for step in wide["from"]]
    assert pets["dataset"] == "pets@1.0.0" and pets["computed"]["values"]["n"] == number
    (storage,) = [step["storage"] for step in pets["from"]]
    file = work.folder / "photos" / path
    assert storage["uri"] == f"file://{file}" and storage["size"] == file.stat().st_size and storage["listed_at"]
    assert all(step["by"] and step["saved_at"] for step in [best, bright, wide, pets])


def test_people_read_it(work):
    text = work.ok("why", "best", "11.jpg", cwd=work.folder)
    for part in ["best@1.0.0 row ", "from bright@1.0.0 row", "passed info.width > 400, with info.width = 520",
                 "new here by brightness, digest ", "from storage file://", "saved 20"]:  # fmt: skip
        assert part in text, part


def test_a_group_is_of_several_rows(work):
    group = why(work, "per_label", "1")
    (wide,) = [step["row"] for step in group["from"]]
    assert wide["dataset"] == "wide@1.0.0" and wide["rows"] == 3
    assert "the first of 3 rows that it may be" in work.ok("why", "per_label", "1", cwd=work.folder)


def test_what_is_not_there_is_said(work):
    for row in ["nothing.jpg", "99999", "-1", "", "../x"]:
        missing = work.run("why", "best", "--", row, cwd=work.folder)
        assert missing.returncode == 1 and "name a path in the version" in missing.stderr, row
    work.ok("save", "pets", "--where", "n < 3", "--as", "gone", cwd=work.folder)
    work.ok("save", "gone", "--where", "n < 2", "--as", "child", cwd=work.folder)
    work.ok("rm", "gone@1.0.0", "--yes", cwd=work.folder)
    child = why(work, "child", "1")
    assert child["from"] == [{"lost": {"dataset": "gone@1.0.0", "why": "it was removed"}}]


def test_columns_are_described(work):
    folder = work.folder
    work.ok("describe", "pets", "info.width", "in pixels | as seen", "--caveat", "not turned", cwd=folder)
    work.ok("describe", "pets", "--owner", "ann", "--description", "Pets", cwd=folder)
    said = json.loads(work.ok("describe", "pets", "--json", cwd=folder))
    assert said["owner"] == "ann" and said["description"] == "Pets"
    assert said["columns"] == {"info.width": {"description": "in pixels | as seen", "caveat": "not turned"}}
    assert "width: int  # in pixels | as seen; beware: not turned" in work.ok("schema", "pets", cwd=folder)
    page = json.loads(work.ok("schema", "pets", "--json", cwd=folder))
    (info,) = [column for column in page["columns"] if column["name"] == "info"]
    (width,) = [field for field in info["fields"] if field["name"] == "width"]
    assert width["description"] == "in pixels | as seen" and width["caveat"] == "not turned"
    statement = "select description, caveat, owner from catalog.columns where dataset = 'pets' and name = 'info.width'"
    assert json.loads(work.ok("sql", statement, "--json", cwd=folder)) == {
        "description": "in pixels | as seen", "caveat": "not turned", "owner": None,
    }  # fmt: skip
    assert '| "in pixels \\| as seen; beware: not turned" |' in work.ok("cat", "pets/_README.md", cwd=folder)
    assert "info.width  # in pixels | as seen" in work.ok("show", "pets", "--limit", "1", cwd=folder)
    work.ok("describe", "pets", "info.width", "", "--caveat", "", cwd=folder)
    assert json.loads(work.ok("describe", "pets", "--json", cwd=folder))["columns"] == {}


def test_what_is_said_follows_a_rename_and_leaves_datachain_alone(work):
    folder = work.folder
    work.ok("save", "pets", "--where", "n < 4", "--as", "old_name", cwd=folder)
    work.ok("describe", "old_name", "label", "what it shows", cwd=folder)
    work.ok("mv", "old_name", "new_name", cwd=folder)
    assert "label: what it shows" in work.ok("describe", "new_name", cwd=folder)
    assert "new_name" in datachain_runs.command(folder, "dataset", "ls")
    assert ask(folder, "SELECT dataset, name FROM dcfs_annotations WHERE name = 'label'") == [("local.local.new_name", "label")]


def test_wrong_descriptions_are_refused(work):
    cases = [
        (["pets", "info.widht", "x"], 2, "did you mean `info.width`"), (["pet"], 1, "did you mean `pets`"),
        (["pets", "label", "x" * 2000], 2, "too many"), (["pets", "label", "--description", "x"], 2, "after its name"),
    ]  # fmt: skip
    for words, code, message in cases:
        result = work.run("describe", *words, cwd=work.folder)
        assert (result.returncode, message in result.stderr) == (code, True), (words, result.stderr)


@pytest.mark.mount
def test_a_mount_says_why_by_name(work, tmp_path):
    with work.mount(work.folder, tmp_path / "mnt") as mount:
        best = mount.datasets / "best@1.0.0"
        ids = [json.loads(line)["sys__id"] for line in open(best / "_rows.jsonl")]
        page = best / "_views" / "rows" / f"{ids[0]}.why.md"
        text = page.read_text()
        assert page.stat().st_size == len(text.encode()) and page.name not in os.listdir(page.parent)
        told = work.ok("why", "best", str(ids[0]), cwd=work.folder)
        assert text == f"# Row {ids[0]} of `best@1.0.0`\n\n```\n{told.rstrip()}\n```\n"
        filtered = mount.datasets / "wide@1.0.0" / "label = pug" / "_views" / "rows"
        assert not (filtered / "0.why.md").exists() and not (filtered / f"0{ids[0]}.why.md").exists()
        shown = {int(name.removesuffix(".json")) for name in os.listdir(filtered)}
        for number in range(1, 8):
            assert (filtered / f"{number}.why.md").exists() == (number in shown)


@pytest.mark.mount
def test_a_mount_shows_what_is_said_later(work, tmp_path):
    with work.mount(work.folder, tmp_path / "mnt") as mount:
        path = mount.datasets / "wide@1.0.0" / "_schema.json"
        assert "wide as seen" not in path.read_text()
        work.ok("describe", "wide", "info.width", "wide as seen", cwd=work.folder)
        for _ in range(50):
            if "wide as seen" in path.read_text():
                break
            time.sleep(0.1)
        assert "wide as seen" in path.read_text()


def test_memory_is_dated_scoped_and_struck_through(work):
    folder = work.folder
    work.ok("remember", "labels of 1.0.0 are guesses", "--dataset", "pets", cwd=folder)
    work.ok("remember", "use best for demos", cwd=folder)
    about = json.loads(work.ok("remember", "--dataset", "pets", "--json", cwd=folder))
    assert [line["text"] for line in about] == ["use best for demos", "labels of 1.0.0 are guesses"]
    assert "labels of 1.0.0 are guesses" not in work.ok("remember", "--dataset", "wide", cwd=folder)
    work.ok("remember", "--forget", "use best", cwd=folder)
    assert "use best" not in work.ok("remember", cwd=folder)
    (file,) = (folder / "dc-knowledge" / "memory").glob("*.md")
    assert "- ~~20" in file.read_text() and "use best for demos" in file.read_text()
    assert work.run("remember", "--forget", "nothing", cwd=folder).returncode == 1
    assert work.run("remember", "x", "--dataset", "pest", cwd=folder).returncode == 1
