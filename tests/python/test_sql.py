"""`dcfs sql`: a SELECT over datasets, printed, or saved as a version that DataChain reads."""

import csv
import errno
import io
import json
import os
import pty
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pyarrow.ipc
import pyarrow.parquet
import pytest

import datachain_runs
import mounts


@pytest.fixture(scope="module")
def sql(shapes_catalog, tmp_path_factory):
    """Runs `dcfs sql ARGUMENTS` in the catalog of shapes."""
    dcfs = mounts.Dcfs(tmp_path_factory.mktemp("sql") / "home")

    def run(*arguments, cwd=shapes_catalog, **options):
        return dcfs.run("sql", *arguments, cwd=cwd, **options)

    run.dcfs = dcfs
    run.ok = lambda *arguments, cwd=shapes_catalog: dcfs.ok("sql", *arguments, cwd=cwd)
    run.rows = lambda *arguments: [json.loads(line) for line in run.ok(*arguments, "--json").splitlines()]
    return run


@pytest.fixture
def writable(shapes_catalog, tmp_path):
    """A copy of the catalog of shapes, to save into."""
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copytree(shapes_catalog / ".datachain", folder / ".datachain")
    return folder


def test_groups_are_those_of_sqlite(sql, shapes_catalog):
    found = sql.rows("select file.parent as breed, count(*) n, avg(info.width) w from pets_sized group by file.parent order by breed")
    with sqlite3.connect(shapes_catalog / ".datachain" / "db") as db:
        (table,) = db.execute("select name from sqlite_schema where name like 'ds_%pets_sized%'").fetchone()
        paths = db.execute(f'select file__path, info__width from "{table}"').fetchall()
    breeds = {}
    for path, width in paths:
        breeds.setdefault(path.rsplit("/", 1)[0], []).append(width)
    assert found == [{"breed": breed, "n": len(of), "w": sum(of) / len(of)} for breed, of in sorted(breeds.items())]


def test_group_by_all_and_exclude(sql):
    same = "select file.parent, count(*) n from pets_sized group by file.parent order by 1"
    assert sql.ok(same) == sql.ok(same.replace("group by file.parent", "group by all"))
    assert list(sql.rows("select * exclude (file) from pets_sized limit 1")[0]) == ["info"]


def test_a_model_is_whole_and_a_column_is_dotted(sql):
    (row,) = sql.rows("select p.info, p.file.stem s, p.info.width from pets_sized p where file.stem = 'pug_5'")
    assert row == {"info": {"width": 520, "height": 260}, "s": "pug_5", "info.width": 520}


def test_formats_say_the_same(sql, tmp_path):
    text = "select file.path, info.width from pets_sized order by 1"
    rows = sql.rows(text)
    assert json.loads(sql.ok(text, "--format", "json")) == rows
    told = list(csv.DictReader(io.StringIO(sql.ok(text, "--format", "csv"))))
    assert [row["info.width"] for row in told] == [str(row["info.width"]) for row in rows]
    lines = sql.ok(text).splitlines()
    assert len(lines) == 2 + len(rows) and lines[0].split() == ["file.path", "info.width"] or lines[1:]
    file = tmp_path / "x.csv"
    sql.ok(text, "-o", file)
    assert file.read_text() == sql.ok(text, "--format", "csv")
    assert sql(text, "-o", file).returncode == 2, "nobody's file is lost unasked"
    assert sql("-", "--json", input=text).stdout == sql.ok(text, "--json")


