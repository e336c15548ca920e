"""`dcfs stats` equals a plain computation in Python over the same catalog."""

import json
import math
import sqlite3
from collections import Counter

import pytest

import mounts


@pytest.fixture(scope="module")
def stats(shapes_catalog, tmp_path_factory):
    """`dcfs stats` in the catalog of shapes: columns by name."""
    dcfs = mounts.Dcfs(tmp_path_factory.mktemp("stats") / "home")

    def run(*arguments):
        found = json.loads(dcfs.ok("stats", *arguments, "--json", cwd=shapes_catalog))
        return found | {"of": {column["column_name"]: column for column in found["statistics"]}}

    run.dcfs = dcfs
    return run


def rows(folder, dataset, *columns, where="1"):
    """Rows of the newest version of a dataset, as SQLite has them."""
    with sqlite3.connect(folder / ".datachain" / "db") as db:
        db.text_factory = lambda text: text.decode(errors="replace")
        like = f"ds\\_%\\_{dataset.replace('_', chr(92) + '_')}\\_%"
        names = [name for (name,) in db.execute("select name from sqlite_schema where name like ? escape '\\'", [like])]
        names = [name for name in names if name.removeprefix("ds_local_local_").rsplit("_", 3)[0] == dataset]
        asked = ", ".join(f'"{column}"' for column in columns)
        return db.execute(f'select {asked} from "{max(names)}" where {where} order by sys__id').fetchall()


def quantile(values, share):
    """By linear interpolation between its two neighbours."""
    place = share * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def expect_numbers(said, values):
    """Every statistic of `values`."""
    values = sorted(values)
    mean = math.fsum(values) / len(values)
    near = {"mean": mean, "median": quantile(values, 0.5), "q25": quantile(values, 0.25), "q75": quantile(values, 0.75)}
    near |= {"q10": quantile(values, 0.1), "q90": quantile(values, 0.9)}
    if len(values) > 1:
        near["std"] = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    assert {name: said[name] for name in near} == pytest.approx(near)
    assert (said["min"], said["max"]) == (values[0], values[-1])
    edges, counts = said["histogram"]["bin_edges"], said["histogram"]["hist"]
    assert (edges[0], edges[-1], len(edges)) == (values[0], values[-1], len(counts) + 1)
    for number, count in enumerate(counts):
        is_last = number + 1 == len(counts)
        assert count == sum(edges[number] <= v and (v < edges[number + 1] or is_last) for v in values)


def test_numbers_texts_and_pictures_are_exact(stats, shapes_catalog):
    found = stats("pets_sized")
    table = rows(shapes_catalog, "pets_sized", "file__path", "file__size", "info__width", "info__height")
    assert found["num_examples"] == len(table) and found["partial"] is False
    paths, sizes, widths, heights = zip(*table)
    for name, values in [("file.size", sizes), ("info.width", widths), ("info.height", heights)]:
        column = found["of"][name]
        assert column["column_type"] == "int"
        expect_numbers(column["column_statistics"], values)
        assert column["column_statistics"]["n_unique"] == len(set(values))
    said = found["of"]["file.path"]
    assert said["column_type"] == "string_text" and said["flags"] == ["unique"]
    expect_numbers(said["column_statistics"], [len(path) for path in paths])
    (files,) = found["files"]
    assert (files["count"], files["n_unique"], files["bytes"]) == (len(paths), len(set(paths)), sum(sizes))
    extensions = Counter(path.rsplit(".", 1)[-1] for path in paths)
    assert {e["extension"]: e["count"] for e in files["extensions"]} == extensions
    (pictures,) = found["pictures"]
    shapes = Counter(zip(widths, heights))
    assert (pictures["column_name"], pictures["n_unique"]) == ("info", len(shapes))
    for size in pictures["sizes"]:
        assert shapes[size["width"], size["height"]] == size["count"]


