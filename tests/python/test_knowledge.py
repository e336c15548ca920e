"""`dcfs knowledge`: pages of facts that DataChain's own knowledge skill accepts as up to date, and that lose no text of people."""

import html
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import unquote

import cmarkgfm
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import datachain
import datachain_runs
import mounts

SKILL = Path(datachain.__file__).parent / "skill" / "knowledge" / "scripts"

LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


@pytest.fixture
def catalog(shapes_catalog, tmp_path):
    """A copy of the catalog of shapes, to write beside."""
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copytree(shapes_catalog / ".datachain", folder / ".datachain")
    return folder


def change(folder, *statement):
    """Runs SQL on the catalog, as a stranger might."""
    with sqlite3.connect(folder / ".datachain" / "db") as db:
        db.execute(*statement)


def head(page):
    """The frontmatter of a page by DataChain's own reader."""
    sys.path.insert(0, str(SKILL))
    try:
        import utils
    finally:
        sys.path.remove(str(SKILL))
    return utils.read_frontmatter(str(page))


def prose(text):
    """A page without its code blocks."""
    return re.sub(r"(?ms)^(`{3,}).*?^\1\s*$", "", text)


def broken_links(pages):
    """Broken relative links below a folder."""
    broken = []
    for page in sorted(pages.rglob("*.md")):
        for target in LINK.findall(prose(page.read_text())):
            if "://" not in target and not (page.parent / unquote(target)).exists():
                broken.append((page.name, target))
    return broken


def test_only_what_changed_is_written(dcfs, catalog):
    first = json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))
    pages = catalog / "dc-knowledge"
    files = {path: path.read_bytes() for path in pages.rglob("*") if path.is_file()}
    assert {str(path.relative_to(pages)) for path in files} == {*first["written"], ".dcfs.json"}
    before = {path: path.stat().st_mtime_ns for path in files}
    again = json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))
    assert again["written"] == [] and again["unchanged"] == len(first["written"])
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert dcfs.run("knowledge", "--check", cwd=catalog).returncode == 0
    dcfs.ok("describe", "typed", "--description", "Every type there is", cwd=catalog)
    check = dcfs.run("knowledge", "--check", cwd=catalog)
    assert check.returncode == 3 and "datasets/typed.md" in check.stdout, check
    assert {path: path.stat().st_mtime_ns for path in files} == before, "a check writes nothing"
    assert json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))["written"] == ["index.md", "datasets/typed.md"]
    # Another folder, the same catalog, the same bytes.
    dcfs.ok("knowledge", "elsewhere", cwd=catalog)
    for path in pages.rglob("*"):
        if path.is_file():
            assert (catalog / "elsewhere" / path.relative_to(pages)).read_bytes() == path.read_bytes()


def test_every_link_leads_somewhere_and_every_page_is_small(dcfs, catalog):
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge"
    assert broken_links(pages) == []
    datasets = list((pages / "datasets").rglob("*.md"))
    assert len(datasets) > 20
    for page in datasets:
        assert page.stat().st_size <= 6 << 10, page
    for page in (pages / "buckets").rglob("*.md"):
        assert page.stat().st_size <= 4 << 10, page


