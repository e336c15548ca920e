"""The rows that pass a filter are those that pass it in DataChain, for random filters over awkward values.

`DCFS_FILTERS` is how many are asked (300), `DCFS_FILTERS_SEED` which ones (1).
"""

import json
import os
import re

import pytest

import datachain_runs
import mounts

COUNT = int(os.environ.get("DCFS_FILTERS", 300))
SEED = os.environ.get("DCFS_FILTERS_SEED", "1")

SHOWN = 20
"""Mismatches that are printed, the shortest; all of them are counted."""


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """The folder of a catalog whose dataset `awkward` has every kind of column."""
    folder = tmp_path_factory.mktemp("awkward")
    datachain_runs.run("awkward", folder)
    return folder


@pytest.fixture(scope="module")
def answers(awkward):
    """DataChain's result for each filter."""
    file = awkward / "answers.jsonl"
    datachain_runs.run("filter_rows", awkward, file, SEED, str(COUNT), timeout=180 + COUNT)
    with open(file) as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def version(awkward, tmp_path_factory):
    """The directory of the dataset on a mount."""
    folder = tmp_path_factory.mktemp("filters_mount")
    with mounts.Dcfs(folder / "home").mount(awkward, folder / "mnt") as mount:
        yield mount.datasets / "awkward"


def rows_of(version, text):
    """The rows that pass in dcfs, by `sys__id`."""
    with open(version / text.replace("/", "\u2215") / "_rows.jsonl") as lines:
        return {row["sys__id"]: row for row in map(json.loads, lines)}


def difference(version, answer):
    """The difference between the rows of a filter and DataChain's; `None` if there is none."""
    wanted = set(answer["rows"])
    try:
        found = rows_of(version, answer["text"])
    except OSError as error:
        return f"dcfs: {error.strerror}; DataChain: {some(wanted)}"
    if set(found) == wanted:
        return None
    missing, surplus = wanted - found.keys(), found.keys() - wanted
    row = next(iter(missing or surplus))
    shown = values(found.get(row) or rows_of(version, f"sys__id = {row}")[row], answer["text"])
    return f"only in dcfs: {some(surplus)}\nonly in DataChain: {some(missing)}\n{row}: {shown}"


def values(row, text):
    """The values of a row that the filter may depend on."""
    return {name: value for name, value in row.items() if re.search(rf"\b{name}\b", text)}


def some(rows):
    """How many, and the first few."""
    return f"{len(rows)} {sorted(rows)[:10]}"


def test_most_filters_are_datachain_s(answers):
    errors = [answer for answer in answers if "error" in answer]
    assert len(errors) <= len(answers) / 5, errors[:5]


@pytest.mark.mount
def test_rows_are_those_of_datachain(answers, version):
    wrong = []
    for answer in answers:
        if "rows" in answer and (told := difference(version, answer)):
            wrong.append(f"{answer['text']}\n{answer['source']}\n{told}")
    shown = sorted(wrong, key=len)[:SHOWN]
    assert not wrong, "\n\n".join([f"{len(wrong)} filters of {len(answers)}:", *shown])