def test_columns_are_typed_in_parquet_and_arrow(sql, tmp_path):
    text = "select p.file, p.info, m.mask.path as mask, p.info.width / 2 half, count(*) over () n from pets_sized p left join pets_masked m on p.file.path = m.file.path order by p.file.path"
    rows = sql.rows(text)
    for name in ("x.parquet", "x.arrow"):
        sql.ok(text, "-o", tmp_path / name)
    parquet, arrow = pyarrow.parquet.read_table(tmp_path / "x.parquet"), pyarrow.ipc.open_file(tmp_path / "x.arrow").read_all()
    assert parquet.to_pylist() == arrow.to_pylist() and len(rows) == arrow.num_rows == 18
    for row, record in zip(rows, arrow.to_pylist()):
        assert (record["info"], record["mask"], record["half"], record["n"]) == (row["info"], row["mask"], row["half"], 18)
        assert record["file"]["path"] == row["file"]["path"]
    assert str(arrow.schema.field("half").type) == "double" and pyarrow.types.is_struct(arrow.schema.field("file").type)
    sql.ok("select * from typed", "-o", tmp_path / "typed.arrow")
    assert pyarrow.ipc.open_file(tmp_path / "typed.arrow").read_all().num_rows == 18
    sql.ok("select file.path from pets_sized where 1 = 0", "-o", tmp_path / "none.arrow")
    assert pyarrow.ipc.open_file(tmp_path / "none.arrow").read_all().num_rows == 0


def test_listings_are_tables(sql, tmp_path):
    (tmp_path / "files").mkdir()
    for number in range(3):
        (tmp_path / "files" / f"{number}.txt").write_text("x" * number)
    sql.dcfs.ok("index", tmp_path / "files", "--save", "texts", cwd=tmp_path)
    address = (tmp_path / "files").as_uri()
    count = f"select count(*) n, sum(file.size) s from listing('{address}/')"
    assert json.loads(sql.ok(count, "--json", cwd=tmp_path)) == {"n": 3, "s": 3}
    assert json.loads(sql.ok(f"select l.file.name x from listing('{address}') l where l.file.size = 2", "--json", cwd=tmp_path)) == {"x": "2.txt"}
    missing = sql("select * from listing('s3://nothing/')", cwd=tmp_path)
    assert missing.returncode == 1 and "no listing of `s3://nothing/`; there are file://" in missing.stderr
    below = sql(f"select * from listing('{address}/a/b/')", cwd=tmp_path)
    assert below.returncode == 1 and f"`listing('{address}/')` holds it" in below.stderr


def test_joins_pair_rows(sql):
    text = "select p.file.path, m.mask.path as mask from pets_sized p left join pets_masked m on p.file.path = m.file.path"
    rows = sql.rows(text)
    assert len(rows) == 18
    masks = [row["mask"] for row in rows if row["mask"]]
    assert len(masks) == 9 and all(row["mask"] in (None, row["file.path"].replace(".jpg", ".png")) for row in rows)
    assert sql.rows(text.replace("left join", "join").replace("select", "select count(*) n,"))[0]["n"] == 9
    assert len(sql.rows("select 1 x from pets_sized where file.path in (select file.path from pets_masked)")) == 9


def test_filters_and_sql_mean_the_same(sql, shapes_catalog):
    for condition in [
        "info.width > 300 and file.parent = 'pug'",
        "file.path like '%PUG%'",
        "file.path ilike '%PUG%'",
        "file.path glob 'pug/*'",
        "file.path regexp '_[0-3]'",
        "info.width / 7 > 50.5",
        "file.ext in ('jpg', 'png') and not info.height between 250 and 270",
    ]:
        (row,) = sql.rows(f"select count(*) n from pets_sized where {condition}")
        counted = sql.dcfs.ok("count", "pets_sized", "--where", condition, cwd=shapes_catalog)
        assert row["n"] == int(counted), condition
    assert sql.rows("select vector[0] v, facts.deep.text t from typed limit 1")[0]["t"] == 'quote " and | pipe'


NUMBERS = ["info.width", "info.height", "sys__id", "file.size"]
KEYS = [*NUMBERS[:2], "file.parent", "file.ext", "file.stem", "file.is_latest", "file.last_modified"]
CONDITIONS = [
    "info.width > {n}", "info.width <= {n} or info.height = 280", "file.parent = 'pug'", "file.stem like '%_2'", "file.parent in ('pug', 'beagle')",
    "not info.height between 250 and {n}", "file.version is not null", "file.path glob 'b*'", "info.width / 2 > {n} - 100", "1 = 0", "file.size % 2 = 0",
]