def test_datachain_takes_the_pages_for_up_to_date(dcfs, tmp_path):
    datachain_runs.run("few", tmp_path)
    dcfs.ok("save", "few", "--where", "file.size > 1", "--as", "some", cwd=tmp_path)
    dcfs.ok("knowledge", cwd=tmp_path)

    def script(name, *arguments):
        process = datachain_runs.start(
            SKILL / name, tmp_path, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return output

    plan = tmp_path / "dc-knowledge" / ".plan.json"
    script("plan.py", "--output", str(plan))
    told = json.loads(plan.read_text())
    assert told["up_to_date"], told
    assert {one["status"] for one in told["datasets"] + told["buckets"]} == {"ok"}
    assert {one["name"] for one in told["datasets"]} == {"few", "some"}
    index = script("render_index.py", "--plan", str(plan))
    assert "[few](datasets/few.md)" in index and "9 rows" in index and "[few@1.0.0](few.md)" in index


def test_what_people_wrote_stays(dcfs, catalog):
    dcfs.ok("knowledge", cwd=catalog)
    page = catalog / "dc-knowledge" / "datasets" / "typed.md"
    told = dcfs.ok("knowledge", "note", "typed", "boxes are *wrong*\n# x", cwd=catalog)
    assert told.strip().endswith("dc-knowledge/notes/typed.md")
    said = "## Session Context\n\nWe made it to see **every** type.\n\n- one\n\n"
    text = page.read_text().replace("## Dependencies", said + "## Dependencies", 1)
    page.write_text(text)
    outcome = json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))
    assert outcome["written"] == ["datasets/typed.md"] and outcome["kept"] == []
    text = page.read_text()
    assert said in text and "boxes are \\*wrong\\* \\# x" in text
    dcfs.ok("describe", "typed", "--description", "new words", cwd=catalog)
    dcfs.ok("knowledge", cwd=catalog)
    assert said in page.read_text() and "new words" in page.read_text()
    # An edit elsewhere is kept beside the page.
    edited = page.read_text().replace("## Stats", "## My statistics")
    page.write_text(edited)
    outcome = json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))
    assert outcome["kept"] == ["datasets/typed.md.orig"]
    assert page.with_name("typed.md.orig").read_text() == edited and said in page.read_text()
    assert "## My statistics" not in page.read_text()
    page.write_text(edited)
    assert json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))["kept"] == ["datasets/typed.md.orig.2"]
    # A page of DataChain's own skill belongs to somebody else.
    page.write_text("---\nname: typed\n---\n\n# typed\n\nby a model\n")
    outcome = json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))
    assert outcome["foreign"] == ["datasets/typed.md"] and "by a model" in page.read_text()
    outcome = json.loads(dcfs.ok("knowledge", "--take-over", "--json", cwd=catalog))
    assert outcome["kept"] == ["datasets/typed.md.orig.3"] and head(page)["generator"] == "dcfs"


def test_pages_go_with_their_datasets(dcfs, catalog):
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge" / "datasets"
    numbers, partial = pages / "numbers.md", pages / "partial.md"
    partial.write_text(partial.read_text() + "\nmine\n")
    for name in ("numbers", "partial"):
        dcfs.ok("rm", f"{name}@1.0.0", "--yes", cwd=catalog)
    outcome = json.loads(dcfs.ok("knowledge", "--json", cwd=catalog))
    assert outcome["removed"] == ["datasets/numbers.md", "datasets/partial.md"]
    assert not numbers.exists() and not partial.exists()
    assert partial.with_name("partial.md.orig").read_text().endswith("\nmine\n")
    assert broken_links(catalog / "dc-knowledge") == []


def test_strangers_make_no_mark_up(dcfs, catalog):
    evil = "# Head\n\n- list [x](http://evil.example) \u202e<b> ```\n![i](x) `code` | cell | \u200b{{t}}"
    change(catalog, "update datasets set description = ? where name = 'typed'", [evil])
    change(catalog, "update datasets set attrs = ? where name = 'typed'", [json.dumps(["a]b: - c", "---"])])
    change(catalog, "update datasets_versions set query_script = '```\n# not a heading\n````\n'")
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge"
    for path in [pages / "index.md", pages / "datasets" / "typed.md"]:
        text = path.read_text()
        assert "\u202e" not in text and "\u200b" not in text
        outside = prose(text)
        assert not [target for target in LINK.findall(outside) if "://" in target or target == "x"], outside
        headings = [line for line in outside.splitlines() if re.match(r"#+ ", line)]
        assert not any("Head" in line or "not a heading" in line for line in headings), headings
        assert not any(line.startswith("- list") for line in outside.splitlines())
    assert head(pages / "datasets" / "typed.md")["name"] == "typed"
    found = json.loads(dcfs.ok("knowledge", "search", "evil", "--json", cwd=catalog))
    assert found[0]["path"] == "datasets/typed.md"


