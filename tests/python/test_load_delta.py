"""`dcfs load` of many files, `--delta`, and lists of objects: what is read again, what stays, and what Python reads of it."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

import datachain_runs
import mounts
from written import check_whole, leftovers, versions


@pytest.fixture
def home(dcfs, tmp_path):
    """A folder with a catalog, and files in it that are loaded as `d`."""
    folder = tmp_path / "work"
    folder.mkdir()

    class Home:
        path = folder

        def write(self, name, text):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return path

        def run(self, *words):
            return dcfs.run("load", *words, "--as", "d", cwd=folder)

        def ok(self, *words):
            """What is printed, without warnings."""
            result = self.run(*words)
            assert result.returncode == 0, result.stderr
            return result.stdout.splitlines()

        def rows(self, dataset="d"):
            return [json.loads(line) for line in dcfs.ok("show", dataset, "--format", "jsonl", cwd=folder).splitlines()]

        def other(self, *words):
            return dcfs.ok(*words, cwd=folder)

        def fresh(self, *words):
            """The rows of the same files, all of them read."""
            dcfs.ok("load", *words, "--as", "fresh", cwd=folder)
            return self.rows("fresh")

        def by_python(self, *datasets):
            script = datachain_runs.SCRIPTS / "sql_read_back.py"
            process = datachain_runs.start(script, folder, *datasets, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            output, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            return json.loads(output.splitlines()[-1])

    return Home()


def test_only_files_that_changed_are_read(home):
    for name in "abck":
        home.write(f"parts/{name}.csv", "name,n\n" + "".join(f"{name}{n},{n}\n" for n in range(3)))
    home.write("parts/README", "no records")
    assert home.ok("parts", "--delta") == ["saved d@1.0.0: 12 rows"], "the first has nothing to be compared with"
    assert home.ok("parts", "--delta") == ["files: 4 unchanged, 0 new, 0 changed, 0 gone", "nothing new; d@1.0.0 is as it was"]
    told = json.loads("".join(home.ok("parts", "--delta", "--json")))
    counts = {"unchanged": 4, "new": 0, "changed": 0, "gone": 0}
    unchanged = {"dataset": "d", "version": "1.0.0", "uuid": None, "rows": 12, "is_new": False, "is_described": False}
    assert told == unchanged | {"files": counts}
    # One with other bytes is read, even if its size and its time of modification are as they were.
    same = home.path / "parts/b.csv"
    text, time_ns = same.read_text(), same.stat().st_mtime_ns
    same.write_text(text.replace("b", "X"))
    os.utime(same, ns=(time_ns, time_ns))
    assert (same.stat().st_size, same.stat().st_mtime_ns) == (len(text), time_ns)
    home.write("parts/a.csv", "name,n\na9,9\n")
    (home.path / "parts/c.csv").unlink()
    home.write("parts/d.csv", "n,name\n7,d7\n")
    home.write("parts/e.csv", "name,n\n")
    assert home.ok("parts", "--delta") == ["files: 1 unchanged, 2 new, 2 changed, 1 gone", "saved d@1.0.1: 8 rows"]
    rows = [(row["name"], row["n"]) for row in home.rows()]
    assert rows == [("a9", 9), ("X0", 0), ("X1", 1), ("X2", 2), ("d7", 7), ("k0", 0), ("k1", 1), ("k2", 2)]
    assert home.rows() == home.fresh("parts")
    assert home.ok("parts", "--delta")[0] == "files: 5 unchanged, 0 new, 0 changed, 0 gone", "one has no rows"
    # Rows of a file that is gone may stay, and later they go.
    (home.path / "parts/b.csv").unlink()
    (home.path / "parts/k.csv").unlink()
    kept = ["files: 3 unchanged, 0 new, 0 changed, 0 gone", "nothing new; d@1.0.1 is as it was"]
    assert home.ok("parts", "--delta", "--keep-deleted") == kept
    home.write("parts/f.csv", "name,n\nf,1\n")
    assert home.ok("parts", "--delta", "--keep-deleted")[1] == "saved d@1.0.2: 9 rows"
    assert [row["name"] for row in home.rows()] == ["a9", "d7", "f", "X0", "X1", "X2", "k0", "k1", "k2"]
    assert home.ok("parts", "--delta") == ["files: 4 unchanged, 0 new, 0 changed, 2 gone", "saved d@1.0.3: 3 rows"]
    told = home.by_python("d")["d"]
    assert told == {"types": {"name": "str", "n": "int"}, "rows": [["a9", "9"], ["d7", "7"], ["f", "1"]]}


def test_nothing_new_may_be_described(home):
    home.write("a.csv", "n\n1\n")
    home.ok("a.csv")
    result = home.run("a.csv", "--delta", "--description", "mine", "--attr", "a=b", "--bump", "major")
    assert result.stdout.splitlines()[1] == "nothing new; d@1.0.0 is as it was, and `d` has a new description", result
    assert "no version was made" in result.stderr
    assert home.other("describe", "d").split("\n")[1:3] == ["description  mine", "attributes   a=b"]
    told = json.loads("".join(home.ok("a.csv", "--delta", "--json", "--description", "")))
    assert (told["is_new"], told["is_described"]) == (False, True)
    assert "mine" not in home.other("describe", "d") and versions(home.path, "d") == ["1.0.0"]


def test_names_that_are_not_utf8_are_told_apart(home):
    folder = os.fsencode(home.path / "n")
    os.mkdir(folder)
    for name, number in ((b"a\xff.csv", 1), (b"a\xfe.csv", 2)):
        with open(os.path.join(folder, name), "w") as file:
            file.write(f"n\n{number}\n")
    for named in ("n", "n/*.csv", "n/a?.csv"):
        home.ok(named)
        assert [row["n"] for row in home.rows()] == [2, 1], named
    assert home.ok("n", "n/*.csv", "--delta")[0] == "files: 2 unchanged, 0 new, 0 changed, 0 gone"
    # One takes the place of another that is called the same in messages.
    os.rename(os.path.join(folder, b"a\xff.csv"), os.path.join(folder, b"a\xfd.csv"))
    assert home.ok("n", "--delta")[0] == "files: 1 unchanged, 1 new, 0 changed, 1 gone"
    assert [row["n"] for row in home.rows()] == [1, 2]


def test_a_file_that_cannot_be_looked_at_is_an_error(home):
    home.write("p/a.csv", "n\n1\n")
    home.ok("p")
    (home.path / "p/nothing.csv").symlink_to("gone.csv")
    assert home.ok("p", "--delta")[1] == "nothing new; d@1.0.0 is as it was", "a link to nothing is no file"
    (home.path / "p/loop.csv").symlink_to("loop.csv")
    for words in (["p"], ["p", "--delta"], ["p", "--format", "csv"], ["p/*.csv", "--delta"]):
        result = home.run(*words)
        assert result.returncode != 0 and "cannot read `p/loop.csv`" in result.stderr, result
    assert versions(home.path, "d") == ["1.0.0"]


def test_the_format_of_a_folder_is_that_of_all_its_levels(home):
    home.write("in/deep/er/a.csv", "n\n1\n")
    home.write("in/README", "no ending")
    home.ok("in")
    home.write("in/b.jsonl", '{"n": 2}\n')
    assert "of several formats" in home.run("in").stderr
    (home.path / "in/b.jsonl").rename(home.path / "in/a.csv.gz")
    for place in ("in/a.csv.gz", "in/deep/a.csv.gz"):
        (home.path / "in/a.csv.gz").rename(home.path / place)
        result = home.run("in")
        assert result.returncode == 2 and f"`{place}`: its ending tells no format" in result.stderr, result
    assert home.ok("in", "--format", "csv") == ["saved d@1.0.1: 1 row"]


def test_files_are_named_by_folders_patterns_and_one_by_one(home):
    home.write("in/a.jsonl", '{"n": 1}\n')
    home.write("in/deep/b.jsonl", '{"n": 2}\n')
    home.write("c[1].jsonl", '{"n": 3}\n')

    def numbers(*words):
        home.ok(*words)
        return [row["n"] for row in home.rows()]

    assert numbers("in") == [1, 2]
    assert numbers("in/*.jsonl") == [1]
    assert numbers("in/**/*.jsonl") == [1, 2]
    assert numbers("c[1].jsonl", "in/a.jsonl", "in") == [3, 1, 2], "each once"
    assert home.run("nothing/*.jsonl").returncode == 1
    assert "no file matches" in home.run("in/*.csv", "--format", "csv").stderr
    home.write("in/d.csv", "n\n4\n")
    assert "of several formats" in home.run("in").stderr
    assert home.run("in", "--format", "xml").returncode == 2


def test_labels_of_each_file_are_its_own(home):
    for number in range(4):
        home.write(f"set/labels/{number}.txt", f"{number} 0.5 0.5 0.25 0.25\n" * number)
    home.write("set/labels/classes.txt", "a\nb\nc\nd\n")
    assert home.ok("set/labels", "--format", "yolo") == ["saved d@1.0.0: 7 rows"]
    home.write("set/labels/2.txt", "0 0.1 0.1 0.2 0.2\n")
    told = home.ok("set/labels", "--format", "yolo", "--delta")
    assert told == ["files: 3 unchanged, 0 new, 1 changed, 0 gone", "saved d@1.0.1: 6 rows"]
    assert home.rows() == home.fresh("set/labels", "--format", "yolo")
    # Names of classes are in the rows of all files.
    home.write("set/labels/classes.txt", "A\nb\nc\nd\n")
    result = home.run("set/labels", "--format", "yolo", "--delta")
    assert result.stdout == "saved d@1.0.2: 6 rows\n" and "was loaded with other options: all files are read" in result.stderr
    assert home.rows() == home.fresh("set/labels", "--format", "yolo") and home.rows()[2]["label"] == "A"


def test_one_file_is_read_whole_where_it_changed(home):
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [], "annotations": [{"id": 3, "image_id": 1}]}
    home.write("c.json", json.dumps(coco))
    assert home.ok("c.json", "--format", "coco", "--delta") == ["saved d@1.0.0: 1 row"]
    assert home.ok("c.json", "--format", "coco", "--delta")[1] == "nothing new; d@1.0.0 is as it was"
    coco["images"].append({"id": 2, "file_name": "b.jpg"})
    coco["annotations"].append({"id": 4, "image_id": 2})
    home.write("c.json", json.dumps(coco))
    told = home.ok("c.json", "--format", "coco", "--delta")
    assert told == ["files: 0 unchanged, 0 new, 1 changed, 0 gone", "saved d@1.0.1: 2 rows"]
    assert [row["id"] for row in home.rows()] == [3, 4]


def test_types_that_the_last_version_has_not(home):
    home.write("p/a.jsonl", '{"n": 1, "box": {"x": 1}}\n')
    home.ok("p")
    home.write("p/b.jsonl", '{"n": 2, "box": {"x": 2}}\n')
    assert home.ok("p", "--delta")[0].startswith("files: 1 unchanged, 1 new")
    home.write("p/c.jsonl", '{"n": 2.5, "box": {"x": 2}}\n')
    result = home.run("p", "--delta")
    assert result.stdout == "saved d@1.0.2: 3 rows\n", result
    assert "`d@1.0.1` has `n: int`, and with `p/c.jsonl` it is `n: float`: all files are read" in result.stderr
    assert home.rows() == home.fresh("p") and [row["n"] for row in home.rows()] == [1.0, 2.0, 2.5]
    # A column that is new, one that is missing, and a field.
    for text in ['{"n": 1.0, "box": {"x": 2}, "new": 1}', '{"box": {"x": 2}}', '{"n": 1.0, "box": {"x": 2, "y": 3}}', '{"n": "a", "box": {"x": 1}}']:
        home.write("p/d.jsonl", text + "\n")
        result = home.run("p", "--delta")
        assert result.returncode == 0 and "all files are read" in result.stderr, result
        assert home.rows() == home.fresh("p"), text
    # Rows of files that are gone cannot be read again.
    (home.path / "p/a.jsonl").unlink()
    home.write("p/e.jsonl", '{"n": "b", "box": {"x": 1.5}}\n')
    result = home.run("p", "--delta", "--keep-deleted")
    assert result.returncode == 2 and "leave `--keep-deleted` out" in result.stderr
    # Types that are requested stay as they are requested.
    home.write("q/a.csv", "id\n1\n")
    home.ok("q", "--types", "id:str")
    home.write("q/b.csv", "id\nx\n")
    assert home.ok("q", "--types", "id:str", "--delta")[0].startswith("files: 1 unchanged, 1 new")
    home.write("q/b.csv", "id\ny\n")
    result = home.run("q", "--types", "id:int", "--delta")
    assert result.returncode == 2 and "`y` in column `id` is no whole number" in result.stderr


def test_a_version_that_was_not_loaded_is_not_compared(home):
    home.write("a.csv", "n\n1\n2\n")
    home.ok("a.csv")
    home.other("save", "d", "--where", "n > 1", "--as", "d")
    result = home.run("a.csv", "--delta")
    assert result.returncode == 2 and "`d@1.0.1` was not made by `dcfs load`" in result.stderr
    assert len(home.rows()) == 1


def test_a_refresh_reads_what_changed(home):
    home.write("p/a.csv", "n\n1\n")
    home.ok("p")
    home.other("save", "d", "--where", "n > 0", "--as", "positive")
    home.write("p/b.csv", "n\n2\n-1\n")
    plan = home.other("refresh", "positive", "--plan")
    assert "its files are looked at again" in plan and "dcfs load --delta p --as d" in plan
    told = home.other("refresh", "positive")
    assert "files: 1 unchanged, 1 new, 0 changed, 0 gone" in told, told
    assert [row["n"] for row in home.rows("positive")] == [1, 2]


def test_killed_at_any_moment_a_load_leaves_nothing_half(home, dcfs):
    for part in range(8):
        home.write(f"p/{part}.csv", "name,n\n" + "".join(f"row {n},{n}\n" for n in range(10_000)))
    home.ok("p", "--delta")
    whole = home.rows()
    draw = random.Random(5)
    for part in range(4):
        home.write(f"p/{part}.csv", "name,n\nx,1\n" + "".join(f"row {n},{n}\n" for n in range(10_000)))
    command = [mounts.DCFS, "load", "p", "--as", "d", "--delta"]
    kills = 0
    for wait in (0.01, 0.05, 0.2, 0.4, 0.8):
        process = subprocess.Popen(command, env=dcfs.environment, cwd=home.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait * draw.uniform(0.5, 1.5))
        process.kill()
        status = process.wait()
        check_whole(home.path, {})
        if len(versions(home.path, "d")) > 1:
            break
        assert status == -signal.SIGKILL
        kills += 1
        assert home.rows() == whole
    assert kills > 0, "none was killed before it was done: nothing was tried"
    home.run("p", "--delta")
    assert len(home.rows()) == len(whole) + 4 and home.rows() == home.fresh("p")
    assert leftovers(home.path) == []


def test_objects_of_a_store_are_compared_by_their_etags(home, dcfs, s3):
    s3.bucket("parts", versioned=False)
    put = lambda key, text: s3.client.put_object(Bucket="parts", Key=key, Body=text.encode())
    for name in "abc":
        put(f"in/{name}.csv", f"name,n\n{name},1\n")
    put("in/notes.txt", "none")
    put("other.csv", "name,n\nz,1\n")

    def run(*words):
        command = [mounts.DCFS, "load", *words, "--as", "d", "--endpoint-url", s3.url]
        return subprocess.run(command, env=dcfs.environment | s3.KEYS, cwd=home.path, capture_output=True, text=True)

    told = run("s3://parts/in/", "--format", "csv", "--delta")
    assert told.stdout == "saved d@1.0.0: 3 rows\n", told
    put("in/b.csv", "name,n\nB,2\n")
    put("in/d.csv", "name,n\nd,1\n")
    s3.client.delete_object(Bucket="parts", Key="in/a.csv")
    told = run("s3://parts/in/", "--format", "csv", "--delta")
    assert told.stdout == "files: 1 unchanged, 1 new, 1 changed, 1 gone\nsaved d@1.0.1: 3 rows\n", told
    assert [row["name"] for row in home.rows()] == ["B", "c", "d"]
    assert run("s3://parts/in/*.csv", "--delta").stdout.splitlines()[1] == "nothing new; d@1.0.1 is as it was"
    assert run("s3://parts/nothing/", "--format", "csv").returncode == 1


LINES = [
    {"id": 1, "boxes": [{"label": "dog", "score": 0.5, "at": {"x": 1, "y": 2}}, {"label": "cat", "score": 1, "at": {"x": 3, "y": 4}}]},
    {"id": 2, "boxes": []},
    {"id": 3, "boxes": [{"label": "dog", "score": 0.9, "at": {"x": 5, "y": 6}, "keys": [{"k": "a"}, {"k": "b", "v": 1}], "poly": [[1, 2.5], []]}]},
    {"id": 4},
]


def test_lists_of_objects_are_lists_of_models(home):
    home.write("x.jsonl", "\n".join(map(json.dumps, LINES)) + "\n")
    (told,) = [line for line in home.ok("x.jsonl", "--dry-run") if line.startswith("boxes")]
    model = "{label: str, score: float, at: {x: int, y: int}, keys: list[{k: str, v: int?}], poly: list[list[float]]}"
    assert told == f"boxes: list[{model}]"
    home.ok("x.jsonl")
    count = lambda where: int(home.other("count", "d", "--where", where))
    assert count("any(boxes, label = 'dog' and score > 0.6)") == 1
    assert count("any(boxes, label = 'cat')") == 1 and count("any(boxes, at.x > 4)") == 1
    assert home.rows()[0]["boxes"][1] == {"label": "cat", "score": 1, "at": {"x": 3, "y": 4}, "keys": [], "poly": []}
    told = home.by_python("d")["d"]
    assert told["types"] == {"id": "int", "boxes": "list"} and told["rows"][1] == ["2", "[]"]
    assert told["rows"][2][1].count("label='dog'") == 1 and "k='b', v=1" in told["rows"][2][1].replace(") ", "), ")


@pytest.mark.parametrize(
    "items, told",
    [
        ([[{"a": 1}], [{"a": "x"}]], "list[{a: str}]"),
        ([[{"a": 1}], [{"b": "2024-01-02"}]], "list[{a: int?, b: datetime?}]"),
        ([[{"a": 1}, None], []], "str"),
        ([[{"a": 1}, 2], []], "str"),
        ([[{"a": {"b": [{"c": True}]}}], [{"a": None}]], "list[{a: {b: list[{c: bool}]}?}]"),
        ([[{}], [{}]], "str"),
        ([[{"a__b.c": 1, "a b": 2}], []], "list[{a_b_c: int, a_b: int}]"),
        ([[{f"k{n}": n} for n in range(400)], []], "str"),
        ([{"a": 1}, [{"a": 1}]], "str"),
        ([[[1, 2], [3.5]], []], "list[list[float]]"),
        ([[[1], "x"], []], "str"),
    ],
)
def test_what_lists_hold(home, items, told):
    home.write("x.jsonl", "".join(json.dumps({"l": item}) + "\n" for item in items))
    assert home.ok("x.jsonl", "--dry-run") == [f"l: {told}"]
    home.ok("x.jsonl")
    if told == "str":
        assert [json.loads(row["l"]) for row in home.rows()] == items, "as it was"
    else:
        assert len(home.by_python("d")["d"]["rows"]) == len(items)


def test_lists_of_structs_of_parquet(home):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(LINES)
    parquet.write_table(table, home.path / "t.parquet")
    home.ok("t.parquet")
    assert int(home.other("count", "d", "--where", "any(boxes, label = 'dog' and score > 0.6)")) == 1
    assert [len(row["boxes"]) for row in home.rows()] == [2, 0, 1, 0]
    assert "label='dog'" in home.by_python("d")["d"]["rows"][0][1]
