"""What a server evaluates means there what it means here: random filters and statements over awkward values, on two versions of ClickHouse.

`DCFS_FILTERS` is how many filters are sent (1,000), `DCFS_STATEMENTS` how many statements (60), `DCFS_FILTERS_SEED` which ones.
"""

import json
import os
import random
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

STATEMENTS = int(os.environ.get("DCFS_STATEMENTS", 60))
SEED = os.environ.get("DCFS_FILTERS_SEED", "cluster")

SHOWN = 20
"""Mismatches that are printed, the shortest; all of them are counted."""


@pytest.fixture(scope="module", params=["26.9", "25.8"])
def address(request, tmp_path_factory, catalog, cluster, there):
    """The catalog on a version of ClickHouse."""
    if request.param == "26.9":
        yield there
        return
    if not servers.OLDER.exists():
        pytest.skip(f"no {servers.OLDER}: run `tests/setup cluster`")
    older = servers.Cluster(tmp_path_factory.mktemp("older"))
    older.clickhouse = servers.Older(older.folder / "clickhouse")
    try:
        older.start()
        copied.copy(catalog, older)
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


def pushed(binary, catalog, texts):
    """What `tests/cluster/pushed.rs` tells of each text."""
    if not PUSHED.exists():
        pytest.skip("no example `pushed`: run `cargo build --example pushed`")
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [PUSHED, catalog, "awkward", binary.home / "pushed"]
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


KEYS = ["label", "s", "maybe_s", "info.label", "b", "maybe_b", "small", "maybe", "n", "file.path"]
VALUES = ["n", "small", "maybe", "info.width", "file.size", "b", "maybe_b"]
TEXTS = ["s", "maybe_s", "label", "info.note", "box.title", "n", "maybe", "b"]
CONDITIONS = [
    "n > 4", "small <= 3", "maybe is null", "maybe is not null", "s like 'a%'", "s like '%a%'", "label in ('pug', 'cat')", "b", "not maybe_b",
    "n between -5 and 5", "length(s) > 2", "n + 1 > 2", "maybe_s is not null", "f > 0", "maybe_f < 1.5", "n < 0 and n > 0", "file.size > 0",
]  # fmt: skip


def statements(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        keys = rng.sample(KEYS, rng.choice([0, 1, 1, 1, 2]))
        folds = ["count(*)"] if rng.random() < 0.7 or not keys else []
        for _ in range(rng.choice([0, 1, 2, 3])):
            word = rng.choice(["count", "sum", "avg", "min", "max"])
            folds.append(f"{word}({rng.choice(VALUES if word in ('sum', 'avg') else TEXTS + ['f'] * (word == 'count'))})")
        where = f" {rng.choice(['and', 'or'])} ".join(rng.sample(CONDITIONS, rng.choice([0, 1, 1, 2])))
        having = f" having {folds[0]} > 1" if folds and keys and rng.random() < 0.2 else ""
        tail = f" order by {', '.join(keys)}" if keys and rng.random() < 0.7 else ""
        group = f" group by {', '.join(keys)}" if keys else ""
        yield f"select {', '.join([*keys, *folds])} from awkward{where and f' where {where}'}{group}{having}{tail}"


def test_random_statements_answer_as_sqlite_does(address, remote, own, catalog):
    served, wrong = 0, []
    for text in statements(SEED, STATEMENTS):
        cache = remote.home / "statements"
        shutil.rmtree(cache, ignore_errors=True)
        answered = remote.run("sql", "--catalog", address, "--cache-dir", cache, "--format", "jsonl", text)
        is_served = answered.returncode == 0 and not list(cache.glob("packs/*"))
        for more in [[], ["--sqlite"]]:
            expected = own.run("sql", "--catalog", catalog, "--format", "jsonl", *more, text)
            is_same = answered.stdout == expected.stdout and answered.returncode == expected.returncode
            if not is_same and (more == [] or "order by" in text):
                wrong.append(f"{text} {more}\n  {answered.stdout or answered.stderr}\n  {expected.stdout or expected.stderr}")
        explained = remote.ok("sql", "--catalog", address, "--explain", text)
        # A sum that does not fit is left to SQLite.
        assert ("the server groups by" in explained) or not is_served, explained
        served += is_served
    told = f"{len(wrong)} of {STATEMENTS} statements differ; {served} were answered by the server without a pack"
    print(told)
    assert not wrong, "\n\n".join([told, *sorted(wrong, key=len)[:SHOWN]])
    assert served > STATEMENTS / 2, told


STAYS = [
    "select avg(f) from awkward",
    "select f, count(*) from awkward group by f",
    "select min(t) from awkward",
    "select file.ext, count(*) from awkward group by file.ext",
    "select count(*) from awkward where t > '2000-01-01'",
    "select count(*) from awkward where s regexp 'a+'",
    "select count(distinct s) from awkward",
    "select a.label, count(*) from awkward a join few b on a.small = b.file.size group by a.label",
]  # fmt: skip


@pytest.mark.parametrize("text", STAYS)
def test_a_statement_that_could_mean_something_else_there_stays_here(text, there, remote, own, catalog):
    assert "the server" not in remote.ok("sql", "--catalog", there, "--explain", text)
    assert remote.ok("sql", "--catalog", there, text) == own.ok("sql", "--catalog", catalog, text)


def test_a_statement_that_is_served_fetches_no_column(cluster, there, dcfs):
    with taps.Tap(cluster.clickhouse.port) as tap:
        through = there.replace(cluster.clickhouse.authority, f"127.0.0.1:{tap.port}")
        dcfs.ok("sql", "--catalog", through, "select label, count(*), sum(small), max(s) from awkward where n > 4 group by label")
        assert tap.answered < 30_000, tap.answered
    assert not list(dcfs.cache.glob("packs/*")) and not list(dcfs.cache.glob("*/packs/*"))


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