def test_github_renders_what_is_meant(dcfs, catalog):
    """By cmark-gfm, with which GitHub renders."""
    evil = "# Head\n\n- list [x](http://evil.example) <img src=x> ```\n| cell | ~~gone~~ www.evil.example a@evil.example"
    change(catalog, "update datasets set description = ? where name = 'typed'", [evil])
    change(catalog, "update datasets_versions set query_script = '```\n# not a heading\n````\n<script>x</script>'")
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge"
    for path in pages.rglob("*.md"):
        body = re.sub(r"(?s)\A---\n.*?\n---\n", "", path.read_text())
        html = cmarkgfm.github_flavored_markdown_to_html(body)
        assert not re.search(r"<(img|script|del)\b", html), path
        for address in re.findall(r'(?:href|src)="([^"]*)"', html):
            assert "://" not in address and not address.startswith("mailto:"), (path, address)
            assert (path.parent / unquote(address)).exists(), (path, address)
        headings = re.findall(r"<h\d>(.*?)</h\d>", html)
        assert headings and not any("Head" in one or "not a heading" in one for one in headings), (path, headings)
    index = cmarkgfm.github_flavored_markdown_to_html((pages / "index.md").read_text().split("---\n", 2)[2])
    assert index.count("<table>") == 2 and index.count("<tr>") > 20
    page = cmarkgfm.github_flavored_markdown_to_html((pages / "datasets" / "typed.md").read_text().split("---\n", 2)[2])
    assert "<table>" in page and page.count("<pre") >= 3


def test_obsidian_finds_properties_and_links(dcfs, catalog):
    """By obsidiantools, which reads a vault as Obsidian does."""
    from obsidiantools.api import Vault

    dcfs.ok("knowledge", cwd=catalog)
    (catalog / "dc-knowledge" / "docs").mkdir()
    (catalog / "dc-knowledge" / "docs" / "mine.md").write_text("See [[typed]].\n")
    vault = Vault(catalog / "dc-knowledge").connect().gather()
    assert vault.get_backlinks("typed"), "a link by name finds the page"
    properties = vault.get_front_matter("typed")
    assert properties["generator"] == "dcfs" and properties["aliases"] == ["typed"] and properties["tags"][0] == "dataset"
    linked = 0
    for name in vault.md_file_index:
        links = vault.get_md_links(name)
        for link in links:
            page = catalog / "dc-knowledge" / vault.md_file_index[name]
            assert (page.parent / unquote(link)).exists(), (name, link)
            linked += 1
        for other in [*(vault.get_front_matter(name) or {}).get("parents", []), *(vault.get_front_matter(name) or {}).get("children", [])]:
            target = re.fullmatch(r"\[\[(.+)\]\]", other)
            assert target, other
    assert linked > 20


NAMES = ["a b", "x[y](z)", "p|q", "\u202egnp", "it's", 'say "so"', "`tick`", "CON", "caf\u00e9", "%2F", "#1", "<b>", "a.b.c", "..x", "index-a", "z" * 200, "new\nline", "tab\there"]


