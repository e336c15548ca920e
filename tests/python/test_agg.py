"""`dcfs agg`: programs over groups of rows."""

import json

import pytest

from programs import SIZES
from written import ask


@pytest.fixture
def kinds(work):
    """A dataset `k` of the files of `f`, of three kinds: 10 rows each."""
    work.function("def kind(file) -> str:\n    return 'abc'[file.size % 3]\n", "kind.py")
    work.ok("map", "f", "--as", "k", "--", "python", "kind.py:kind")
    return work


def test_a_function_sees_the_rows_of_a_group_together(kinds):
    kinds.function(
        """
        from dataclasses import dataclass

        @dataclass
        class Sum:
            files: int
            bytes: int
            first: str

        def total(files: list, kind: list[str], file: list) -> Sum:
            assert len(files) == len(kind) == len(file) and len(set(kind)) == 1
            return Sum(len(files), sum(len(one.read()) for one in files), files[0].name)
        """
    )
    told = kinds.done("agg", "k", "--by", "kind", "--as", "sums", "--", "python", "info.py:total")
    assert told["computed"] == 3
    want = [(kind, len(sizes), sum(sizes), f"f_{sizes[0] - 1:02}.txt") for kind, sizes in grouped().items()]
    assert sorted(kinds.rows("sums", "kind, total__files, total__bytes, total__first")) == want
    script = "import datachain as dc; print(sorted(dc.read_dataset('sums').to_list('kind', 'total.files')))"
    assert kinds.python(script).strip() == str([(kind, files) for kind, files, *_ in want])
    assert "is as it was" in kinds.ok("agg", "k", "--by", "kind", "--as", "sums", "--", "python", "info.py:total")


def grouped():
    kinds = {}
    for size in SIZES:
        kinds.setdefault("abc"[size % 3], []).append(size)
    return dict(sorted(kinds.items()))


def test_a_group_may_have_many_answers_and_rows_of_a_filter(kinds):
    kinds.function("def largest(file, kind):\n    for one in sorted(file, key=lambda f: -f.size)[:2]:\n        yield one.size\n")
    kinds.ok("agg", "k", "--by", "kind", "--where", "file.size <= 20", "--out", "largest: int", "--as", "top", "--", "python", "info.py:largest")
    want = sorted((kind, size) for kind, sizes in grouped().items() for size in [s for s in sizes if s <= 20][-2:])
    assert sorted(kinds.rows("top", "kind, largest")) == want


def test_a_command_sees_all_paths_of_a_group(kinds):
    kinds.ok("agg", "k", "--by", "kind", "--out", "bytes: int", "--as", "b", "--", "sh", "-c", 'cat "$@" | wc -c', "sh", "{}")
    assert dict(kinds.rows("b", "kind, bytes")) == {kind: sum(sizes) for kind, sizes in grouped().items()}
    # An address needs no bytes; fields of models are lists.
    kinds.ok("agg", "k", "--by", "kind", "--out", "n: int", "--as", "u", "--", "sh", "-c", 'echo $#', "sh", "{uri}")
    assert kinds.rows("u", "n") == [(10,)] * 3
    kinds.ok("map", "f", "--out", "u: str", "--as", "addresses", "--", "echo", "{uri}")
    assert all(uri.startswith("file://") for (uri,) in kinds.rows("addresses", "u"))
    kinds.ok("agg", "k", "--by", "kind", "--out", "sizes: json", "--as", "sizes", "--", "echo", "{col:file.size}")
    assert sorted(json.loads(sizes) for (sizes,) in kinds.rows("sizes", "sizes")) == sorted(map(list, grouped().values()))
    told = kinds.ok("agg", "k", "--by", "kind", "--try", "2", "--out", "n: int", "--", "sh", "-c", "echo $#", "sh", "{/}")
    assert "kind=" in told and "10" in told
    # A worker reads lists.
    kinds.write("worker.py", """
        import json, sys
        print('{"dcfs":1}', flush=True)
        for line in sys.stdin:
            row = json.loads(line)
            value = {"n": len(row["files"]), "same": len(set(row["row"]["kind"])) == 1}
            print(json.dumps({"id": row["id"], "value": value}), flush=True)
    """)
    words = ["--with-columns", "kind", "--out", "n: int, same: bool", "--as", "w", "--worker", "--", "python", "worker.py"]
    kinds.ok("agg", "k", "--by", "kind", *words)
    assert kinds.rows("w", "n, same") == [(10, 1)] * 3


def test_groups_go_on_where_they_stopped(kinds):
    kinds.function("""
        import os

        def size(files, kind) -> int:
            if kind[0] == "c" and not os.path.exists("good"):
                raise ValueError("not yet")
            with open("calls", "a") as calls:
                calls.write(kind[0] + "\\n")
            return sum(file.size for file in files)
    """)
    words = ["agg", "k", "--by", "kind", "--as", "s", "--", "python", "info.py:size"]
    said = kinds.refused(5, *words)
    assert "kind=c: ValueError: not yet" in said and "the same command goes on" in said
    kinds.write("good", "")
    kinds.ok(*words)
    assert sorted(kinds.calls()) == ["a", "b", "c"], "none is computed twice"
    # By two columns: every row is a group of its own.
    kinds.ok("agg", "k", "--by", "kind,file.size", "--as", "each", "--", "python", "info.py:size")
    assert sorted(size for (size,) in kinds.rows("each", "size")) == SIZES


@pytest.mark.parametrize(
    "words, message",
    [
        (["--by", "kidn"], "no column `kidn`"),
        (["--by", "kind", "--delta"], "`--delta`"),
        (["--by", "kind", "--only", "file"], "`--only`"),
        (["--by", "kind", "--stdin"], "`--stdin`"),
        (["--by", "kind", "--batch", "3"], "`--batch`"),
        ([], "--by"),
    ],
)
def test_what_makes_no_sense_of_groups_is_refused(kinds, words, message):
    kinds.function("def n(files) -> int:\n    return len(files)\n")
    assert message in kinds.refused(2, "agg", "k", *words, "--as", "x", "--", "python", "info.py:n")
    assert "x" not in [name for name, in ask(kinds.here, "SELECT name FROM datasets")]
