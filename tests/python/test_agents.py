"""The cost of a catalog for an agent: ten questions by files, by `dcfs` and by MCP, each answered, within bounds."""

import importlib.util
import re
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
            assert characters <= most / 3, (way, name, characters)
            # With commands only, each question is independent, and short.
            assert calls <= most_calls / 3 or way == "dcfs" and calls < most_calls, (way, name, calls)
    page = (mounts.ROOT / "docs" / "agents.md").read_text()
    rows = [line.split(" | ")[0].strip("| ") for line in module.table(wanted, costs).splitlines()]
    told = [line.split(" | ")[0].strip("| ") for line in re.findall(r"(?m)^\| .*$", page)]
    assert set(rows) - {"---|---|---|---"} <= set(told), "docs/agents.md has the table"