@pytest.mark.parametrize("seed", range(3))
def test_links_of_random_catalogs_lead_somewhere(dcfs, catalog, seed):
    """Datasets of names that hurt, edges between any of them, documents that name them."""
    draw = random.Random(seed)
    with sqlite3.connect(catalog / ".datachain" / "db") as db:
        ids = [row[0] for row in db.execute("SELECT id FROM datasets WHERE name NOT LIKE 'lst__%'")]
        for id, name in zip(ids, draw.sample(NAMES, len(NAMES))):
            db.execute("UPDATE OR IGNORE datasets SET name = ? WHERE id = ?", (name, id))
        versions = db.execute("SELECT dataset_id, id FROM datasets_versions").fetchall()
        for _ in range(60):
            (child, of), (parent, source) = draw.choice(versions), draw.choice(versions)
            edge = "INSERT INTO datasets_dependencies (source_dataset_id, source_dataset_version_id, dataset_id, dataset_version_id) VALUES (?, ?, ?, ?)"
            db.execute(edge, (child, of, parent, source))
    documents = catalog / "dc-knowledge" / "docs"
    documents.mkdir(parents=True)
    for name in ["a b (c)", "x]y", "\u202egnp", "#1 %20"]:
        (documents / f"{name}.md").write_text("\n".join(NAMES))
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge"
    broken = []
    for page in sorted({*pages.rglob("*.md")} - {*documents.iterdir()}):
        body = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(), flags=re.S)
        targets = re.findall(r'<a href="([^"]*)"', cmarkgfm.github_flavored_markdown_to_html(body))
        broken += [(page.name, target) for target in targets if not (page.parent / unquote(html.unescape(target))).exists()]
    assert broken == []
    assert any("../docs/" in page.read_text() for page in (pages / "datasets").rglob("*.md"))
    assert ": 0 written" in dcfs.ok("knowledge", cwd=catalog), "nothing moved"
    (documents / "x]y.md").write_text("of none of them")
    assert ": 0 written" not in dcfs.ok("knowledge", cwd=catalog), "a link is gone"


@pytest.mark.mount
def test_a_listing_tells_how_files_begin(dcfs, tmp_path):
    files = tmp_path / "files" / "a b"
    files.mkdir(parents=True)
    (files / "t.csv").write_text("id,`name`\n1,x\n")
    (files / "t.jsonl").write_text('{"a": 1}\n')
    (files / "bare").write_bytes(b"\0\1")
    Image.new("RGB", (31, 17)).save(files / "p.png")
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2, 3], "a`b\n# c": ["x", None, "z"]}), files / "t.parquet")
    (files / "u.pq").write_bytes(b"PAR1" + b"\x15\x04" * 20 + (40).to_bytes(4, "little") + b"PAR1")
    dcfs.ok("index", "files", "--save", "some", cwd=tmp_path)
    dcfs.ok("knowledge", cwd=tmp_path)
    (page,) = (tmp_path / "dc-knowledge" / "buckets").rglob("*.md")
    text = page.read_text()
    assert "`a b/p.png`" in text and ": `PNG, 31 x 17`" in text and ": `{\"a\": 1}`" in text and "id,`name`" in text
    assert "Parquet, 3 rows: id, a`b\\n# c" in text and "`a b/u.pq`, 52 B\n" in text, text
    assert "6 files with a space in the path" in text and "1 file without an extension" in text and "p10" in text
    assert page.stat().st_size <= 4 << 10
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        assert next((mount.path / "knowledge" / "buckets").rglob("*.md")).read_text() == text, "a mount looks into them as well"
    (files / "t.csv").unlink()
    assert dcfs.run("knowledge", "--check", cwd=tmp_path).returncode == 0, "nothing is read for a check"
    dcfs.ok("knowledge", "bare", "--no-samples", cwd=tmp_path)
    assert "PNG" not in next((tmp_path / "bare" / "buckets").rglob("*.md")).read_text()


def test_what_is_behind_a_link_is_not_read(dcfs, catalog, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "typed.md").write_text("- zorgle\n\n## Session Context\n\nzorgle\n")
    (secret / "2026-11.md").write_text("- 2026-11-01 10:00:00 all: zorgle (by x)\n")
    pages = catalog / "dc-knowledge"
    pages.mkdir()
    for name in ["notes", "docs", "memory"]:
        (pages / name).symlink_to(secret)
    dcfs.ok("knowledge", cwd=catalog)
    assert "zorgle" not in (pages / "datasets" / "typed.md").read_text()
    assert dcfs.run("knowledge", "search", "zorgle", cwd=catalog).returncode == 1
    assert "zorgle" not in dcfs.run("remember", cwd=catalog).stdout


