"""A catalog on servers that are away, refuse, or contain something else: clear errors, and nothing incomplete."""

import threading
import time

import pytest

import copied
import mounts
import secured
import servers


def failed(dcfs, *arguments, **options):
    """The message of a command that fails."""
    result = dcfs.run(*arguments, **options)
    assert result.returncode not in (0, 101) and result.returncode > 0, result
    assert servers.PASSWORD not in result.stderr
    return result.stderr


def test_a_wrong_password_is_told_with_where_it_comes_from(there, cluster, tmp_path):
    for variable, words in [("CLICKHOUSE_PASSWORD", "does not let `reader` in"), ("PGPASSWORD", "does not let `datachain` in")]:
        dcfs = mounts.Dcfs(tmp_path / variable, **{**cluster.environment, variable: "wrong"})
        message = failed(dcfs, "ls", "--catalog", there)
        assert words in message and variable in message, message


def test_no_password_at_all(there, tmp_path):
    assert "does not let `datachain` in" in failed(mounts.Dcfs(tmp_path / "home"), "ls", "--catalog", there)


def test_a_password_from_a_file(there, cluster, tmp_path):
    for name, text in [("clickhouse", f"{servers.PASSWORD}\n"), ("pgpass", "*:*:*:*:" + servers.PASSWORD.replace(":", "\\:") + "\n")]:
        (tmp_path / name).write_text(text)
    files = {"CLICKHOUSE_PASSWORD_FILE": str(tmp_path / "clickhouse"), "PGPASSFILE": str(tmp_path / "pgpass")}
    assert "few" in mounts.Dcfs(tmp_path / "home", **files).ok("ls", "--catalog", there)


def test_a_password_in_an_address_is_refused_and_not_repeated(cluster, dcfs):
    address = cluster.address().replace("reader@", f"reader:{servers.PASSWORD}@")
    assert "a password in the address" in failed(dcfs, "ls", "--catalog", address)


def test_a_user_without_rights(cluster, there, dcfs):
    message = failed(dcfs, "show", "--catalog", cluster.address(user="nobody"), "few")
    assert "has no database `datachain`, or `nobody` may not see it" in message
    cluster.postgres.sql(f"DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD '{servers.PASSWORD}'")
    assert "does not allow this to `stranger`" in failed(dcfs, "ls", "--catalog", cluster.address(names="stranger"))


def test_a_user_whose_answers_may_end_early(cluster, there, dcfs):
    assert "truncate answers" in failed(dcfs, "ls", "--catalog", cluster.address(user="short"))


def test_servers_that_hold_no_catalog(cluster, there, dcfs):
    cluster.postgres.sql("DROP DATABASE IF EXISTS empty", database="postgres")
    cluster.postgres.sql("CREATE DATABASE empty", database="postgres")
    assert "holds no catalog of DataChain" in failed(dcfs, "ls", "--catalog", there[: -len("datachain")] + "empty")
    assert "has no database `none`" in failed(dcfs, "ls", "--catalog", there[: -len("datachain")] + "none")
    assert "has no database `none`" in failed(dcfs, "ls", "--catalog", there.replace("/datachain?", "/none?"))
    nothing = f"127.0.0.1:{servers.free_port()}"
    for authority in [cluster.clickhouse.authority, cluster.postgres.authority]:
        assert "cannot be reached" in failed(dcfs, "ls", "--catalog", there.replace(authority, nothing))
    other = there.replace(cluster.clickhouse.authority, cluster.postgres.authority)
    assert "ClickHouse at" in failed(dcfs, "ls", "--catalog", other)


