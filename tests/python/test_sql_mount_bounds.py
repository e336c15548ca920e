"""Statements on a mount: anybody who can read it can run them, so they are bounded, and other names answer meanwhile."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow.ipc
import pytest

import sql

ROWS = 20_000

# Four hundred million pairs each.
HOSTILE = [
    "select count(*) from big a join big b on a.label = b.label.csv",
    "select count(*) from big a semi join big b on a.label = b.label and a.n + b.n < 0.csv",
    "select a.n from big a, big b order by a.n + b.n desc.csv",
    "select a.n, b.n from big a, big b order by a.sys__rand.jsonl",
    "with recursive x(n) as (select 1 union all select n + 1 from x) select count(*) from x.csv",
]

LARGE = [
    "select printf('%.*c', 60000000, 'x') a.csv",
    "select " + ", ".join(f"printf('%.*c', 9000000, 'x') c{number}" for number in range(5)) + ".md",
]


@pytest.fixture
def catalog(dcfs, small_catalog, tmp_path):
    """A catalog with `big`, all of whose rows have one label."""
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    numbers = f"with recursive x(n) as (select 1 union all select n + 1 from x where n < {ROWS})"
    dcfs.ok("sql", f"{numbers} select n, 'one' label from x", "--as", "big", cwd=catalog)
    return catalog


def refused(file):
    """The error of reading a file."""
    with pytest.raises(OSError) as found:
        file.read_bytes()
    return found.value.errno


def reason(answers, name):
    """The reason in `_error/`, as soon as a turn is free."""
    until = time.monotonic() + 60
    while True:
        try:
            return (answers / "_error" / name).read_text()
        except OSError as error:
            assert error.errno == errno.EIO and time.monotonic() < until, error


def most_memory(pid):
    """The most memory that a process had, in bytes."""
    (line,) = [line for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


@pytest.mark.mount
def test_hostile_statements_delay_nothing_else(dcfs, catalog, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "3s") as mount:
        answers = mount.path / "sql"
        kept = answers / f"select count(*) n from big where n <= {ROWS}.csv"
        want = f'"n"\n{ROWS}\n'
        assert kept.read_text() == want
        with ThreadPoolExecutor(len(HOSTILE)) as pool:
            under_way = [pool.submit(refused, answers / name) for name in HOSTILE]
            while not all(one.done() for one in under_way):
                assert answers.is_dir() and os.listdir(mount.path / "runs") == []
                assert kept.read_text() == want
                assert (mount.datasets / "big").is_dir()
                time.sleep(0.05)
            # EIO: no turn in time.
            assert all(one.result() in (errno.EINVAL, errno.EIO) for one in under_way)
        for name in HOSTILE:
            assert reason(answers, name).strip(), name
        assert (answers / "select 1 a.csv").read_text() == '"a"\n1\n'
        assert most_memory(mount.daemon()) < 1536 << 20


@pytest.mark.mount
def test_large_rows_are_refused(dcfs, catalog, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        for name in LARGE:
            assert refused(mount.path / "sql" / name) == errno.EINVAL, name
            assert "16 MiB" in reason(mount.path / "sql", name)
        assert most_memory(mount.daemon()) < 1536 << 20


@pytest.mark.mount
def test_the_reason_of_a_slow_statement_is_kept(dcfs, catalog, tmp_path):
    name = HOSTILE[-1]
    with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "3s") as mount:
        answers = mount.path / "sql"
        assert refused(answers / name) in (errno.EINVAL, errno.EIO)
        text = reason(answers, name)
        assert "longer than" in text and text == reason(answers, name)
        assert not (answers / "_error" / "select 1 a.csv").exists(), "nothing is wrong with it"


@pytest.mark.mount
def test_a_text_that_changes_has_an_inode_of_its_own(dcfs, catalog, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        file = mount.path / "sql" / "select max(n) n from big.arrow"
        before = file.stat()
        assert before.st_mtime > mount.path.stat().st_mtime and before.st_ino == file.stat().st_ino
        with pyarrow.memory_map(str(file)) as opened:
            dcfs.ok("sql", "select n, label from big where n < 100", "--as", "big", cwd=catalog)
            until = time.monotonic() + 20
            while file.stat().st_ino == before.st_ino and time.monotonic() < until:
                time.sleep(0.1)
            assert file.stat().st_ino != before.st_ino
            with pyarrow.memory_map(str(file)) as now:
                assert pyarrow.ipc.open_file(now).read_all().to_pylist() == [{"n": 99}]
            assert pyarrow.ipc.open_file(opened).read_all().to_pylist() == [{"n": ROWS}], "as it was opened"


@pytest.mark.mount
def test_a_group_names_each_column_once(dcfs, catalog, tmp_path):
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        group = mount.datasets / "big" / "_views" / "group"
        assert (group / "label,max=n.csv").read_text().splitlines()[1].endswith(f",{ROWS},1,{ROWS}")
        for name in ("label,label.csv", "label,sum=n, sum=n.csv"):
            assert refused(group / name) == errno.EINVAL
            assert "named twice" in (group / "_error" / name).read_text()


@pytest.mark.mount
@pytest.mark.root
def test_a_shared_mount_shows_no_listing(dcfs, catalog, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "secret.txt").write_text("x")
    dcfs.ok("index", folder, "--save", "texts", cwd=catalog)
    name = "select * from listing('s3://nothing/').csv".replace("/", "\u2215")
    with dcfs.mount(catalog, tmp_path / "own") as mount:
        assert refused(mount.path / "sql" / name) == errno.EINVAL
        assert "file://" in reason(mount.path / "sql", name)
    with dcfs.mount(catalog, tmp_path / "shared", "--allow-other") as mount:
        assert refused(mount.path / "sql" / name) == errno.EINVAL
        text = reason(mount.path / "sql", name)
        assert "not shown" in text and "file://" not in text


def test_an_answer_without_a_mount(dcfs, catalog):
    assert dcfs.ok("cat", "sql/select count(*) n from big.csv", cwd=catalog) == f'"n"\n{ROWS}\n'
    wrong = dcfs.run("cat", "sql/select x from big.csv", cwd=catalog)
    assert wrong.returncode == 2 and "`x`" in wrong.stderr, wrong.stderr