@pytest.mark.mount
def test_usage_and_runs_are_told_in_a_mount_and_in_sql(dcfs, catalog, tmp_path):
    asked = lambda: json.loads(dcfs.ok("sql", "select * from catalog.usage order by dataset, how", "--format", "json", cwd=catalog))  # noqa: E731
    off = dcfs.environment | {"DCFS_USAGE": "off"}
    command = [mounts.DCFS, "count", "typed", "--where", "i > 1"]
    done = subprocess.run(command, cwd=catalog, env=off, capture_output=True, text=True)
    assert asked() == [], done.stderr
    dcfs.run("count", "pets_sized", "--where", "info.width > 12345", cwd=catalog)
    statement = "select count(*) from pets_sized p join pets_large l on p.file.path = l.file.path where p.info.width > 54321"
    dcfs.ok("sql", statement, cwd=catalog)
    found = {(row["dataset"], row["how"]): row for row in asked()}
    assert found["pets_sized", "filtered"]["columns"] == "info.width" and found["pets_sized", "filtered"]["times"] == 1
    assert found["pets_sized", "sql"]["joined"] == "pets_large" and found["pets_large", "sql"]["joined_on"] == "file.path"
    runs = json.loads(dcfs.ok("sql", "select * from catalog.runs", "--format", "json", cwd=catalog))
    assert runs == []
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        os.listdir(mount.datasets / "pets_sized@1.0.0" / "info.height > 98765")
        page = mount.path / "knowledge" / "usage.md"
        text = page.read_text()
        assert "`pets_sized@1.0.0` filtered by `info.height`: 1 time" in text and page.stat().st_size == len(text.encode())
        assert not re.search("12345|54321|98765", text), "no value is noted"
        assert "No runs" in (mount.path / "knowledge" / "runs.md").read_text()
    assert not [path for path in (catalog / ".datachain").rglob("*usage*")], "it is not in the catalog"


def test_words_are_found(dcfs, catalog):
    dcfs.ok("knowledge", cwd=catalog)
    docs = catalog / "dc-knowledge" / "docs" / "team"
    docs.mkdir(parents=True)
    (docs / "glossary.md").write_text("# Glossary\n\nA zorgle is a mislabelled pug.\n")
    paths = lambda *words: [  # noqa: E731
        hit["path"] for hit in json.loads(dcfs.ok("knowledge", "search", *words, "--json", cwd=catalog))
    ]
    assert paths("zorgle") == ["docs/team/glossary.md"]
    assert paths("pets_sized")[0] == "datasets/pets_sized.md"
    assert "datasets/pets_large.md" in paths("info.width"), "columns"
    nothing = dcfs.run("knowledge", "search", "qqqqqq", cwd=catalog)
    assert nothing.returncode == 1 and "no page has any of these words" in nothing.stderr
    wrong = dcfs.run("knowledge", "note", "type", "x", cwd=catalog)
    assert wrong.returncode == 1 and "typed" in wrong.stderr


def test_a_wide_dataset_with_many_versions_and_a_long_script_fits(dcfs, tmp_path):
    columns = [f"column_with_a_long_name_{n}" for n in range(1000)]
    (tmp_path / "x.csv").write_text(",".join(columns) + "\n" + ",".join(["1.5"] * 1000) + "\n")
    dcfs.ok("load", "x.csv", "--as", "wide", cwd=tmp_path)
    for _ in range(49):
        dcfs.ok("save", "wide", "--as", "wide", cwd=tmp_path)
    script = "print('x')  # ``` é\n" * 50_000
    with sqlite3.connect(tmp_path / ".datachain" / "db") as db:
        for number, (version,) in enumerate(db.execute("select id from datasets_versions").fetchall()):
            db.execute("update datasets_versions set query_script = ? where id = ?", [f"# {number}\n{script}", version])
    dcfs.ok("describe", "wide", "--description", "long " * 2000, cwd=tmp_path)
    dcfs.ok("knowledge", cwd=tmp_path)
    page = tmp_path / "dc-knowledge" / "datasets" / "wide.md"
    assert page.stat().st_size <= 6 << 10
    text = page.read_text()
    assert "30 versions before." in text and "columns more" in text and "sha256" in text
    assert head(page)["known_versions"].count(",") == 49
    index = (tmp_path / "dc-knowledge" / "index.md").read_text()
    assert max(len(line.encode()) for line in index.splitlines()) <= 120


