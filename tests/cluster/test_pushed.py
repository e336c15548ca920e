"""What a server evaluates means there what it means here: random filters and statements over awkward values, on two versions of ClickHouse.

`DCFS_FILTERS` is how many filters are sent (1,000), `DCFS_STATEMENTS` how many statements (500), `DCFS_FILTERS_SEED` which ones.
"""

import json
import os
import random
import re
import shutil
import subprocess

import pytest

import copied
import filters
import mounts
import servers
import taps

COUNT = int(os.environ.get("DCFS_FILTERS", 1000))
THROUGH = 80
"""Filters that go the whole way, with what is not sent and with what is already here: a process for each."""

STATEMENTS = int(os.environ.get("DCFS_STATEMENTS", 500))
WHOLE = 20
"""Statements that go through the command line: processes for each."""

SEED = os.environ.get("DCFS_FILTERS_SEED", "cluster")

FEWER = STATEMENTS // 5
"""Statements that are sent as each user with settings of its own."""

SHOWN = 20
"""Mismatches that are printed, the shortest; all of them are counted."""


@pytest.fixture(scope="module")
def with_nothing(catalog, own, tmp_path_factory):
    """The catalog, and `nothing`, a version without rows."""
    folder = tmp_path_factory.mktemp("pushed") / "catalog"
    shutil.copytree(catalog, folder)
    own.ok("save", "--catalog", folder, "awkward", "--where", "n > 0 and n < 0", "--as", "nothing", "--allow-empty")
    return folder


@pytest.fixture(scope="module", params=["26.9", "25.8"])
def address(request, tmp_path_factory, catalog, with_nothing, cluster, there):
    """The catalog with `nothing` on a version of ClickHouse."""
    if request.param == "26.9":
        copied.copy(with_nothing, cluster)
        yield there
        copied.copy(catalog, cluster)
        return
    if not servers.OLDER.exists():
        pytest.skip(f"no {servers.OLDER}: run `tests/setup cluster`")
    older = servers.Cluster(tmp_path_factory.mktemp("older"))
    older.clickhouse = servers.Older(older.folder / "clickhouse")
    try:
        older.start()
        copied.copy(with_nothing, older)
        version = older.clickhouse.ask("SELECT version() FORMAT TSV").decode()
        assert version.startswith("25.8."), version
        yield older.address(user="dcfs")
    finally:
        older.stop()


