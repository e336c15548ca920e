"""Query directories on a real mount, and the commands that speak the same language."""

import hashlib
import json
import os
import subprocess

import pytest

import datachain_runs
import mounts

pytestmark = pytest.mark.mount

SLASH = "\u2215"
HELPERS = {"_README.md", "_lineage.md", "_schema.json"}


def tree(folder):
    """The files below a directory by relative path, with their inodes; helpers left out."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if name not in HELPERS:
                found[os.path.relpath(path, folder)] = os.stat(path).st_ino
    return found


def count(folder):
    return int((folder / "_count").read_text())


def rows(folder):
    return [json.loads(line) for line in (folder / "_rows.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def sized(shapes_mount):
    return shapes_mount.datasets / "pets_sized@1.0.0"


@pytest.fixture(scope="module")
def masked(shapes_mount):
    return shapes_mount.datasets / "pets_masked@1.0.0"


def test_a_filter_is_the_directory_of_what_passes(sized, shapes_mount):
    large = sized / "info.width > 400"
    assert not HELPERS & set(os.listdir(large)), "by name only, for loops over files must not meet them"
    assert all((large / name).is_file() for name in HELPERS)
    whole, found = tree(sized), tree(large)
    assert found == {path: whole[path] for path in tree(shapes_mount.datasets / "pets_large@1.0.0")}
    assert 0 < len(found) < len(whole)
    assert count(large) == len(rows(large)) == len(found)
    assert all(row["info"]["width"] > 400 for row in rows(large))
    path = next(iter(found))
    assert (large / path).read_bytes() == (sized / path).read_bytes()
    assert {row["path"] for row in rows(large)} == set(found)


def test_helper_files_tell_of_the_match(sized):
    large = sized / "info.width>400"
    schema = json.loads((large / "_schema.json").read_text())
    assert schema.pop("query") == {"filters": ["info.width > 400"], "rows": count(large), "ranked": False}
    assert schema == json.loads((sized / "_schema.json").read_text())
    readme = (large / "_README.md").read_text()
    assert "`info.width > 400`" in readme and f"is {count(large)} rows" in readme
    assert len(readme.encode()) == os.stat(large / "_README.md").st_size
    folders = large / "_views" / "by" / "info.width"
    assert all(int(name) > 400 for name in os.listdir(folders))
    assert len(os.listdir(large / "_views" / "rows")) == count(large)
    assert large.stat().st_ino != sized.stat().st_ino


def test_filters_below_filters_and_directories(sized):
    both = tree(sized / "info.width > 400" / "info.height > 300")
    assert both == tree(sized / "info.width > 400 and info.height > 300")
    folder = next(name for name in os.listdir(sized) if (sized / name).is_dir())
    inside = tree(sized / folder / "info.width > 400")
    prefix = folder + "/"
    whole = tree(sized / "info.width > 400")
    assert inside == {p.removeprefix(prefix): i for p, i in whole.items() if p.startswith(prefix)}
    below = sized / folder / "info.width > 400"
    assert count(below) == len(inside)
    assert {row["path"] for row in rows(below)} == set(inside)
    assert os.path.samefile(below / "..", sized / folder)


def test_after_a_limit_a_filter_is_of_those_rows(sized):
    three = sized / "limit 3"
    assert count(three) == 3 and len(tree(three)) == 3
    assert [row["sys__id"] for row in rows(three)] == [row["sys__id"] for row in rows(sized)][:3]
    within = tree(three / "info.width > 0")
    assert within == tree(three)
    assert tree(three / "info.width < 0") == {}
    assert set(tree(sized / "limit 2 offset 1")) < set(tree(three))


def test_order_makes_one_ranked_directory(sized):
    ranked = sized / "order by info.width desc limit 5"
    names = sorted(name for name in os.listdir(ranked) if name not in HELPERS)
    widths = sorted((row["info"]["width"] for row in rows(sized)), reverse=True)[:5]
    assert [name.split("_")[0] for name in names] == ["0001", "0002", "0003", "0004", "0005"]
    found = rows(ranked)
    assert [row["path"] for row in found] == names
    assert [row["order_key"] for row in found] == [row["info"]["width"] for row in found] == widths
    whole = tree(sized)
    for name, row in zip(names, found, strict=True):
        assert (ranked / name).stat().st_ino == whole[row["file"]["path"]]
        assert name.split("_", 1)[1] == os.path.basename(row["file"]["path"])
    with pytest.raises(FileNotFoundError):
        os.stat(ranked / names[0].replace("0001_", "0002_"))
    assert count(ranked / "info.width > 0") == 5
    csv = (ranked / "_rows.csv").read_text().splitlines()
    assert csv[0].endswith('"order_key","sys__id"') and len(csv) == 6
    assert subprocess.run(["wc", "-c", ranked / "_rows.parquet"], check=True).returncode == 0


def test_every_file_column_has_its_directory(masked):
    top = set(os.listdir(masked)) - HELPERS
    assert top == {"file", "mask"}
    some = masked / 'file.stem ilike "%PUG%"'
    assert 0 < count(some) < count(masked)
    stems = {os.path.splitext(os.path.basename(p))[0] for p in tree(some / "file")}
    assert stems == {os.path.splitext(os.path.basename(p))[0] for p in tree(some / "mask")}
    assert all("pug" in stem for stem in stems)
    assert set(os.listdir(masked / "mask" / 'file.stem ilike "%PUG%"')) - HELPERS == set(
        os.listdir(some / "mask")
    )
    ranked = masked / "order by file.size limit 2"
    assert set(os.listdir(ranked)) - HELPERS == {"file", "mask"}
    assert [name[:5] for name in sorted(os.listdir(ranked / "mask"))] == ["0001_", "0002_"]
    assert rows(ranked)[0]["path"]["mask"].startswith("mask/0001_")


def test_no_row_is_an_empty_directory(sized):
    none = sized / "info.width < 0"
    assert os.listdir(none) == []
    assert count(none) == 0 and rows(none) == []


def test_shells_in_two_spellings_keep_their_places(sized):
    """Linux keeps one path per directory inode: equal filters must not share one."""
    script = """
        cd "$1/info.width > 400" || exit 1
        coproc other { cd "$1/info.width>400" && ls > /dev/null && cd "info.width > 400" && pwd && cat && pwd; }
        read -r first <&"${other[0]}"
        ls > /dev/null; ls "../info.width>400" > /dev/null; ls "info.width > 400/info.width > 400" > /dev/null
        here=$(/bin/pwd)
        eval "exec ${other[1]}>&-"
        read -r second <&"${other[0]}"
        printf '%s\\n' "$here" "$first" "$second"
    """
    done = subprocess.run(["bash", "-c", script, "-", sized], capture_output=True, text=True, timeout=60)
    here, first, second = done.stdout.splitlines()
    assert here == f"{sized}/info.width > 400", done.stderr
    assert first == second == f"{sized}/info.width>400/info.width > 400"
    assert count(sized / "info.width > 400" / "info.width > 400") == count(sized / "info.width > 400")


WRONG = ["info.widht > 400", "info.width > 'x'", "info.width = 1 and", "file.path like 3", "not info.width"]


def test_a_wrong_filter_is_einval_and_told_once(dcfs, shapes_catalog, tmp_path):
    with dcfs.mount(shapes_catalog, tmp_path / "mnt") as mount:
        version = mount.datasets / "pets_sized@1.0.0"
        for _ in range(5):
            with pytest.raises(OSError) as error:
                os.stat(version / "info.widht > 400")
            assert error.value.errno == 22
        with pytest.raises(FileNotFoundError):
            os.stat(version / "info.width >")
        log = dcfs.log()
    assert log.count("did you mean `info.width`") == 1
    assert "\n  info.widht > 400\n  ^^^^^^^^^^\n" in log


NOT_FILTERS = [".git", "a-b.jpg", "2024-01-01", "node_modules", "info.width", "year=2024", "photo (1).jpg", "Makefile"]


def test_other_names_are_not_there(sized):
    for name in NOT_FILTERS:
        with pytest.raises(FileNotFoundError):
            os.stat(sized / name)
        with pytest.raises(FileNotFoundError):
            os.stat(sized / "info.width > 400" / name)


HOSTILE = [
    "1=1; drop table datasets; --",
    '" or 1=1 --',
    "file.path = '' union select * from datasets",
    'info.width > 400"; --',
    "(" * 1000,
    "(" * 500 + "info.width > 1" + ")" * 500,
    "info.width > 1 " + "or info.width > 1 " * 200,
    "not " * 200 + "true",
    "-" * 1000 + "1 = 1",
    'file.path regexp "(a+)+$b"',
    'file.path regexp "((((a*)*)*)*)*\\1x"',
    "info.width / 0 = 1",
    "9223372036854775807 + info.width > 0",
    "info.width % 0 is null",
    "\u202e\u2066info.width > 1",
    "info.width > 1" + " " * 900,
    "x" * 1024,
    'file.path like "' + "%a" * 400 + '"',
    "limit 99999999999999999999",
    "order by " + ", ".join(["info.width"] * 70),
    "rand < 1e999 limit 9223372036854775807 offset 9223372036854775807",
]


def test_hostile_names_do_no_harm(dcfs, shapes_catalog, tmp_path):
    database = shapes_catalog / ".datachain" / "db"
    before = hashlib.sha256(database.read_bytes()).digest()
    with dcfs.mount(shapes_catalog, tmp_path / "mnt") as mount:
        version = mount.datasets / "pets_sized@1.0.0"
        for name in HOSTILE:
            try:
                os.listdir(version / name.replace("/", SLASH))
            except OSError as error:
                assert error.errno in (2, 22, 36), name
        for length in (1024, 4095, 4096):
            with pytest.raises(OSError) as error:
                os.stat(os.fsencode(version) + b"/" + b"y" * length)
            assert error.value.errno in (2, 36)
        assert count(version / "info.width > 400") > 0
    assert hashlib.sha256(database.read_bytes()).digest() == before
    assert "panic" not in dcfs.log()


def test_long_filters_end_within_a_bound(dcfs, shapes_catalog):
    for text in ["(" * 100_000, "info.width > 1" + " or info.width > 1" * 200_000, "x" * 1_000_000]:
        # An argument longer than Linux allows never comes from a shell.
        done = dcfs.run("count", "--catalog", shapes_catalog, "pets_sized", "--where", text[:120_000], timeout=20)
        assert done.returncode == 2 and len(done.stderr) < 1000


def test_a_short_name_survives_a_remount(dcfs, shapes_catalog, tmp_path):
    pattern = 'file.path glob "*pug*"'
    with dcfs.mount(shapes_catalog, tmp_path / "mnt") as mount:
        done = dcfs.run("path", "--catalog", shapes_catalog, "pets_sized", pattern)
        assert done.returncode == 0 and "pattern" in done.stderr
        short = done.stdout.strip()
        assert short.startswith(f"{mount.datasets}/pets_sized@1.0.0/_views/q/")
        want = tree(mount.datasets / "pets_sized@1.0.0" / pattern)
        assert tree(short) == want and want
        mount.unmount()
        mount.mount()
        assert tree(short) == want
        assert os.listdir(os.path.dirname(short)) == [os.path.basename(short)]
        with open(os.path.join(short, "_README.md")) as page:
            assert '`file.path glob "*pug*"`' in page.read()
        assert tree(f"{short}/info.width > 400") == tree(
            mount.datasets / "pets_sized@1.0.0" / "info.width > 400" / pattern
        )
        plain = dcfs.ok("path", "--catalog", shapes_catalog, "pets_sized", "info.width/2 > 100").strip()
        assert plain == f"{mount.datasets}/pets_sized@1.0.0/info.width{SLASH}2 > 100"
        assert os.path.isdir(plain)


def test_commands_speak_the_same_language(dcfs, shapes_catalog, sized):
    at = ["--catalog", shapes_catalog, "pets_sized"]
    large = count(sized / "info.width > 400")
    assert dcfs.ok("count", *at) == f"{count(sized)}\n"
    assert dcfs.ok("count", *at, "--where", "info.width>400") == f"{large}\n"
    counted = json.loads(dcfs.ok("count", *at, "--where", "info.width>400", "--json"))
    assert counted == {"dataset": "pets_sized@1.0.0", "filter": "info.width > 400", "rows": large}
    explained = dcfs.ok("explain", *at, "info.width>400 and file.ext=jpg").splitlines()
    assert explained[0] == 'filter   info.width > 400 and file.ext = "jpg"'
    assert explained[1] == "reads    info.width (an int), file.path (a string)"
    assert explained[2].startswith("matches  ") and explained[2].endswith("rows of pets_sized@1.0.0")
    shown = dcfs.ok("show", *at, "--where", "info.width > 400", "--json").splitlines()
    assert [json.loads(line)["sys__id"] for line in shown] == [
        row["sys__id"] for row in rows(sized / "info.width > 400")
    ]
    ranked = dcfs.ok("show", *at, "--where", "order by info.width desc", "--limit", "2", "--json").splitlines()
    assert [json.loads(line)["path"] for line in ranked] == [
        row["file"]["path"] for row in rows(sized / "order by info.width desc limit 2")
    ]
    grid = dcfs.ok("show", *at, "--where", "info.width > 400", "--limit", "1")
    assert "[1 of 9 rows]" in grid


@pytest.mark.parametrize("wrong", WRONG)
def test_commands_point_at_what_is_wrong(dcfs, shapes_catalog, wrong):
    for command in (["count", "pets_sized", "--where", wrong], ["explain", "pets_sized", wrong]):
        done = dcfs.run(*command, "--catalog", shapes_catalog)
        assert done.returncode == 2 and done.stdout == ""
        _, text, carets = done.stderr.splitlines()
        assert text == f"  {wrong}" and set(carets.strip()) == {"^"}


def test_files_are_copied_out_of_a_query(dcfs, shapes_catalog, sized, tmp_path):
    dcfs.ok("cp", "-r", "--catalog", shapes_catalog, "pets_sized/info.width > 400", tmp_path / "out")
    assert set(tree(tmp_path / "out")) == set(tree(sized / "info.width > 400"))


RECORDED = ["_README.md", "_schema.json", "_lineage.md", "_count", "_rows.jsonl", "_views/x.txt", "plain.txt"]


@pytest.mark.parametrize("lists_first", [False, True])
def test_recorded_names_win_below_a_directory(tmp_path, lists_first):
    """Files with the names of helper files, in a directory below which a filter is used: never a page of ours."""
    for name in RECORDED:
        file = tmp_path / "files" / "sub" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"recorded {name}")
    datachain_runs.run("helpers", tmp_path, str(tmp_path / "files"))
    with mounts.Dcfs(tmp_path / "home").mount(tmp_path, tmp_path / "mnt") as mount:
        sub = mount.datasets / "helpers@1.0.0" / "sub"
        below = sub / "file.size > 0"
        if lists_first:
            assert sorted(os.listdir(below)) == sorted({name.split("/")[0] for name in RECORDED})
        for name in RECORDED:
            assert (below / name).read_text() == f"recorded {name}"
        assert sorted(os.listdir(below)) == sorted({name.split("/")[0] for name in RECORDED})
        for row in rows(sub / 'file.name = "plain.txt"'):
            assert row["path"] == "plain.txt"
        assert count(sub / 'file.name = "plain.txt"') == 1
        assert (below / "_rows.csv").read_text().count("\n") == len(RECORDED) + 1