def test_kernels_and_sqlite_agree(sql):
    """Random groups, by the kernels and by SQLite alone."""
    draw = random.Random(17)
    by_kernels = 0
    for _ in range(60):
        keys = draw.sample(KEYS, draw.randint(0, 2))
        folds = [draw.choice([f"{of}({draw.choice(NUMBERS)})" for of in ("sum", "avg", "min", "max", "count")]) for _ in range(draw.randint(1, 3))]
        folds += draw.choice([[], ["count(*) as n"], ["max(file.stem)"], ["round(avg(info.width) / (count(*) + 1), 3) as r"]])
        text = "select " + ", ".join([*keys, *folds]) + " from pets_sized"
        if draw.random() < 0.6:
            text += " where " + draw.choice(CONDITIONS).format(n=draw.choice([260, 300, 400]))
        if keys:
            text += draw.choice([" group by all", " group by " + ", ".join(keys), " group by " + ", ".join(map(str, range(1, len(keys) + 1)))])
            if draw.random() < 0.3:
                text += " having count(*) > 1"
        if draw.random() < 0.4:
            text += " order by " + draw.choice([f"{folds[0].split(' as ')[0]} desc", "1"]) + ", " + str(len(keys) + 1)
        by_kernels += "kernels over" in sql.ok(text, "--explain")
        kernels, sqlite = sql.ok(text, "--json").splitlines(), sql.ok(text, "--json", "--sqlite").splitlines()
        if "order by" in text:
            kernels, sqlite = sorted(kernels), sorted(sqlite)
        assert kernels == sqlite, text
    assert by_kernels > 40


def test_joins_by_kernels_and_by_sqlite_agree(sql):
    draw = random.Random(18)
    of_a, of_b = ["a.info.width", "a.file.parent", "a.file.stem", "a.file.size"], ["b.info.height", "b.mask.path", "b.mask.ext", "b.stem"]
    kinds = set()
    for _ in range(30):
        on = draw.sample(["a.file.path = b.file.path", "b.file.parent = a.file.parent", "a.info.width = b.info.width", "a.file.stem == b.stem"], draw.randint(1, 2))
        keys = draw.sample(of_a + of_b, draw.randint(0, 2))
        folds = [f"{of}({draw.choice(['a.info.height', 'b.info.width', 'b.file.size'])})" for of in draw.sample(["sum", "avg", "min", "max", "count"], 2)]
        conditions = draw.sample(["a.info.width > 360", "b.file.parent <> 'pug'", "a.info.height between 250 and 290", "b.mask.path like 'p%'"], draw.randint(0, 2))
        kind = draw.choice(["", "left ", "left outer ", "right ", "full ", "semi ", "anti "])
        if kind in ("semi ", "anti "):
            # The second table is only tested.
            keys, folds = [key for key in keys if key in of_a], [fold for fold in folds if "(a." in fold]
        whole = {"": "ab", "right ": "b", "full ": ""}.get(kind, "a")
        conditions = [condition for condition in conditions if condition[0] in whole]
        if kind in ("", "left ", "semi ", "anti ") and draw.random() < 0.5:
            on.append("b.file.stem like '%_2'")
        text = f"select {', '.join([*keys, *folds, 'count(*) n'])} from pets_sized a {kind}join pets_masked b on {' and '.join(on)}"
        if conditions:
            text += " where " + " and ".join(conditions)
        if keys:
            text += " group by " + ", ".join(keys)
        assert f"kernels {kind.replace('outer ', '')}join" in sql.ok(text, "--explain"), text
        kinds.add(kind)
        assert sql.ok(text, "--json") == sql.ok(text, "--json", "--sqlite"), text
    assert len(kinds) == 7