def test_every_type_has_statistics(stats, shapes_catalog):
    found = stats("typed")
    names = ["kind__kind", "kind__note", "score", "vector", "day", "facts", "blob", "boxes", "box__title"]
    table = rows(shapes_catalog, "typed", *names)
    column = dict(zip(names, zip(*table)))

    def said(name):
        return found["of"][name]["column_statistics"]

    # NaN is stored as NULL; infinity is not a number in JSON, and in no histogram.
    assert said("score")["nan_count"] == sum(value is None for value in column["score"]) > 0
    assert said("score")["max"] == "Infinity" and "histogram" not in said("score")
    assert said("score")["nan_proportion"] == pytest.approx(said("score")["nan_count"] / len(table))
    labels = Counter(column["kind__kind"])
    assert found["of"]["kind.kind"]["column_type"] == "string_label"
    assert said("kind.kind")["frequencies"] == labels and said("kind.kind")["n_unique"] == len(labels)
    assert list(said("kind.kind")["frequencies"].values()) == sorted(labels.values(), reverse=True)
    assert said("kind.note")["nan_count"] == len(table) and found["of"]["kind.note"]["flags"] == ["null-heavy"]
    assert said("box.title")["nan_count"] == sum(value is None for value in column["box__title"]) > 0
    assert found["of"]["day"]["column_type"] == "datetime" and found["of"]["day"]["flags"] == ["constant"]
    assert (said("day")["min"], said("day")["std"]) == ("2024-01-02 03:04:05.678901", "0:00:00")
    assert found["of"]["vector"]["column_type"] == "list" and said("vector")["dimension"] == 3
    assert "norm" not in said("vector"), "NaN has none"
    assert said("boxes")["min"] == said("boxes")["max"] == 2
    assert {name: found["of"][name]["column_type"] for name in ("facts", "blob")} == {"facts": "json", "blob": "bytes"}


def test_vectors_have_norms(stats, shapes_catalog, tmp_path):
    lines = [json.dumps({"emb": [3.0 * n, 4.0 * n], "box": [1.5] * (n % 3)}) for n in range(1, 11)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines + ['{"emb": null}']))
    stats.dcfs.ok("load", "x.jsonl", "--as", "vectors", cwd=tmp_path)
    found = json.loads(stats.dcfs.ok("stats", "vectors", "--json", cwd=tmp_path))
    emb, box = found["statistics"]
    assert emb["column_statistics"]["norm"] == {"min": 5.0, "max": 50.0, "mean": 27.5}
    assert (emb["column_statistics"]["dimension"], emb["column_statistics"]["min"]) == (2, 0), "a missing one is empty"
    assert box["flags"] == ["mixed-lengths"] and box["column_statistics"]["max"] == 2


