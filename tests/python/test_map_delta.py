"""`dcfs map --delta` and `dcfs refresh`: only what is new or changed is computed."""

import json

from programs import COUNTED
from written import ask, versions


def test_only_what_changed_is_computed(work, tmp_path):
    work.function(COUNTED)
    words = ("map", "f", "--as", "s", "--delta", "--", "python", "info.py:size")
    work.ok(*words)
    work.reset()
    files = work.here / "files"
    (files / "f_03.txt").write_bytes(b"y" * 100)
    (files / "f_04.txt").unlink()
    for n in range(2):
        (files / f"new_{n}.txt").write_bytes(b"z" * (50 + n))
    work.ok("index", "files", "--save", "f", "--delta")
    done = work.done(*words)
    assert done["delta"] == {"unchanged": 28, "new": 2, "changed": 1, "gone": 1}
    assert sorted(work.calls()) == ["f_03.txt", "new_0.txt", "new_1.txt"]
    got = sorted(work.rows("s", "file__path, size"))
    want = sorted((path.name, path.stat().st_size) for path in files.iterdir())
    assert got == want
    work.reset()
    assert work.done(*words)["is_new"] is False and work.calls() == []

    work.function(COUNTED + "\n    # edited\n")
    (files / "new_2.txt").write_bytes(b"z")
    work.ok("index", "files", "--save", "f", "--delta")
    said = work.refused(2, *words)
    assert "`--keep` computes only what is new" in said and "`--fresh` computes all 32 rows" in said
    assert work.calls() == []
    work.ok("map", "f", "--as", "s", "--delta", "--keep", "--", "python", "info.py:size")
    assert work.calls() == ["new_2.txt"]
    work.reset()
    (files / "new_2.txt").unlink()
    work.ok("index", "files", "--save", "f", "--delta")
    done = work.done("map", "f", "--as", "s", "--delta", "--keep", "--keep-deleted", "--", "python", "info.py:size")
    assert done["is_new"] is False or done["rows"] == 32
    assert "new_2.txt" in [path for (path,) in work.rows("s", "file__path")]


def test_files_that_a_program_depends_on_are_part_of_it(work):
    work.function(COUNTED)
    weights = work.write("weights", "1")
    words = ("map", "f", "--as", "s", "--depends", "weights", "--", "python", "info.py:size")
    work.ok(*words)
    assert "nothing to compute" in work.ok(*words)
    weights.write_text("2")
    work.reset()
    work.ok(*words)
    assert len(work.calls()) == 30 and versions(work.here, "s") == ["1.0.0", "1.0.1"]


def test_a_delta_of_many_rows_a_file(work):
    work.function("from typing import Iterator\ndef parts(file) -> Iterator[int]:\n    open('calls', 'a').write(file.name + '\\n')\n    yield from range(3)\n")
    words = ("gen", "f", "--as", "p", "--only", "file", "--delta", "--", "python", "info.py:parts")
    work.ok(*words)
    work.reset()
    (work.here / "files" / "f_00.txt").write_bytes(b"changed")
    (work.here / "files" / "f_01.txt").unlink()
    work.ok("index", "files", "--save", "f", "--delta")
    work.ok(*words)
    assert work.calls() == ["f_00.txt"]
    assert len(work.rows("p", "parts")) == 29 * 3


def test_files_that_gave_no_rows_are_not_computed_again(work):
    work.function(
        "from typing import Iterator\ndef parts(file) -> Iterator[int]:\n    open('calls', 'a').write(file.name + '\\n')\n"
        "    yield from range(len(file.read()) % 2)\n"
    )
    words = ("gen", "f", "--as", "p", "--only", "file", "--delta", "--", "python", "info.py:parts")
    work.ok(*words)
    assert len(work.calls()) == 30 and len(work.rows("p", "parts")) == 15
    work.reset()
    files = work.here / "files"
    (files / "f_00.txt").write_bytes(b"xx")  # gave a row, and gives none now
    (files / "f_01.txt").write_bytes(b"x")  # the other way round
    (files / "f_03.txt").unlink()
    (files / "new.txt").write_bytes(b"")
    work.ok("index", "files", "--save", "f", "--delta")
    work.ok(*words)
    assert sorted(work.calls()) == ["f_00.txt", "f_01.txt", "new.txt"]
    assert len(work.rows("p", "parts")) == 15
    work.reset()
    work.ok("index", "files", "--save", "f", "--delta")
    work.ok(*words)
    assert work.calls() == []
    (files / "later.txt").write_bytes(b"x")
    work.ok("index", "files", "--save", "f", "--delta")
    work.ok(*words)
    assert work.calls() == ["later.txt"], "those of both runs before are remembered"