def test_semi_and_anti_joins_keep_the_rows_of_the_first_table(sql):
    test = "select file.path p from pets_sized a {} join pets_masked b on a.file.path = b.file.path and b.info.width > 360 where a.info.height < 290 order by 1"
    with_a_mask, without = sql.rows(test.format("semi")), sql.rows(test.format("anti"))
    among = "select file.path p from pets_sized a where a.info.height < 290 and {} a.file.path in (select b.file.path from pets_masked b where b.info.width > 360) order by 1"
    assert with_a_mask == sql.rows(among.format("")) and without == sql.rows(among.format("not")) and with_a_mask and without
    twice = test.replace(" where", " anti join pets_sized c on c.file.path = a.file.path and c.file.parent = 'pug' where")
    assert sql.rows(twice.format("semi")) == [row for row in with_a_mask if not row["p"].startswith("pug/")]
    assert list(sql.rows("select * exclude (file) from pets_sized a semi join pets_masked b on a.file.path = b.file.path limit 1")[0]) == ["info"]


def test_the_nearest_rows_of_another_dataset(sql, tmp_path):
    draw = random.Random(19)
    rows = [[round(draw.uniform(-1, 1), 3) for _ in range(5)] for _ in range(60)]
    for name, of in (("pets", rows), ("queries", rows[:7])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"n": n, "emb": emb}) + "\n" for n, emb in enumerate(of)))
        sql.dcfs.ok("load", tmp_path / f"{name}.jsonl", "--as", name, cwd=tmp_path)
    text = "select q.n q, p.n p, {}_distance(q.emb, p.emb) d from queries q join pets p on nearest(q.emb, p.emb, 4, '{}') order by q.n, d, p.n"
    for metric in ("cosine", "euclidean"):
        found = [json.loads(line) for line in sql.ok(text.format(metric, metric), "--json", cwd=tmp_path).splitlines()]
        ranked = f"select q, p, d from (select q.n q, p.n p, {metric}_distance(q.emb, p.emb) d, row_number() over (partition by q.n order by {metric}_distance(q.emb, p.emb), p.n) r from queries q, pets p) where r <= 4 order by q, d, p"
        assert found == [json.loads(line) for line in sql.ok(ranked, "--json", cwd=tmp_path).splitlines()] and len(found) == 28
    assert "kernels find the 4 nearest rows by p.emb for each row of q" in sql.ok(text.format("cosine", "cosine"), "--explain", cwd=tmp_path)


def test_more_aggregates(sql):
    (row,) = sql.rows(
        "select median(info.width) m, quantile(info.width, 0.0) q, stddev_pop(info.width) s, count_distinct(file.parent) d, "
        "mode(file.parent) o, any_value(file.ext) a from pets_sized"
    )
    widths = [row["info.width"] for row in sql.rows("select info.width from pets_sized")]
    mean = sum(widths) / len(widths)
    assert row["m"] == sorted(widths)[8] / 2 + sorted(widths)[9] / 2 and row["q"] == min(widths)
    assert row["s"] == pytest.approx((sum((w - mean) ** 2 for w in widths) / len(widths)) ** 0.5)
    assert (row["d"], row["o"], row["a"]) == (3, "beagle", "jpg")


def test_the_catalog_has_tables_of_its_own(sql):
    names = {row["name"]: row for row in sql.rows("select * from catalog.datasets")}
    assert names["pets_sized"]["rows"] == 18 and names["growing"]["versions"] == 3
    score = {"dataset": "typed", "version": "1.0.0", "name": "score", "type": "float"}
    score |= {"description": None, "owner": None, "caveat": None}
    assert score in sql.rows("select * from catalog.columns")
    assert sql.rows("select count(*) n from catalog.versions where dataset = 'growing'") == [{"n": 3}]


