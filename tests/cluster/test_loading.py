"""`dcfs load` into servers: what it prints, and the rows of each version, are those that it makes in SQLite."""

import json

import pytest

import mounts


class Both:
    """An empty catalog on servers and one in SQLite, and files that are loaded into each."""

    def __init__(self, cluster, folder):
        self.files = folder / "files"
        self.files.mkdir()
        file = folder / "file"
        file.mkdir()
        self.catalogs = [cluster.database("load"), file]
        self.dcfs = mounts.Dcfs(folder / "home", **cluster.environment)

    def write(self, name, text):
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def each(self, *words):
        """The same command on both: one answer."""
        name, *rest = words
        found = [self.dcfs.run(name, *rest, "--catalog", catalog, cwd=self.files) for catalog in self.catalogs]
        on_servers, in_file = [(one.returncode, one.stdout, one.stderr) for one in found]
        assert on_servers == in_file, words
        return found[0]

    def load(self, *words):
        result = self.each("load", *words, "--as", "d")
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def rows(self, version="d"):
        return [json.loads(line) for line in self.each("show", version, "--all", "--json").stdout.splitlines()]


@pytest.fixture
def both(cluster, tmp_path):
    return Both(cluster, tmp_path)


def test_only_files_that_changed_are_read(both):
    for name in "abck":
        both.write(f"parts/{name}.csv", "name,n\n" + "".join(f"{name}{n},{n}\n" for n in range(3)))
    assert both.load("parts", "--delta") == ["saved d@1.0.0: 12 rows"]
    assert both.load("parts", "--delta") == ["files: 4 unchanged, 0 new, 0 changed, 0 gone", "nothing new; d@1.0.0 is as it was"]
    both.write("parts/a.csv", "name,n\na9,9\n")
    both.write("parts/b.csv", "name,n\nX0,0\nX1,1\n")
    (both.files / "parts/c.csv").unlink()
    both.write("parts/d.csv", "n,name\n7,d7\n")
    both.write("parts/e.csv", "name,n\n")
    assert both.load("parts", "--delta") == ["files: 1 unchanged, 2 new, 2 changed, 1 gone", "saved d@1.0.1: 7 rows"]
    rows = [(row["name"], row["n"]) for row in both.rows()]
    assert rows == [("a9", 9), ("X0", 0), ("X1", 1), ("d7", 7), ("k0", 0), ("k1", 1), ("k2", 2)]
    # Rows of a file that is gone may stay, and later they go.
    (both.files / "parts/k.csv").unlink()
    both.write("parts/f.csv", "name,n\nf,1\n")
    assert both.load("parts", "--delta", "--keep-deleted")[1] == "saved d@1.0.2: 8 rows"
    assert both.load("parts", "--delta")[1] == "saved d@1.0.3: 5 rows"
    assert [row["name"] for row in both.rows()] == ["a9", "X0", "X1", "d7", "f"]


def test_other_types_and_columns_are_read_again_from_all_files(both):
    both.write("1.csv", "n,day\n1,2026-01-01\n")
    both.write("2.csv", "n,day\n2,2026-01-02\n")
    both.load("1.csv", "2.csv", "--delta")
    # A whole number becomes a float in all rows, and a column is NULL in older ones.
    both.write("2.csv", "n,day,more\n2.5,2026-01-02,x\n")
    both.load("1.csv", "2.csv", "--delta")
    assert [(row["n"], row["more"]) for row in both.rows()] == [(1.0, None), (2.5, "x")]
    both.load("1.csv", "2.csv", "--delta", "--types", "n:str")
    assert [row["n"] for row in both.rows()] == ["1", "2.5"]
    both.each("schema", "d")


def test_lists_and_models_are_loaded_and_copied_by_a_delta(both):
    lines = [{"id": 1, "tags": ["a", "b"], "box": {"x": 1, "y": 0.5}}, {"id": 2, "tags": [], "box": {"x": 2, "y": 1.5}}]
    both.write("1.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    both.load("1.jsonl", "--delta")
    both.write("2.jsonl", json.dumps({"id": 3, "tags": ["c"], "box": {"x": 3, "y": 2.5}}) + "\n")
    assert both.load("1.jsonl", "2.jsonl", "--delta")[1] == "saved d@1.0.1: 3 rows"
    assert [(row["id"], row["tags"], row["box"]["x"]) for row in both.rows()] == [(1, ["a", "b"], 1), (2, [], 2), (3, ["c"], 3)]


def test_a_file_that_cannot_be_read_saves_nothing(both):
    both.write("1.csv", "n\n1\n")
    both.load("1.csv", "--delta")
    both.write("2.jsonl", "{\n")
    for words in [["1.csv", "2.jsonl", "--delta"], ["2.jsonl"], ["none.csv"]]:
        assert both.each("load", *words, "--as", "d").returncode > 0
    assert len(both.rows()) == 1 and both.each("show", "d@1.0.1").returncode == 1