def test_one_damaged_dataset_takes_no_page_from_the_others(dcfs, catalog):
    with sqlite3.connect(catalog / ".datachain" / "db") as db:
        (table,) = db.execute("select name from sqlite_schema where name like 'ds_local_local_numbers_%'").fetchone()
        db.execute(f'drop table "{table}"')
    done = dcfs.run("knowledge", cwd=catalog)
    assert done.returncode == 0, done.stderr
    pages = catalog / "dc-knowledge" / "datasets"
    assert "cannot be read" in (pages / "numbers.md").read_text()
    assert "## Preview" in (pages / "typed.md").read_text()


@pytest.mark.parametrize("script", ["`" * (1 << 20), "``` \n" * 200_000, "[" * (1 << 20), "a" * (1 << 20), "\n" * (1 << 20), "\u202e" * (1 << 19)])
def test_a_script_that_is_made_to_take_long_does_not(dcfs, catalog, script):
    before = cpu(dcfs, catalog)
    change(catalog, "update datasets_versions set query_script = ?", [script])
    assert cpu(dcfs, catalog) < 20 * before + 20, "work that grows by the square of a script would take minutes"
    for page in (catalog / "dc-knowledge" / "datasets").rglob("*.md"):
        assert page.stat().st_size <= 6 << 10, page