def test_a_missing_table_and_columns_that_are_not_what_was_expected(cluster, there, catalog, dcfs):
    table = "datachain.`ds_local_local_few_1_0_0`"
    cluster.clickhouse.ask(f"DROP TABLE {table}")
    try:
        assert "are not in the catalog" in failed(dcfs, "show", "--catalog", there, "few")
        cases = [
            ("x Int64", "SELECT 1", "has no `sys__id`"),
            ("sys__id String", "SELECT 'a'", "`sys__id` is not a whole number"),
            ("sys__id UInt64, file__path String", "SELECT 7, 'a' FROM numbers(3)", "two of them have the same `sys__id`"),
            ("sys__id UInt64, file__path String", "SELECT 18446744073709551615, 'a'", "larger than 63 bits"),
        ]
        for columns, rows, words in cases:
            cluster.clickhouse.ask(f"CREATE OR REPLACE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
            cluster.clickhouse.ask(f"INSERT INTO {table} {rows}")
            assert words in failed(dcfs, "show", "--catalog", there, "few"), columns
        # A type unknown to the schema is shown as text; a missing column is NULL.
        columns = "sys__id UInt64, file__path LowCardinality(String), file__size Decimal(10, 2), file__etag UUID, file__source Enum8('s3://b' = 1)"
        cluster.clickhouse.ask(f"CREATE OR REPLACE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY sys__id")
        cluster.clickhouse.ask(f"INSERT INTO {table} SELECT 1, 'a/b', 7, generateUUIDv4(), 's3://b'")
        assert "a/b" in dcfs.ok("show", "--catalog", there, "few", "--json")
    finally:
        copied.copy(catalog, cluster)


def test_what_is_remembered_has_no_folder_there(there, dcfs, tmp_path):
    assert "has no folder for what people remember" in failed(dcfs, "remember", "something", "--catalog", there, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["home"], "nothing is left behind"


@pytest.mark.mount
def test_servers_that_go_away_and_come_back(catalog, tmp_path):
    """A mount whose servers are killed: cached data stays readable, the rest is an error, and everything works afterwards."""
    cluster = servers.Cluster(tmp_path / "cluster").start()
    try:
        copied.copy(catalog, cluster)
        dcfs = mounts.Dcfs(tmp_path / "home", **cluster.environment)
        with dcfs.mount(cluster.address(), tmp_path / "mnt", "--local-root", catalog) as mount:
            few = mount.datasets / "few"
            text = (few / "a" / "0.txt").read_bytes()
            names = sorted(path.name for path in few.iterdir())
            cluster.clickhouse.kill()
            assert (few / "a" / "1.txt").read_bytes(), "its object is known"
            with pytest.raises(OSError):
                list((mount.datasets / "awkward").iterdir())
            cluster.postgres.stop()
            time.sleep(1.5)
            assert sorted(path.name for path in few.iterdir()) == names
            cluster.postgres.start()
            cluster.clickhouse.start()
            assert (few / "a" / "0.txt").read_bytes() == text
            assert list((mount.datasets / "awkward").iterdir())
    finally:
        cluster.stop()


def test_a_server_that_dies_in_the_middle_of_a_scan(tmp_path, catalog):
    """Nothing is packed partially: the command fails, and the next one packs all rows."""
    cluster = servers.Cluster(tmp_path / "cluster").start()
    try:
        copied.copy(catalog, cluster)
        rows = 2_000_000
        table = "datachain.`ds_local_local_few_1_0_0`"
        columns = ", ".join("number + 1 AS sys__id" if name == "sys__id" else name for name in names(cluster, table))
        columns = columns.replace("file__path", "concat('a/', toString(number)) AS file__path")
        more = f"SELECT {columns} FROM numbers({rows}) AS n CROSS JOIN (SELECT * FROM {table} LIMIT 1) AS t"
        cluster.clickhouse.ask(f"CREATE TABLE datachain.more ENGINE = MergeTree ORDER BY sys__id AS {more}")
        cluster.clickhouse.ask(f"EXCHANGE TABLES datachain.more AND {table}")
        cluster.postgres.sql(f"UPDATE datasets_versions SET num_objects = {rows} WHERE num_objects = 9")
        dcfs = mounts.Dcfs(tmp_path / "home", **cluster.environment)
        results = []
        filtered = ["count", "--catalog", cluster.address(), "few", "--where", "file.path regexp \"....\""]
        worker = threading.Thread(target=lambda: results.append(dcfs.run(*filtered, timeout=300)))
        worker.start()
        packs = dcfs.cache
        while worker.is_alive() and sum(path.stat().st_size for path in packs.rglob("*") if path.is_file()) < 1 << 20:
            time.sleep(0.02)
        cluster.clickhouse.kill()
        worker.join()
        (result,) = results
        assert result.returncode not in (0, 101), result
        assert "in the middle of an answer" in result.stderr or "cannot be reached" in result.stderr, result.stderr
        cluster.clickhouse.start()
        assert dcfs.ok(*filtered, timeout=300).strip().replace(",", "").startswith(str(rows - 10)), "a/0 to a/9 are short"
    finally:
        cluster.stop()


def names(cluster, table):
    return [line.split("\t")[0] for line in cluster.clickhouse.ask(f"DESCRIBE TABLE {table} FORMAT TSV").decode().splitlines()]


def test_an_error_behind_status_200_is_an_error(cluster, there, catalog, dcfs):
    """A view that raises in the middle of its rows, which are on their way already."""
    table = "datachain.`ds_local_local_few_1_0_0`"
    columns = ", ".join(names(cluster, table)).replace("sys__id", "number + 1 + throwIf(number = 900000, 'broken row') AS sys__id", 1)
    source = f"(SELECT * FROM {table} LIMIT 1) AS t"
    cluster.clickhouse.ask(f"CREATE TABLE datachain.one ENGINE = MergeTree ORDER BY sys__id AS SELECT * FROM {source}")
    try:
        cluster.clickhouse.ask(f"DROP TABLE {table}")
        inner = f"SELECT {columns} FROM numbers(1000000) AS n CROSS JOIN datachain.one AS t"
        cluster.clickhouse.ask(f"CREATE VIEW {table} AS {inner}")
        message = failed(dcfs, "show", "--catalog", there, "few", "--where", "file.path regexp \"....\"")
        assert "broken row" in message, message
    finally:
        cluster.clickhouse.ask(f"DROP VIEW IF EXISTS {table}")
        cluster.clickhouse.ask("DROP TABLE datachain.one")
        copied.copy(catalog, cluster)


def test_tls_is_checked_on_both_ways(catalog, tmp_path):
    """Certificates of an authority that the system trusts are accepted, and no others."""
    folder = secured.certificates(tmp_path)
    cluster = servers.Cluster(tmp_path / "cluster").start()
    try:
        copied.copy(catalog, cluster)
        secured.speak_tls(cluster.postgres, folder)
        with secured.proxy(folder, cluster.clickhouse.port) as port:
            names = f"postgresql://datachain@localhost:{cluster.postgres.port}/datachain"
            plain = f"clickhouse://reader@{cluster.clickhouse.authority}/datachain?metastore={names}"
            safe = f"clickhouse://reader@localhost:{port}/datachain?secure=true&metastore={names}"
            strangers = mounts.Dcfs(tmp_path / "strangers", **cluster.environment)
            assert "UnknownIssuer" in failed(strangers, "ls", "--catalog", f"{plain}?sslmode=require")
            assert "UnknownIssuer" in failed(strangers, "ls", "--catalog", safe)
            knows = mounts.Dcfs(tmp_path / "knows", SSL_CERT_FILE=str(folder / "ca.pem"), **cluster.environment)
            assert "few" in knows.ok("ls", "--catalog", f"{safe}?sslmode=require")
    finally:
        cluster.stop()