def test_a_chain_is_made_anew_from_the_storage_down(work):
    work.function(COUNTED + "\n    def half(size: int) -> float:\n        open('halves', 'a').write('x')\n        return size / 2\n")
    work.ok("map", "f", "--as", "s", "--", "python", "info.py:size")
    work.ok("map", "s", "--as", "h", "--", "python", "info.py:half")
    work.ok("save", "h", "--where", "half > 5", "--as", "large")
    (work.here / "files" / "new.txt").write_bytes(b"x" * 99)
    plan = work.ok("refresh", "large", "--plan")
    assert "f@1.0.0: the storage is listed again" in plan and "dcfs map --delta f --as s" in plan
    work.reset()
    (work.here / "halves").unlink()
    work.ok("refresh", "large")
    assert work.calls() == ["new.txt"] and (work.here / "halves").read_text() == "x"
    assert work.rows("large", "count(*)") == [(21,)]
    assert "listed again" in work.ok("refresh", "large", "--plan")
    assert "was not made by dcfs" in work.refused(2, "refresh", "python") if work.python(
        "import datachain as dc; dc.read_values(a=[1]).save('python')") is not None else True
    assert "no dataset `nothing`" in work.refused(1, "refresh", "nothing")


def test_a_delta_keeps_each_row_once(work):
    work.function(COUNTED)
    words = ("map", "f", "--as", "s", "--delta", "--keep-deleted", "--", "python", "info.py:size")
    work.ok(*words)
    (work.here / "files" / "f_03.txt").write_bytes(b"y" * 100)
    (work.here / "files" / "f_04.txt").unlink()
    work.ok("index", "files", "--save", "f", "--delta")
    work.ok(*words)
    rows = dict(work.rows("s", "file__path, size"))
    assert len(rows) == len(work.rows("s", "size")) == 30 and (rows["f_03.txt"], rows["f_04.txt"]) == (100, 5)


def test_after_a_delta_of_what_is_gone_nothing_is_left_to_do(work):
    work.function(COUNTED)
    words = ("map", "f", "--as", "s", "--delta", "--", "python", "info.py:size")
    work.ok(*words)
    (work.here / "files" / "f_04.txt").unlink()
    work.ok("index", "files", "--save", "f", "--delta")
    work.reset()
    assert work.done(*words)["delta"] == {"unchanged": 29, "new": 0, "changed": 0, "gone": 1}
    assert work.calls() == [] and "nothing to compute" in work.ok(*words)
    ((recipe,),) = ask(work.here, "SELECT recipe FROM dcfs_provenance WHERE json_extract(recipe, '$.kind') = 'map' ORDER BY saved_at DESC LIMIT 1")
    assert [program["rows"] for program in json.loads(recipe)["programs"]] == [29]


def test_a_delta_compares_all_that_the_program_sees(work):
    work.function("def f(file, size: int) -> int:\n    return size\n")
    work.ok("map", "f", "--as", "a", "--out", "size: int", "--no-file", "--with-columns", "file.size", "--", "echo", "{col:file.size}")
    words = ("map", "a", "--as", "s", "--only", "file", "--delta", "--", "python", "info.py:f")
    work.ok(*words)
    work.ok("save", "a", "--where", "size > 3", "--as", "a")
    assert "the program sees `size`, which they do not keep" in work.refused(2, *words)
