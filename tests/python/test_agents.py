"""The cost of a catalog for an agent: ten questions by files, by `dcfs` and by MCP, each answered, within bounds."""

import importlib.util
import re
import sys
import tempfile
from pathlib import Path

import pytest

import mounts

pytestmark = pytest.mark.mount

SCRIPT = mounts.ROOT / "tests" / "agents" / "measure.py"

BEFORE = {"the first two": (6, 10_500), "all ten": (15, 16_100)}
"""Calls and characters that an agent needed before there were pages, a skill or a server."""


def measure():
    spec = importlib.util.spec_from_file_location("measure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mount(tmp_path):
    """A mount of a catalog about which people said something."""
    dcfs = mounts.Dcfs(tmp_path / "home")
    for n in range(6):
        folder = tmp_path / "notes" / ("cat", "dog")[n % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.txt").write_text("x" * n)
    (tmp_path / "shout.py").write_text("LIMIT = 0.35\n\ndef loud(file) -> str:\n    return file.read_text().upper()\n")
    dcfs.ok("index", "notes", "--save", "notes", "--with", "path:{kind}/{n:int}.txt", cwd=tmp_path)
    dcfs.ok("map", "notes", "--as", "loud", "--", sys.executable, "shout.py:loud", cwd=tmp_path)
    dcfs.ok("sql", "select count(*) from notes n join loud l on n.n = l.n where n.kind = 'cat'", cwd=tmp_path)
    dcfs.ok("describe", "notes", "n", "number of the note", "--caveat", "gaps since March", cwd=tmp_path)
    dcfs.ok("describe", "notes", "--owner", "ann@example.org", cwd=tmp_path)
    dcfs.ok("remember", "--dataset", "notes", "2.txt is a copy", cwd=tmp_path)
    documents = tmp_path / "dc-knowledge" / "docs"
    documents.mkdir(parents=True)
    (documents / "retention.md").write_text("# Retention\n\nThe dataset loud is deleted after 90 days.\n")
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mounted:
        yield mounted.path


def test_every_layer_answers_by_files_alone(mount):
    """One question to each of the six layers; the agent reads the index, a page, and what the page names."""
    page = (mount / "knowledge/datasets/notes.md").read_text()
    loud = (mount / "knowledge/datasets/loud.md").read_text()
    # 1 Usage: what is it joined with, and by which column?
    assert re.search(r"(?i)used by[\s\S]{0,40}\[loud", page), page
    usage = (mount / "knowledge/usage.md").read_text()
    assert re.search(r"notes.*loud|loud.*notes", usage) and "kind" in usage, usage
    # 2 Annotations: what is the column, what is wrong with it, who answers for it?
    assert "number of the note" in page and "gaps since March" in page and "owner: ann" in page
    # 3 Code: which program made it, with which threshold?
    assert "LIMIT = 0.35" in loud or "LIMIT = 0.35" in (mount / "datasets/loud/_lineage.md").read_text()
    # 4 Institutional documents: how long is it kept?
    (link,) = re.findall(r"\]\((\.\./docs/[^)]+)\)", loud)
    assert "after 90 days" in (mount / "knowledge/datasets" / link).read_text() and "docs/" not in page
    # 5 Memory: what did somebody notice?
    assert "2.txt is a copy" in page and "is a copy" not in loud
    # 6 Runtime: how fresh is it, what passes now, what runs?
    assert re.search(r"20\d\d-\d\d-\d\d", page.split("## Freshness")[1])
    assert sorted(p.name for p in (mount / "datasets/notes/kind = cat and n > 0").rglob("*.txt")) == ["2.txt", "4.txt"]
    assert (mount / "knowledge/runs.md").read_text().startswith("# ")


def test_ten_questions_cost_a_third_of_what_they_did():
    module = measure()
    # Answers name the folder: if its path is long, each of them is longer.
    with tempfile.TemporaryDirectory(prefix="dcfs-agents-", dir="/tmp") as folder:
        wanted, costs = module.run(Path(folder))
    assert len(wanted) == 10
    for way, cost in costs.items():
        for name, part in [("the first two", slice(0, 2)), ("all ten", slice(None))]:
            calls, characters = map(sum, zip(*cost[part]))
            most_calls, most = BEFORE[name]
            assert characters <= most / 3 and calls <= most_calls / 3, (way, name, calls, characters)
    page = (mounts.ROOT / "docs" / "agents.md").read_text()
    measured, told = (cells(text) for text in (module.table(wanted, costs), page))
    for row, found in measured.items():
        assert len(told.get(row, [])) == len(found), f"docs/agents.md has no row {row}"
        for one, other in zip(found, told[row]):
            # A date, a duration or the name of a user is a character longer elsewhere.
            assert one[0] == other[0] and abs(one[1] - other[1]) <= 40 + other[1] / 10, (row, found, told[row])


def cells(text):
    """Calls and characters of every row of a table, by the row's name; none where a cell is "known"."""
    found = {}
    for line in re.findall(r"(?m)^\| .*$", text):
        name, *ways = (cell.strip(" *") for cell in line.strip("|").split("|"))
        numbers = [tuple(int(n) for n in way.replace(",", "").split(" / ")) for way in ways if re.fullmatch(r"\d+ / [\d,]+", way)]
        found[name] = numbers
    return {name: numbers for name, numbers in found.items() if name != "question"}