@pytest.mark.parametrize(
    "text, code, message",
    [
        ("select info.widht from pets_sized", 2, "did you mean `info.width`"),
        ("select width from pets_sized", 2, "did you mean `info.width`"),
        ("select * from pets_sizd", 1, "did you mean `pets_sized`"),
        ("select * from pets_sized@9.0.0", 1, "9.0.0"),
        ("select file.path from pets_sized where file.parent = \"pug\"", 2, "single quotes"),
        ("select count(info) from pets_sized", 2, "is a model"),
        ("select file.path from pets_sized a, pets_sized b", 2, "`a.file.path` or `b.file.path`"),
        ("select nosuch(1)", 2, "no such function: nosuch"),
        ("select 1 from pets_sized where", 2, "ends too early"),
        ("select 1 from pets_sized having where", 2, "cannot continue like this"),
        ("select 'a", 2, "the quote does not end"),
        ("", 2, "expected a statement"),
        ("select * from catalog.nothing", 1, "catalog.datasets"),
    ],
)
def test_what_is_wrong_is_told(sql, text, code, message):
    result = sql(text)
    assert message in result.stderr and result.returncode == code, result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "text",
    [
        "drop table pets_sized",
        "select 1; drop table pets_sized",
        "attach 'x' as y",
        "pragma journal_mode = delete",
        "select load_extension('x')",
        "select * from pragma_database_list",
        "with x as (select 1) delete from \"dcfs table 0\"",
        "insert into pets_sized values (1)",
        "create table x(y)",
        "vacuum into 'x'",
        "select ?",
    ],
)
def test_nothing_but_select_runs(sql, shapes_catalog, text):
    before = (shapes_catalog / ".datachain" / "db").read_bytes()
    assert sql(text).returncode in (1, 2)
    assert (shapes_catalog / ".datachain" / "db").read_bytes() == before


def test_time_memory_and_length_are_bounded(sql, shapes_catalog):
    endless = "with recursive x(n) as (select 1 union all select n + 1 from x) select count(*) from x"
    started = time.monotonic()
    result = sql(endless, "--timeout", "1s")
    assert result.returncode == 2 and "--timeout" in result.stderr and time.monotonic() - started < 10
    million = "with recursive x(n) as (select 1 union all select n + 1 from x limit 1000000) select count(*) from x a, x b where a.n * b.n = 7"
    product = "select count(*) from " + ", ".join(f"typed t{number}" for number in range(12))
    for slow in (product, million):
        assert "--timeout" in sql(slow, "--timeout", "1s").stderr
    for large in ["select length(randomblob(2000000000))", "select length(zeroblob(2000000000))", "select 1" + " " * 99_999 + "2", "select '" + "x" * 120_000 + "'"]:
        result = sql(large)
        assert result.returncode == 2 and result.stderr.count("\n") <= 3, result.stderr
    greedy = "with recursive x(n) as (select 1 union all select n + 1 from x limit 3000000) select length(group_concat(n || 'xxxxxxxxxxxxxxxxxxxxxxxx')) from x"
    assert sql(greedy, "--memory", "32MiB").returncode == 2
    assert sql("-", input="select 1 " + "union select 1 " * 70_000).returncode == 2, "a statement of 1 MB"
    # Started by a small process: a child begins with the peak of its parent, and that of the tests may be high.
    measured = "import resource, subprocess, sys; print(subprocess.call(sys.argv[1:]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-c", measured, mounts.DCFS, "sql", greedy, "--memory", "32MiB"]
    told = subprocess.run(command, env=sql.dcfs.environment, cwd=shapes_catalog, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    code, peak = map(int, told.stdout.split())
    assert code == 2 and peak < 300 << 10, "the process stays within bounds as well"
    assert sql("select " + "(" * 500 + "1" + ")" * 500).returncode == 2


def test_left_semi_and_left_anti_are_semi_and_anti(sql):
    for join in ("semi", "anti"):
        text = "select count(*) n from pets_sized a {} join pets_masked b on a.file.path = b.file.path"
        same = [sql.rows(text.format(words), *flags) for words in (join, f"left {join}") for flags in ((), ("--sqlite",))]
        assert same[0] == same[1] == same[2] == same[3], same
    wrong = sql("select count(*) from pets_sized a right semi join pets_masked b on a.file.path = b.file.path")
    assert wrong.returncode == 2 and "write `semi join` or `anti join`" in wrong.stderr and "^" in wrong.stderr


def test_a_statement_is_a_file_for_cat_too(sql, shapes_catalog):
    assert sql.dcfs.ok("cat", "sql/select 40 + 2 as n.csv", cwd=shapes_catalog).splitlines() == ['"n"', "42"]


def test_names_are_names_whatever_is_in_them(sql, writable):
    """Columns and datasets are called by strangers: quotes and semicolons in them say nothing to SQLite."""
    odd = 'a"; drop table x; --'
    quoted = '"' + odd.replace('"', '""') + '"'
    before = (writable / ".datachain" / "db").read_bytes()
    for text in [f"select 1 as {quoted}", f"select x.{quoted} from (select 7 as {quoted}) x", f"select label from {quoted}", f"select {quoted} from pets_sized"]:
        result = sql(text, "--json", cwd=writable)
        assert result.returncode in (0, 1, 2) and "drop table" in result.stdout + result.stderr
    assert json.loads(sql.ok(f"select 5 as {quoted}", "--json", cwd=writable)) == {odd: 5}
    assert (writable / ".datachain" / "db").read_bytes() == before
    assert sql(f"select * from {quoted}", cwd=writable).returncode in (1, 2)
    csv_file = writable / "odd.csv"
    csv_file.write_text('"it\'s","select"\n1,2\n')
    sql.dcfs.ok("load", csv_file, "--as", "odd", cwd=writable)
    assert json.loads(sql.ok("select count(*) n, sum(\"select\") s from odd group by \"select\"", "--json", cwd=writable)) == {"n": 1, "s": 2}


def test_an_interrupt_ends_it(sql, shapes_catalog):
    endless = "with recursive x(n) as (select 1 union all select n + 1 from x) select count(*) from x"
    process = subprocess.Popen([mounts.DCFS, "sql", endless], cwd=shapes_catalog, env=sql.dcfs.environment)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) != 0