def cpu(dcfs, catalog):
    """CPU seconds to generate the pages of the whole catalog."""
    before = os.times()
    shutil.rmtree(catalog / "dc-knowledge", ignore_errors=True)
    dcfs.ok("knowledge", cwd=catalog)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_hundreds_that_are_each_others_parents_and_equal_edges_end(dcfs, tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    dcfs.ok("load", "x.csv", "--as", "d0", cwd=tmp_path)
    with sqlite3.connect(tmp_path / ".datachain" / "db") as db:
        names = lambda table: [row[1] for row in db.execute(f"pragma table_info({table})")]  # noqa: E731
        ((dataset,), (version,)) = (db.execute(f"select id from {table}").fetchone() for table in ("datasets", "datasets_versions"))
        ((table,),) = db.execute("select name from sqlite_schema where name like 'ds_local_local_d0_%' and type = 'table'").fetchall()
        for n in range(1, 300):
            db.execute(f'create table "ds_local_local_d{n}_1_0_0" as select * from "{table}"')
            for of, old, change_of in [
                ("datasets", dataset, {"id": dataset + n, "name": f"'d{n}'", "uuid": f"'{uuid.uuid4()}'"}),
                ("datasets_versions", version, {"id": version + n, "dataset_id": dataset + n, "uuid": f"'{uuid.uuid4()}'"}),
            ]:
                columns = names(of)
                taken = ", ".join(str(change_of.get(name, f'"{name}"')) for name in columns)
                db.execute(f"insert into {of} ({', '.join(columns)}) select {taken} from {of} where id = ?", [old])
        every = [(version + a, version + b, dataset + a, dataset + b) for a in range(300) for b in range(300) if a != b]
        equal = [(version, version + 1, dataset, dataset + 1)] * 300_000
        db.executemany(
            "insert into datasets_dependencies (source_dataset_version_id, dataset_version_id, source_dataset_id, dataset_id) values (?, ?, ?, ?)",
            every + equal,
        )
    dcfs.ok("knowledge", cwd=tmp_path)
    pages = tmp_path / "dc-knowledge"
    datasets = list((pages / "datasets").glob("d*.md"))
    assert len(datasets) == 300 and broken_links(pages) == []
    assert max(page.stat().st_size for page in datasets) <= 6 << 10
    lines = (pages / "index.md").read_text().splitlines()
    assert max(len(line.encode()) for line in lines) <= 120 and "datasets: 300" in lines
    text = (pages / "datasets" / "d0.md").read_text()
    assert "more" in text and head(pages / "datasets" / "d0.md")["parents"].count("[[") == 10


def test_many_that_are_each_others_parents_end(dcfs, catalog):
    with sqlite3.connect(catalog / ".datachain" / "db") as db:
        versions = [id for (id,) in db.execute("select id from datasets_versions")]
        pairs = [(one, other) for one in versions for other in versions] * 30
        columns = "source_dataset_version_id, dataset_version_id, source_dataset_id, dataset_id"
        of = dict(db.execute("select id, dataset_id from datasets_versions"))
        rows = [(one, other, of[one], of[other]) for one, other in pairs]
        db.executemany(f"insert into datasets_dependencies ({columns}) values (?, ?, ?, ?)", rows)
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge"
    assert broken_links(pages) == []
    assert max(page.stat().st_size for page in pages.rglob("*.md")) <= 6 << 10
    assert "more" in (pages / "datasets" / "typed.md").read_text()


def test_every_line_to_paste_runs(dcfs, catalog):
    (catalog / "x.jsonl").write_text('{"emb": []}\n{"emb": [0.5, 1]}\n')
    dcfs.ok("load", "x.jsonl", "--as", "vectors", cwd=catalog)
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge" / "datasets"
    page = (pages / "typed.md").read_text() + (pages / "vectors.md").read_text()
    assert "cosine_distance(emb, row(2))" in page
    (lines, more) = re.findall(r"(?ms)^## Use\n\n```sh\n(.*?)^```", page)
    commands = [line for line in (lines + more).splitlines() if line.startswith("dcfs ")]
    assert len(commands) >= 6
    environment = dcfs.environment | {"PATH": f"{mounts.DCFS.parent}:{dcfs.environment['PATH']}"}
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=catalog, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.mount
def test_a_mount_has_the_same_pages(dcfs, catalog, tmp_path):
    dcfs.ok("describe", "typed", "--description", "# Every\n\n[type](http://x) there \u202eis", cwd=catalog)
    dcfs.ok("knowledge", cwd=catalog)
    pages = catalog / "dc-knowledge"
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        top = mount.path / "knowledge"
        written = sorted(str(path.relative_to(pages)) for path in pages.rglob("*") if path.is_file())
        written.remove(".dcfs.json")
        here = sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
        assert here == sorted([*written, "runs.md", "usage.md"]), "and two of this machine alone"
        for path in written:
            text = (pages / path).read_bytes()
            assert (top / path).read_bytes() == text and (top / path).stat().st_size == len(text), path
        assert broken_links(top) == []
        assert not (top / "datasets" / "none.md").exists() and not (top / "index.md" / "x").exists()
        with pytest.raises(OSError):
            (top / "mine.md").write_text("x")
        readme = (mount.path / "README.md").read_text()
        assert len(readme.encode()) <= 2 << 10 and "`a/b@1.0.0`: 2 rows, 2 columns, from" in readme
        assert not LINK.findall(readme) and "\u202e" not in readme
        named = re.findall(r"`datasets/([^`]+)/`", readme)
        assert named and all((mount.datasets / name).exists() for name in named), "no name that is not there"
        agents = (mount.path / "AGENTS.md").read_text()
        assert "knowledge/index.md" in agents and "not instructions" in agents
        # Descriptions and new versions show within a second, and so does people's text.
        dcfs.ok("knowledge", "note", "typed", "a new note", cwd=catalog)
        dcfs.ok("save", "numbers", "--where", "scores > 1", "--as", "more_numbers", cwd=catalog)
        eventually(lambda: "a new note" in (top / "datasets" / "typed.md").read_text())
        eventually(lambda: "more_numbers" in (top / "index.md").read_text())
        lineage = mount.datasets / "numbers@1.0.0" / "_lineage.md"
        assert "## Used by\n\n- [more\\_numbers@1.0.0](../more_numbers@1.0.0/_lineage.md)\n" in lineage.read_text()


def eventually(is_true):
    """Waits some seconds for something that should show within one."""
    end = time.monotonic() + 8
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.1)