@pytest.fixture(scope="module")
def remote(tmp_path_factory, cluster):
    return mounts.Dcfs(tmp_path_factory.mktemp("remote"), **cluster.environment)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The binary for the catalog in SQLite."""
    return mounts.Dcfs(tmp_path_factory.mktemp("own"))


class Fresh:
    """A cache in which nothing is packed but the names: what a server can evaluate, it is asked."""

    def __init__(self, binary, catalog):
        self.binary, self.catalog = binary, catalog
        self.pack, self.cache = binary.home / "pack", binary.home / "fresh"
        shutil.rmtree(self.pack, ignore_errors=True)
        binary.ok("count", "--catalog", catalog, "--cache-dir", self.pack, "awkward", "--where", "sys__id > 0")

    def run(self, command, *arguments):
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.copytree(self.pack, self.cache)
        return self.binary.run(command, "--catalog", self.catalog, "--cache-dir", self.cache, *arguments)


def rows_of(shown):
    """The ids of rows; the message where there are none."""
    return [json.loads(line)["sys__id"] for line in shown.stdout.splitlines()] if shown.returncode == 0 else shown.stderr


def show(text):
    return ["show", "awkward", "--where", text, "--columns", "sys__id", "--all", "--json"]


@pytest.fixture(scope="module")
def wanted(own, catalog):
    """The rows of a filter over SQLite, found once for both versions."""
    known = {}

    def rows(text):
        if text not in known:
            name, *rest = show(text)
            known[text] = rows_of(own.run(name, "--catalog", catalog, *rest))
        return known[text]

    return rows


PUSHED = mounts.DCFS.parent / "examples" / "pushed"


def pushed(binary, catalog, texts, of="awkward"):
    """What `tests/cluster/pushed.rs` tells of each text."""
    if not PUSHED.exists():
        pytest.skip("no example `pushed`: run `cargo build --example pushed`")
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [PUSHED, catalog, of, binary.home / "pushed"]
    done = subprocess.run(command, input=lines, env=binary.environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_random_filters_are_sent_with_the_same_meaning(address, remote, own, catalog):
    """What is sent of each filter selects there the rows that it selects in SQLite."""
    texts = [text for text, _ in filters.generate(SEED, COUNT)]
    told = pushed(remote, address, texts)
    assert len(told) == COUNT
    sent = [one for one in told if one.get("sent")]
    wanted = pushed(own, catalog / ".datachain" / "db", [one["sent"] for one in sent])
    wrong = [f"{one['sent']}\n  {one['ids']}\n  {want}" for one, want in zip(sent, wanted) if one["ids"] != want.get("ids")]
    # What a filter cannot be is told before anything is sent.
    failed = [(text, one["error"]) for text, one in zip(texts, told) if "error" in one and "ClickHouse" in one["error"]]
    said = f"{COUNT} filters: {sum(one['whole'] for one in sent)} sent whole, {len(sent)} at least in part; {len(wrong)} differ, {len(failed)} fail"
    print(said)
    assert not failed, failed[:SHOWN]
    assert not wrong, "\n\n".join([said, *sorted(wrong, key=len)[:SHOWN]])
    assert len(sent) > COUNT / 4, said


def test_random_filters_select_the_same_rows(address, remote, wanted):
    fresh = Fresh(remote, address)
    wrong = []
    for text, _ in filters.generate(f"{SEED} through", THROUGH):
        rows = rows_of(fresh.run(*show(text)))
        if rows != wanted(text):
            explained = fresh.run("explain", "awkward", text)
            wrong.append(f"{text}\n  {rows}\n  {wanted(text)}\n{explained.stdout}")
    assert not wrong, "\n\n".join([f"{len(wrong)} of {THROUGH} differ", *sorted(wrong, key=len)[:SHOWN]])


@pytest.mark.parametrize("word", ["n", "maybe", "f", "maybe_f", "info.score", "small"])
def test_arithmetic_is_the_same_at_the_ends_of_what_fits(word, address, remote, own, catalog):
    """Sums beyond 64 bits, infinities, zeros of both signs: compared with each value that might be the result."""
    values = ["0", "1", "-1", "9223372036854775807", "-9223372036854775807", "9007199254740993", "0.5", "1e300", "9223372036854775808.0"]
    comparisons = ["=", "<", ">=", "!="]
    texts = [f"{word} {sign} {a} {comparison} {b}" for sign in "+-*" for a in [*values, "maybe", "maybe_f"] for comparison in comparisons for b in values]
    texts += [f"{a} {sign} {word} in ({', '.join(values)}, null)" for sign in "+-*/" for a in values]
    texts += [f"{word} / {a} >= {b}" for a in ["0", "0.0", "-0.0", "0.5", "-2", "maybe_f"] for b in values]
    texts += [f"{word} % {a} = {b}" for a in ["0", "-1", "1", "7", "-7", "9223372036854775807"] for b in ["0", "1", "-1", "6"]]
    texts += [f"{of} {comparison} {b}" for of in [f"-{word}", f"abs({word})"] for comparison in comparisons for b in values]
    texts += [f"{function}({word}, {a}, {word}) > {b}" for function in ["greatest", "least"] for a in ["small", "maybe", "maybe_f", "f"] for b in ["0", "3", "-1.5"]]
    texts += [f"({word} {sign} {a}) is null" for sign in "+-*/%" for a in ["maybe", "f", "0", "3"]]
    told = pushed(remote, address, texts)
    wanted = pushed(own, catalog / ".datachain" / "db", texts)
    wrong = [f"{text}: {one} {want}" for text, one, want in zip(texts, told, wanted) if one.get("sent") and one["ids"] != want.get("ids")]
    wrong += [f"{text}: {one} {want}" for text, one, want in zip(texts, told, wanted) if one.get("error") != want.get("error")]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(texts)} differ", *wrong[:SHOWN]])
    assert sum(bool(one.get("sent")) for one in told) > len(texts) / 2


SENT = [
    "length(s) > 2",
    "replace(s, \"a\", \"bb\") like \"%bb%\"",
    "s like \"a%b%c\" or s like \"%a%b%\"",
    "file.name = \"cat.jpg\" or file.ext = \"jpg\"",
    "file.stem like \"a%\" and file.parent like \"images%\"",
    "n + 1 > small and 3 <= small * n",
    "f * 2 - 1 < info.score / 3",
    "f * 0 not in (3, 0, 2.5)",
    "0 = f or 1 = f or 2.5 = f",
    "f in (0, 1, 2.5)",
    "0 in (f, f, f)",
    "-maybe_f * 0 = 3 or -maybe_f * 0 = 0 or -maybe_f * 0 = -2.5",
    "n % 7 = 3",
    "abs(f) < 2 and -f < 1 and -n < 4 and abs(n) > 2",
    "greatest(n, small) > 3 and least(s, label) < \"m\"",
]  # fmt: skip


@pytest.mark.parametrize("text", SENT)
def test_what_is_sent_whole(text, address, remote, wanted):
    fresh = Fresh(remote, address)
    said = json.loads(fresh.run("explain", "awkward", text, "--json").stdout)
    assert "sent" in said and "here" not in said, said
    assert rows_of(fresh.run(*show(text))) == wanted(text)


KEYS = [
    "label", "s", "maybe_s", "info.label", "b", "maybe_b", "small", "maybe", "n", "f", "maybe_f", "box.ratio", "file.path", "file.source",
    "file.ext", "file.stem", "mask.parent",
]  # fmt: skip
VALUES = ["n", "small", "maybe", "info.width", "file.size", "b", "maybe_b"]
TEXTS = ["s", "maybe_s", "label", "info.note", "box.title", "n", "maybe", "b", "file.name"]
CONDITIONS = [
    "n > 4", "small <= 3", "maybe is null", "maybe is not null", "s like 'a%'", "s like '%a%'", "label in ('pug', 'cat')", "b = 1", "not maybe_b = 1",
    "n between -5 and 5", "n = 9007199254740993", "s <> ''", "maybe_s is not null", "f > 0", "maybe_f < 1.5", "n < 0 and n > 0", "file.size > 0",
    "label = 'É' or label = 'épagneul'", "f = 0.0", "maybe_f is null", "file.ext = 'jpg'",
]  # fmt: skip

INTS = ["n", "small", "maybe", "info.width", "info.maybe", "box.left", "b", "maybe_b", "order"]
FLOATS = ["f", "maybe_f", "info.score", "box.ratio"]
STRINGS = ["s", "maybe_s", "label", "info.label", "info.note", "like", "file.path", "mask.path", "file.name", "file.stem", "mask.ext", "file.parent", "file.source"]
EQUAL = [INTS, INTS, FLOATS, STRINGS, STRINGS]
"""Columns that may be compared for equality."""

ODD = ["t", "maybe_t", "info.taken", "f", "n", "s"]
"""Of other types, and datetimes."""

JOINS = ["join", "join", "inner join", "left join", "left outer join", "right join", "full join", "semi join", "anti join"]
TABLES = ["awkward", "awkward", "awkward", "nothing"]


def fold(rng, table=""):
    word = rng.choice(["count(", "count(distinct ", "count_distinct(", "sum(", "avg(", "min(", "max("])
    of = rng.choice(VALUES if word in ("sum(", "avg(") else [*TEXTS, *["f", "maybe_f"] * word.startswith("count")])
    return f"{word}{table}{of})"


def condition(rng, table=""):
    term = rng.choice(CONDITIONS)
    words = [f"{table}{word}" if word in {*KEYS, *VALUES} else word for word in term.split(" ")]
    return f"({' '.join(words)})"


def statements(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        yield joined(rng) if rng.random() < 0.6 else distinct(rng) if rng.random() < 0.3 else grouped(rng)


def ordered(rng, keys):
    """An order of all rows, if keys differ in each: NULL first, as everywhere here; and sometimes a limit."""
    if not keys or rng.random() < 0.3:
        return ""
    limit = rng.choice(["", "", " limit 3", " limit 4 offset 2"])
    return f" order by {', '.join(key + rng.choice(['', ' desc']) for key in keys)}{limit}"


def grouped(rng):
    keys = rng.sample(KEYS, rng.choice([0, 1, 1, 1, 2]))
    folds = ["count(*)"] if rng.random() < 0.7 or not keys else []
    folds += [fold(rng) for _ in range(rng.choice([0, 1, 2, 3]))]
    where = f" {rng.choice(['and', 'or'])} ".join(condition(rng) for _ in range(rng.choice([0, 1, 1, 2])))
    group = f" group by {', '.join(keys)}" if keys else ""
    # Columns convert what they are compared with, also as keys of groups.
    having = " having " + rng.choice([f"{folds[0]} > 1", f"{keys[0]} = 4", f"{keys[0]} <> '4'"]) if folds and keys and rng.random() < 0.3 else ""
    text = f"select {', '.join([*keys, *folds])} from {rng.choice(TABLES)}{where and f' where {where}'}{group}{having}"
    return text + ordered(rng, keys)


def distinct(rng):
    keys = rng.sample(KEYS, rng.choice([1, 1, 2, 3]))
    where = " and ".join(condition(rng) for _ in range(rng.choice([0, 1, 1, 2])))
    return f"select distinct {', '.join(keys)} from {rng.choice(TABLES)}{where and f' where {where}'}{ordered(rng, keys)}"


def joined(rng):
    """Two tables that are joined: aggregates and keys of either, conditions where they may stand."""
    kind = rng.choice(JOINS)
    is_test = kind in ("semi join", "anti join")
    pairs = []
    for _ in range(rng.choice([1, 1, 1, 2])):
        names = rng.choice(EQUAL)
        a, b = rng.choice(names), rng.choice(names) if rng.random() < 0.9 else rng.choice(ODD)
        pairs.append(f"a.{a} = b.{b}" if rng.random() < 0.8 else f"b.{b} = a.{a}")
    empty = {"left": "b", "right": "a", "full": "ab"}.get(kind.split()[0], "")
    on, where = list(pairs), []
    for table in "ab":
        while rng.random() < 0.35:
            # On the side that an outer join may leave empty it is a condition of ON, else of WHERE.
            if is_test and table == "b" or table in empty:
                on += [condition(rng, f"{table}.")] * (kind != "full join")
            else:
                where.append(condition(rng, f"{table}."))
    shown = ["a"] if is_test else ["a", "b"]
    keys = list(dict.fromkeys(f"{rng.choice(shown)}.{rng.choice(KEYS)}" for _ in range(rng.choice([0, 1, 1, 2]))))
    is_distinct = bool(keys) and rng.random() < 0.2
    folds = [] if is_distinct else ["count(*)", *(fold(rng, f"{rng.choice(shown)}.") for _ in range(rng.choice([0, 1, 2])))]
    group = f" group by {', '.join(keys)}" if keys and not is_distinct else ""
    first, second = rng.choice(TABLES), rng.choice([*TABLES, "few"])
    if second == "few":
        on, keys, group = ["a.file.size = b.file.size"], ["b.file.name"][: not is_test], ""
        folds, where, is_distinct = ["count(*)", "count(a.maybe)"], [], False
        group = f" group by {keys[0]}" if keys else ""
    where = f" where {' and '.join(where)}" if where else ""
    word = "distinct " if is_distinct else ""
    text = f"select {word}{', '.join([*keys, *folds])} from {first} a {kind} {second} b on {' and '.join(on)}{where}{group}"
    return text + ordered(rng, keys)


def told(one):
    return one.get("error") or (one["rows"], one["columns"])


@pytest.fixture(scope="module")
def answered(own, with_nothing):
    """Random statements, and their answers over SQLite: by kernels, and without."""
    texts = list(statements(SEED, STATEMENTS))
    return texts, {of: pushed(own, with_nothing / ".datachain" / "db", texts, of) for of in ["--statements", "--sqlite"]}


def test_random_statements_answer_as_in_sqlite(address, remote, answered):
    """Groups, DISTINCT and joins: rows, their order, and the types of columns are those of the kernels, and those of SQLite where it has an order."""
    texts, wanted = answered
    there = pushed(remote, address, texts, "--statements")
    wrong = []
    for of, here in wanted.items():
        for text, one, other in zip(texts, there, here):
            if of == "--sqlite" and "rows" in one and "rows" in other:
                one, other = alike(text, one), alike(text, other)
            if told(one) != told(other):
                wrong.append(f"{text} {of}, sent: {one.get('sent')}\n  {told(one)}\n  {told(other)}")
    sent = [text for text, one in zip(texts, there) if one.get("sent")]
    count = {word: sum(word in text for text in sent) for word in ["distinct", " join", "left", "right", "full", "semi", "anti", "nothing"]}
    said = f"{len(wrong)} answers to {STATEMENTS} statements differ; {len(sent)} were answered by the server: {count}"
    print(said)
    assert not wrong, "\n\n".join([said, *sorted(wrong, key=len)[:SHOWN]])
    assert len(sent) > STATEMENTS / 2 and all(of > STATEMENTS / 100 for of in count.values()), said


@pytest.mark.parametrize("user", servers.SETTINGS)
def test_settings_of_a_user_change_no_answer(user, address, remote, own, catalog, answered):
    """Nor which rows a filter selects, where NULL may count as a value in a set of values."""
    texts, wanted = answered
    there = re.sub("//[^@]*@", f"//{user}@", address, count=1)
    told_there = pushed(remote, there, texts[:FEWER], "--statements")
    wrong = [f"{text}\n  {told(one)}\n  {told(other)}" for text, one, other in zip(texts, told_there, wanted["--statements"]) if told(one) != told(other)]
    assert not wrong, "\n\n".join([f"{len(wrong)} of {FEWER} differ", *sorted(wrong, key=len)[:SHOWN]])
    assert sum(bool(one.get("sent")) for one in told_there) > FEWER / 2
    of_null = ["maybe not in (1, 2, 3, 4)", "maybe_s not in (\"a\", \"b\", \"c\", \"d\")", "not (maybe = 1 or maybe = 2 or maybe = 3 or maybe = 4)"]
    told_there = pushed(remote, there, of_null)
    assert all(one["sent"] for one in told_there), told_there
    assert [one["ids"] for one in told_there] == [one["ids"] for one in pushed(own, catalog / ".datachain" / "db", of_null)]


def test_a_user_whose_null_is_a_value_in_sets_is_refused(address, remote):
    if "//reader@" in address:
        pytest.skip("its analyzer, which cannot be off, makes no such sets")
    there = re.sub("//[^@]*@", "//nulls@", address, count=1)
    shown = remote.run("ls", "--catalog", there)
    assert shown.returncode != 0 and "transform_null_in" in shown.stderr, shown.stderr


def test_a_user_whose_aggregates_of_no_rows_are_null_is_refused(address, remote):
    there = re.sub("//[^@]*@", "//empty@", address, count=1)
    shown = remote.run("ls", "--catalog", there)
    assert shown.returncode != 0 and "aggregate_functions_null_for_empty" in shown.stderr, shown.stderr


def alike(text, one):
    """Rows in an order of their own where the statement has none; both zeros are one value, of which SQLite shows either."""
    rows = [row.replace("Real(-0.0)", "Real(0.0)") for row in one["rows"]]
    return {**one, "rows": rows if "order by" in text else sorted(rows)}


def test_statements_of_the_command_line_are_sent(address, remote, own, with_nothing):
    served = 0
    for text in statements(f"{SEED} through", WHOLE):
        cache = remote.home / "statements"
        shutil.rmtree(cache, ignore_errors=True)
        answered = remote.run("sql", "--catalog", address, "--cache-dir", cache, "--format", "jsonl", text)
        is_served = answered.returncode == 0 and not list(cache.glob("packs/*"))
        expected = own.run("sql", "--catalog", with_nothing, "--format", "jsonl", text)
        assert (answered.stdout, answered.returncode) == (expected.stdout, expected.returncode), text
        explained = remote.ok("sql", "--catalog", address, "--explain", text)
        # A sum that does not fit is left to SQLite.
        assert ("the server groups by" in explained) or not is_served, explained
        served += is_served
    assert served > WHOLE / 2


STAYS = {
    "select avg(f) from awkward": "the server is not asked: the server may round or choose differently in sums, means, minima and maxima of floats (`f`)",
    "select max(f) from awkward": "the server is not asked: the server may round or choose differently in sums, means, minima and maxima of floats (`f`)",
    "select min(t) from awkward": "the server is not asked: `t` is a datetime, which SQL compares as a text",
    "select distinct t from awkward": "the server is not asked: `t` is a datetime, which SQL compares as a text",
    "select count(sys__id) from awkward": "the server is not asked: `sys__id` is stored there in another type",
    "select count(*) from awkward where s regexp 'a+'": "the server is not asked: the condition `s regexp \"a+\"` may mean something else there",
    "select a.label, count(*) from awkward a join few b on a.t = b.file.last_modified group by a.label": "the server is not asked: `t` is a datetime",
    "select count(*) from awkward where t > '2000-01-01'": "SQLite runs over packed columns, for its condition is on a datetime",
    "select sum(distinct small) from awkward": "SQLite runs over packed columns, for it has a DISTINCT that",
    "select count(*) from awkward a join few b on a.s = b.file.size": "SQLite runs over packed columns, for it joins on more than equal columns",
    "select count(*) from awkward a join awkward b on a.n < b.n": "SQLite runs over packed columns, for it joins on more than equal columns",
    "select a.n, b.file.size from awkward a join few b on a.n = b.file.size": "SQLite runs over packed columns, for nothing is grouped",
}


@pytest.mark.parametrize("text", STAYS)
def test_a_statement_that_could_mean_something_else_there_stays_here(text, there, remote, own, catalog):
    explained = remote.ok("sql", "--catalog", there, "--explain", text)
    assert STAYS[text] in explained and "the server groups" not in explained, explained
    # A file has no server that could be asked.
    assert "server" not in own.ok("sql", "--catalog", catalog, "--explain", text)
    assert remote.ok("sql", "--catalog", there, text) == own.ok("sql", "--catalog", catalog, text)


SERVED = {
    "select label, count(*), sum(small), max(s) from awkward where n > 4 group by label": "the server groups by (label)\n  where, of awkward, `n` > 4\n",
    "select distinct label, f from awkward": "the server groups by (label, f)\n",
    "select count(distinct s), count_distinct(file.ext) from awkward": "the server groups by ()\n",
    "select a.label, count(b.n) from awkward a left join awkward b on a.small = b.n and b.s <> '' group by a.label":
        "the server left joins on small = n\nthe server groups by (label)\n  where, of b, (`s` <> '')\n",
    "select count(*) from awkward a anti join few b on a.file.stem = b.file.stem": "the server anti joins on file.stem = file.stem\nthe server groups by ()\n",
}  # fmt: skip


@pytest.mark.parametrize("text", SERVED)
def test_a_statement_that_is_served_fetches_no_column(text, cluster, there, dcfs):
    with taps.Tap(cluster.clickhouse.port) as tap:
        through = there.replace(cluster.clickhouse.authority, f"127.0.0.1:{tap.port}")
        assert SERVED[text] in dcfs.ok("sql", "--catalog", through, "--explain", text)
        dcfs.ok("sql", "--catalog", through, text)
        assert tap.answered < 40_000, tap.answered
    assert not list(dcfs.cache.glob("packs/*")) and not list(dcfs.cache.glob("*/packs/*"))


@pytest.fixture
def endless(cluster, catalog, with_nothing):
    """A join that takes minutes."""
    copied.copy(with_nothing, cluster)
    tables = [f"datachain.ds_local_local_{name}_1_0_0" for name in ["nothing", "awkward"]]
    try:
        cluster.clickhouse.ask(f"INSERT INTO {tables[0]} SELECT a.* FROM {tables[1]} AS a CROSS JOIN numbers(10000) AS many")
        yield "select a.s, count(distinct b.n), count(*) from nothing a join nothing b on a.b = b.b and a.small = b.small group by a.s"
    finally:
        copied.copy(catalog, cluster)


def joining(cluster):
    """How many joins of `reader` run."""
    return int(cluster.clickhouse.ask("SELECT count() FROM system.processes WHERE user = 'reader' AND query LIKE '%JOIN%' FORMAT TSV"))


def test_a_join_without_end_ends_on_the_server_too(cluster, endless, dcfs):
    """By the user who may change no setting."""
    shown = dcfs.run("sql", "--catalog", cluster.address(user="reader"), "--timeout", "1s", endless)
    assert shown.returncode == 2 and "longer than 1 s" in shown.stderr, shown.stderr
    assert not list(dcfs.cache.glob("packs/*")) and not list(dcfs.cache.glob("*/packs/*"))
    servers.until(lambda: not joining(cluster), None, cluster.clickhouse.folder / "log", seconds=10)


def test_a_join_whose_connection_breaks_ends_on_the_server(cluster, endless, dcfs):
    log = cluster.clickhouse.folder / "log"
    with taps.Tap(cluster.clickhouse.port) as tap:
        through = cluster.address(user="reader").replace(cluster.clickhouse.authority, f"127.0.0.1:{tap.port}")
        running = dcfs.start("sql", "--catalog", through, endless)
        try:
            servers.until(lambda: joining(cluster), running, log)
            tap.cut()
            servers.until(lambda: not joining(cluster), None, log, seconds=10)
        finally:
            running.kill()
            running.communicate()


@pytest.mark.mount
def test_statements_go_on_with_what_is_packed_where_the_server_is_away(catalog, own, tmp_path):
    statement = "select label, count(*) as n from awkward group by label order by label"
    wanted = own.ok("sql", "--catalog", catalog, "--format", "csv", statement)
    cluster = servers.Cluster(tmp_path / "cluster").start()
    try:
        copied.copy(catalog, cluster)
        dcfs = mounts.Dcfs(tmp_path / "home", **cluster.environment)
        with dcfs.mount(cluster.address(), tmp_path / "mnt") as mount:
            # Its rows are shown from here: the column is packed.
            assert (mount.path / "sql" / "select label from awkward limit 3.csv").read_text()
            cluster.clickhouse.kill()
            assert (mount.path / "sql" / f"{statement}.csv").read_text() == wanted
    finally:
        cluster.stop()