def test_rows_that_pass_a_filter_and_none(stats, shapes_catalog):
    widths = [width for (width,) in rows(shapes_catalog, "pets_sized", "info__width")]
    middle = sorted(widths)[len(widths) // 2]
    found = stats("pets_sized", "--where", f"info.width > {middle}")
    wide = [width for width in widths if width > middle]
    assert found["num_examples"] == len(wide)
    expect_numbers(found["of"]["info.width"]["column_statistics"], wide)
    ranked = stats("pets_sized", "--where", "order by info.width desc limit 3")
    assert ranked["num_examples"] == 3 and "order_key" not in ranked["of"]
    expect_numbers(ranked["of"]["info.width"]["column_statistics"], sorted(widths)[-3:])
    for empty in (stats("pets_sized", "--where", "info.width < 0"), stats("empty")):
        assert empty["num_examples"] == 0
        assert all(column["column_statistics"]["nan_proportion"] == 0 for column in empty["statistics"])
        assert all("min" not in column["column_statistics"] for column in empty["statistics"])


def test_many_rows_are_kept_and_flagged(stats, tmp_path):
    count = 60_000
    lines = (f"{n},{'a' if n else 'b'},{n % 7},{n * n % 1009},text {n % 40_000}" for n in range(count))
    (tmp_path / "x.csv").write_text("id,nearly,small,spread,words\n" + "\n".join(lines))
    stats.dcfs.ok("load", "x.csv", "--as", "many", cwd=tmp_path)
    first = stats.dcfs.ok("stats", "many", "--json", cwd=tmp_path)
    assert stats.dcfs.ok("stats", "many", "--json", cwd=tmp_path) == first
    found = {column["column_name"]: column for column in json.loads(first)["statistics"]}
    assert (found["id"]["flags"], found["nearly"]["flags"]) == (["unique"], ["near-constant"])
    expect_numbers(found["spread"]["column_statistics"], [n * n % 1009 for n in range(count)])
    top = Counter(n % 7 for n in range(count)).most_common()
    told = found["small"]["column_statistics"]["most_frequent"]
    assert [(one["value"], one["count"]) for one in told] == sorted(top, key=lambda one: (-one[1], one[0]))
    assert found["words"]["column_statistics"]["n_unique"] == 40_000
    assert len(found["words"]["column_statistics"]["most_frequent"]) == 10
    kept = list(stats.dcfs.cache.glob("dcfs/packs/*/stats/*"))
    assert kept, "what took a moment is kept"
    kept[0].write_bytes(b"{}")
    assert stats.dcfs.ok("stats", "many", "--json", cwd=tmp_path) == first, "and made anew where it is damaged"


def test_people_read_a_table(stats, shapes_catalog):
    text = stats.dcfs.ok("stats", "pets_sized", cwd=shapes_catalog)
    assert text.startswith("pets_sized@1.0.0: ") and "info.width" in text and "pictures of" in text
    wrong = stats.dcfs.run("stats", "pets_sized", "--where", "info.widht > 3", cwd=shapes_catalog)
    assert wrong.returncode == 2 and "did you mean `info.width`" in wrong.stderr


def test_differences_tell_what_moved(stats, tmp_path):
    for number in (1, 2):
        lines = [f"{n * number},{'pug' if n % (3 - number) else 'cat'}" for n in range(100)]
        (tmp_path / "x.csv").write_text("n,label\n" + "\n".join(lines))
        stats.dcfs.ok("load", "x.csv", "--as", "moving", cwd=tmp_path)
    told = json.loads(stats.dcfs.ok("diff", "moving", "--stats", "--json", cwd=tmp_path))["statistics"]
    assert [moved["column"] for moved in told] == ["n", "label"]
    assert "max 99 -> 198" in told[0]["how"] and "pug 50% -> 0%" in told[1]["how"]
    assert "max 99 -> 198" in stats.dcfs.ok("diff", "moving", "--stats", cwd=tmp_path)
    assert "statistics" not in json.loads(stats.dcfs.ok("diff", "moving", "--json", cwd=tmp_path))


@pytest.mark.mount
def test_directories_have_statistics_by_name(stats, shapes_mount, shapes_catalog):
    version = shapes_mount.datasets / "pets_sized@1.0.0"
    text = (version / "_stats.json").read_text()
    assert (version / "_stats.json").stat().st_size == len(text.encode())
    assert json.loads(text) == json.loads(stats.dcfs.ok("stats", "pets_sized", "--json", cwd=shapes_catalog))
    narrowed = version / "info.width > 400"
    found = json.loads((narrowed / "_stats.json").read_text())
    assert found == json.loads(
        stats.dcfs.ok("stats", "pets_sized", "--where", "info.width > 400", "--json", cwd=shapes_catalog)
    )
    assert found["num_examples"] == int((narrowed / "_count").read_text())
    page = (narrowed / "_stats.md").read_text()
    assert "`info.width > 400`" in page and (narrowed / "_stats.md").stat().st_size == len(page.encode())
    ranked = json.loads((version / "order by info.width desc limit 3" / "_stats.json").read_text())
    assert ranked["num_examples"] == 3
    by = version / "_views" / "by" / "info.width" / "440"
    assert json.loads((by / "_stats.json").read_text())["num_examples"] == 3
    assert "_stats.json" not in [entry.name for entry in version.iterdir()], "by name alone"
    with pytest.raises(OSError):
        (version / "file.size < 0" / "_stats.html").read_text()