def test_a_saved_answer_is_read_by_datachain(sql, writable):
    joined = (
        "select p.file, p.info as size, m.mask, p.file.stem, p.info.width / 2 half "
        "from pets_sized p left join pets_masked m on p.file.path = m.file.path"
    )
    assert sql.ok(joined, "--as", "joined", cwd=writable).startswith("saved joined@1.0.0: 18 rows")
    grouped = "select file.parent breed, count(*), avg(info.width) w, max(info.width) top, collect(info.height) all_h from pets_sized group by all"
    sql.ok(grouped, "--as", "grouped", cwd=writable)
    sql.ok("select * from typed", "--as", "copied", cwd=writable)
    sql.ok("select *, 1 as one from pets_sized where 1 = 0", "--as", "none", cwd=writable)
    script = datachain_runs.SCRIPTS / "sql_read_back.py"
    process = datachain_runs.start(
        script, writable, "joined", "grouped", "copied", "typed", "none", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    told = json.loads(output.splitlines()[-1])
    types = told["joined"]["types"]
    assert (types["file"], types["size"], types["mask"]) == ("ImageFile", "Info", "ImageFile")
    assert (types["file_stem"], types["half"]) == ("str", "float")
    assert sum(row[2] == "None" for row in told["joined"]["rows"]) == 9, "a mask that is not there is None"
    assert told["grouped"]["types"] == {"breed": "str", "count": "int", "w": "float", "top": "int", "all_h": "list"}
    assert sorted(row[:2] for row in told["grouped"]["rows"]) == [["beagle", "6"], ["pug", "6"], ["shiba_inu", "6"]]
    assert told["copied"] == told["typed"], "all of a version comes through, models, lists, bytes and NaN too"
    assert told["none"]["rows"] == []
    lineage = sql.dcfs.ok("lineage", "joined", cwd=writable)
    assert "pets_sized" in lineage and "pets_masked" in lineage and "left join" in lineage


def test_a_save_that_fails_leaves_nothing(sql, writable):
    before = sql.dcfs.ok("ls", cwd=writable)
    endless = "with recursive x(n) as (select 1 union all select n + 1 from x) select n from x"
    assert sql(endless, "--as", "endless", "--timeout", "1s", cwd=writable).returncode == 2
    assert sql("select 1 a", "--as", "lst__x", cwd=writable).returncode == 2
    assert sql.dcfs.ok("ls", cwd=writable) == before


@pytest.fixture(scope="module")
def answers(sql, shapes_catalog, tmp_path_factory):
    """`/sql/` of a mount of the catalog of shapes."""
    with sql.dcfs.mount(shapes_catalog, tmp_path_factory.mktemp("answers") / "mnt") as mount:
        assert "sql" not in os.listdir(mount.path), "there by name, and not listed"
        yield mount.path / "sql"


@pytest.mark.mount
def test_an_answer_is_a_file_by_name(sql, answers):
    text = "select file.parent, count(*) n, avg(info.width) w from pets_sized group by all order by 1"
    for ending in ("csv", "jsonl"):
        file = answers / f"{text}.{ending}"
        assert file.read_text() == sql.ok(text, "--format", ending)
        assert file.stat().st_size == len(file.read_bytes())
    for ending, read in (("parquet", pyarrow.parquet.read_table), ("arrow", lambda path: pyarrow.ipc.open_file(path).read_all())):
        assert read(str(answers / f"{text}.{ending}")).to_pylist() == sql.rows(text)
    lines = (answers / f"{text}.md").read_text().splitlines()
    assert lines[:2] == ["| file.parent | n | w |", "| --- | --- | --- |"] and lines[2].startswith("| beagle | 6 | ")
    half = "select info.width / 2 h from pets_sized order by 1 limit 1"
    assert (answers / (half.replace("/", "\u2215") + ".csv")).read_text() == sql.ok(half, "--format", "csv")
    (row,) = csv.DictReader((answers / "select * from catalog.datasets where name = 'growing'.csv").open())
    assert row["versions"] == "3"
    assert os.listdir(answers) == [] and not (answers / "notes.csv").exists() and not (answers / "select 1").exists()


@pytest.mark.mount
@pytest.mark.parametrize(
    "name, why",
    [
        ("select info.widht from pets_sized.csv", "did you mean `info.width`"),
        ("select * from pets_sizd.jsonl", "did you mean `pets_sized`"),
        ("select 1; drop table pets_sized.csv", ""),
        ("with x as (select 1) delete from x.csv", ""),
        ("with recursive x(n) as (select 1 union all select n+1 from x) select n from x.csv", "larger than 16 MiB"),
    ],
)
def test_why_an_answer_is_refused_is_told_beside_it(answers, name, why):
    with pytest.raises(OSError) as refused:
        (answers / name).read_text()
    assert refused.value.errno == errno.EINVAL
    assert why in (answers / "_error" / name).read_text()
    assert not (answers / "_error" / "select 1.csv").exists(), "nothing is wrong with it"


@pytest.mark.mount
def test_rows_are_counted_by_their_values_in_a_file(sql, answers, shapes_catalog):
    version = answers.parent / "datasets" / "pets_sized"
    group = version / "_views" / "group"
    file = group / "file.parent,avg=info.width,max=file.stem.csv"
    rows = list(csv.DictReader(file.open()))
    assert list(rows[0]) == ["file.parent", "rows", "share", "avg(info.width)", "max(file.stem)"]
    assert file.stat().st_size == len(file.read_bytes())
    told = sql.rows("select file.parent, count(*) n, avg(info.width) w, max(file.stem) s from pets_sized group by all order by 2 desc, 1")
    for row, want in zip(rows, told, strict=True):
        assert [row["file.parent"], int(row["rows"]), float(row["avg(info.width)"]), row["max(file.stem)"]] == list(want.values())
        assert float(row["share"]) == want["n"] / 18
    narrowed = version / "info.width > 300" / "_views" / "group" / "file.parent,file.ext.csv"
    counted = json.loads(sql.dcfs.ok("count", "pets_sized", "--by", "file.parent,file.ext", "--where", "info.width > 300", "--json", cwd=shapes_catalog))
    assert [[row["file.parent"], int(row["rows"])] for row in csv.DictReader(narrowed.open())] == [[row["file.parent"], row["rows"]] for row in counted]
    assert os.listdir(group) == [] and not (group / "file.parent").exists()
    for name, why in {"width.csv": "did you mean `info.width`", "file.parent,mean=info.width.csv": "no `mean=`", "file.ext,sum=file.ext.csv": "holds no numbers"}.items():
        with pytest.raises(OSError) as refused:
            (group / name).read_text()
        assert refused.value.errno == errno.EINVAL and why in (group / "_error" / name).read_text()


@pytest.mark.mount
def test_an_answer_follows_the_catalog(sql, writable, tmp_path):
    text = "select count(*) n from copy.csv"
    with sql.dcfs.mount(writable, tmp_path / "mnt") as mount:
        file = mount.path / "sql" / text
        with pytest.raises(OSError):
            file.read_text()
        sql.ok("select * from pets_sized", "--as", "copy", cwd=writable)
        await_text(file, '"n"\n18\n')
        sql.ok("select * from pets_sized limit 5", "--as", "copy", cwd=writable)
        await_text(file, '"n"\n5\n')


def await_text(file, want):
    """Waits until the kernel asks again what a file holds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if file.read_text() == want:
                return
        except OSError:
            pass
        time.sleep(0.1)
    assert file.read_text() == want


class Shell:
    """`dcfs sql` on a terminal of its own."""

    def __init__(self, dcfs, folder):
        self.primary, secondary = pty.openpty()
        environment = dcfs.environment | {"TERM": "xterm"}
        self.process = subprocess.Popen(
            [mounts.DCFS, "sql"], cwd=folder, env=environment, stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True
        )
        os.close(secondary)
        self.said = ""
        self.until("dcfs> ")

    def until(self, text):
        """What it says until it says this."""
        deadline = time.monotonic() + 30
        while text not in self.said:
            assert time.monotonic() < deadline and select.select([self.primary], [], [], 30)[0], self.said
            try:
                self.said += os.read(self.primary, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(self.said) from None
        told, _, self.said = self.said.partition(text)
        return told

    def type(self, text):
        os.write(self.primary, text.encode())

    def prompt(self):
        """Waits until the typed line is taken and the next one is read: lines typed meanwhile may be lost."""
        self.until("\x1b[?2004l")
        self.until("\x1b[?2004h")


def test_a_shell_answers_one_statement_after_another(sql, shapes_catalog):
    shell = Shell(sql.dcfs, shapes_catalog)
    shell.type("select count(*) * 1000 as thousands\r")
    shell.type("from pets_sized;\r")
    shell.until("18000")
    shell.type("select min(info.wi\x1b[D\x1b[C from pets_sized;\r")
    shell.until("dcfs: ")
    shell.type("select count(*) * 1001 n from pets_siz\t;\r")
    shell.until("18018")
    shell.type("\\d\r")
    shell.until("growing")
    shell.type("\\d pets_sized\r")
    shell.until("info.width")
    shell.type("\\f json\r")
    shell.prompt()
    shell.type("select 7 as seven;\r")
    shell.until('{"seven":7}')
    shell.type("\\e select count(*) from pets_sized\r")
    shell.until("kernels over packed columns")
    shell.type("\\nothing\r")
    shell.until("no command")
    # Not before the terminal is raw again: until then Ctrl-C is a signal.
    shell.until("\x1b[?2004h")
    shell.type("select 'given up\x03")
    shell.prompt()
    shell.type("\\q\r")
    assert shell.process.wait(timeout=30) == 0
    history = (sql.dcfs.home / "state" / "dcfs" / "sql_history").read_text()
    assert "18018" not in history and "pets_sized" in history
    assert sql(input="select 3 as three", *["--json"]).stdout == '{"three":3}\n', "without a terminal, the statement is what stands there"
    os.close(shell.primary)
