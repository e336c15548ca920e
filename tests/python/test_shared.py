"""The folder that hosts share: two hosts as two homes, one catalog, one bucket of a real S3 server."""

import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import mounts
import servers

sys.path.append(str(mounts.ROOT / "tests" / "bench"))
import catalog as made  # noqa: E402

pytestmark = pytest.mark.mount

ROWS = 60_000
"""Enough that the rows of a filter are worth sharing, and that a builder can be killed in the middle."""

KILLS = int(os.environ.get("DCFS_KILLS", "20")) // 4
FILTER = "width > 500"


@pytest.fixture
def team(s3, tmp_path):
    """A catalog, an empty bucket, and hosts that use them."""
    bucket = f"team-{random.randrange(1 << 32):08x}"
    s3.bucket(bucket, versioned=False)
    folder = tmp_path / "catalog"
    made.make(folder, "class/hash", ROWS, made.TYPED)

    def host(name, write=False, prefix=f"s3://{bucket}/dcfs", url=s3.url, lease=1, split=4_000_000, patience=None):
        config = tmp_path / f"{name}.toml"
        said = f'[shared]\nprefix = "{prefix}"\nwrite = {str(write).lower()}\nlease = {lease}\nsplit = {split}\n'
        said += "" if patience is None else f"patience = {patience}\n"
        config.write_text(said)
        keys = servers.S3.KEYS | {"AWS_ENDPOINT_URL": url, "DCFS_CONFIG": str(config)}
        return mounts.Dcfs(tmp_path / name, **keys)

    def keys():
        found = s3.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return sorted(entry["Key"] for entry in found)

    return SimpleNamespace(
        s3=s3, bucket=bucket, catalog=folder, host=host, keys=keys,
        objects=lambda: [key for key in keys() if "/lease-" not in key],
    )  # fmt: skip


def warm(team, host, *more):
    return json.loads(host.ok("warm", "--to-shared", "--json", "bench", "--catalog", team.catalog, *more))


def names(mount):
    """Every path of the version, from a walk of one directory in each hundred."""
    root = mount.datasets / "bench@1.0.0"
    classes = sorted(os.listdir(root))
    return {name: sorted(os.listdir(root / name)) for name in classes if not name.startswith("_")}


def count(mount):
    return int((mount.datasets / "bench@1.0.0" / FILTER / "_count").read_text())


def told(mount):
    return json.loads((mount.path / "_status.json").read_text())


def test_a_second_host_reads_what_the_first_built(team, tmp_path):
    """Pack, columns and rows of a filter come from the bucket; the reader writes neither there nor into the catalog."""
    first, second, alone = team.host("first"), team.host("second"), mounts.Dcfs(tmp_path / "alone")
    written = warm(team, first, "--where", FILTER)
    assert written["objects"] > 8 and written["prefix"] == f"s3://{team.bucket}/dcfs"
    assert warm(team, first)["objects"] == 0, "what is there is left"
    before, database = team.keys(), team.catalog / ".datachain" / "db"
    held = database.read_bytes()
    with alone.mount(team.catalog, tmp_path / "a") as truth, second.mount(team.catalog, tmp_path / "b") as mount:
        assert names(mount) == names(truth)
        assert count(mount) == count(truth)
        shared = told(mount)["shared"]
    assert shared["fetched"] > 8 and shared["put"] == 0 and shared["refused"] == 0 and shared["is_there"]
    assert "packed" not in second.log() and second.worries() == []
    assert team.keys() == before and database.read_bytes() == held


def test_a_mount_that_may_write_shares_what_it_builds(team, tmp_path):
    """`write = true`: the pack and the columns of a filter are there for others once they are made."""
    first, second = team.host("first", write=True), team.host("second")
    with first.mount(team.catalog, tmp_path / "a") as mount:
        want = names(mount), count(mount)
        # Packs and columns are uploaded in the background.
        for _ in range(600):
            if first.log().count(" shared ") >= 2:
                break
            time.sleep(0.1)
    with second.mount(team.catalog, tmp_path / "b") as mount:
        assert (names(mount), count(mount)) == want
        assert told(mount)["shared"]["fetched"] > 4
    assert [key for key in team.keys() if "/lease-" in key] == []


def test_a_builder_killed_at_any_moment_leaves_nothing_wrong(team, tmp_path):
    """`kill -9` while it builds, writes or keeps the digest: others see all or nothing, and what is left is taken over or swept."""
    random.seed(22)
    with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "t") as truth:
        want = names(truth)
    for number in range(KILLS):
        builder = team.host(f"builder{number}")
        words = [mounts.DCFS, "warm", "--to-shared", "bench", "--catalog", team.catalog]
        process = subprocess.Popen(words, env=builder.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.random() * 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with team.host(f"reader{number}").mount(team.catalog, tmp_path / f"r{number}") as mount:
            assert names(mount) == want
    last = team.host("last")
    warm(team, last)
    # Nobody asks for the lease of what is there: one of a builder that was killed after the digest is left to gc.
    time.sleep(2)
    last.ok("cache", "shared", "gc", "--older-than", "1s", "--catalog", team.catalog)
    assert [key for key in team.keys() if "/lease-" in key] == []
    with team.host("reader").mount(team.catalog, tmp_path / "r") as mount:
        assert names(mount) == want and told(mount)["shared"]["fetched"] > 0


def test_damaged_objects_are_never_believed(team, tmp_path):
    """Any object of the bucket changed, truncated, swapped or gone: the host builds by itself and says so; a writer repairs it."""
    random.seed(7)
    first = team.host("first")
    warm(team, first)
    with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "t") as truth:
        want = names(truth)
    for number, key in enumerate(random.sample(team.objects(), min(4, len(team.objects())))):
        body = bytearray(team.s3.client.get_object(Bucket=team.bucket, Key=key)["Body"].read())
        body[random.randrange(len(body))] ^= 1 << random.randrange(8)
        team.s3.put(team.bucket, key, bytes(body[: len(body) - number % 2]))
        reader = team.host(f"reader{number}")
        with reader.mount(team.catalog, tmp_path / f"r{number}") as mount:
            assert names(mount) == want
            if told(mount)["shared"]["refused"]:
                assert any("cannot be used" in line for line in reader.worries())
        with team.host(f"writer{number}", write=True).mount(team.catalog, tmp_path / f"w{number}") as mount:
            assert names(mount) == want
        team.s3.client.delete_object(Bucket=team.bucket, Key=key)
        warm(team, first)
    last = team.host("last")
    with last.mount(team.catalog, tmp_path / "l") as mount:
        assert names(mount) == want
        assert told(mount)["shared"]["refused"] == 0 and told(mount)["shared"]["fetched"] > 0


def test_a_bucket_that_is_gone_is_done_without(team, tmp_path):
    """No server, no bucket: the mount works by itself and says so."""
    warm(team, team.host("first"))
    nobody = f"http://127.0.0.1:{servers.free_port()}"
    for name, options in {"away": {"url": nobody}, "none": {"prefix": "s3://nonexistent-bucket/dcfs"}}.items():
        host = team.host(name, **options)
        with host.mount(team.catalog, tmp_path / f"m-{name}") as mount:
            assert len(names(mount)) > 900
        assert any("shared" in line for line in host.worries()), host.log()
        result = host.run("warm", "--to-shared", "bench", "--catalog", team.catalog)
        assert result.returncode != 0 and "dcfs:" in result.stderr, result.stderr


def test_readers_need_get_alone(team, tmp_path):
    """A read-only server: a reader can read; a host told to share is told why it cannot."""
    root = tmp_path / "root"
    warm(team, team.host("first"))
    for key in team.keys():
        path = root / team.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(team.s3.client.get_object(Bucket=team.bucket, Key=key)["Body"].read())
    (tmp_path / "nginx").mkdir()
    with servers.nginx(tmp_path / "nginx", root) as url:
        reader = team.host("reader", url=url, write=True)
        with reader.mount(team.catalog, tmp_path / "r") as mount:
            assert len(names(mount)) > 900 and told(mount)["shared"]["fetched"] > 4
        shutil.rmtree(root / team.bucket)
        result = team.host("writer", url=url).run("warm", "--to-shared", "bench", "--catalog", team.catalog)
        assert result.returncode != 0 and "405" in result.stderr, result.stderr


@pytest.mark.root
def test_a_catalog_that_cannot_be_written_is_read_and_shared_by_nobody(team, shared_folder, tmp_path):
    """Its user reads shared objects; what they build stays on their host, because nobody could trust it."""
    result = team.host("first").run("warm", "bench", "--catalog", team.catalog, "--to-shared", "--json")
    assert result.returncode == 0, result.stderr
    folder = shared_folder / "catalog"
    shutil.copytree(team.catalog, folder)
    subprocess.run(["chown", "-R", "root:root", folder], check=True)
    subprocess.run(["chmod", "-R", "a+rX,go-w", folder], check=True)
    home = shared_folder / "home"
    host = team.host("reader")
    home.mkdir()
    os.chown(home, 65534, 65534)
    config = shared_folder / "config.toml"
    config.write_text((tmp_path / "reader.toml").read_text())
    os.chmod(config, 0o644)
    environment = host.environment | {
        "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state"),
        "DCFS_CONFIG": str(config),
    }  # fmt: skip
    binary = shared_folder / "dcfs"
    shutil.copy(mounts.DCFS, binary)
    before = team.keys()

    def run(*words):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    counted = run("count", "bench", "--where", FILTER, "--catalog", folder)
    assert counted.returncode == 0, counted.stderr
    shared = run("warm", "--to-shared", "bench", "--catalog", folder)
    assert shared.returncode != 0 or '0 objects' in shared.stdout, shared.stdout
    assert team.keys() == before


def test_names_in_blocks_are_read_by_range(team, tmp_path):
    """A version of many rows: a second host has the top alone. A look-up is one range read, and so is a page of a listing;
    the whole pack comes when a filter lists files."""
    warm(team, team.host("first", split=1000))
    with (
        servers.gate(tmp_path / "gate", team.s3.url) as gate,
        mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "a") as truth,
    ):
        second = team.host("second", url=gate.url, split=1000)

        def asked(question):
            before = len(gate.asked())
            return question(), len(gate.asked()) - before

        def stat(folder, name):
            found = os.stat(root / folder / name)
            return found.st_size, found.st_mtime_ns

        with second.mount(team.catalog, tmp_path / "b") as mount:
            root, there = mount.datasets / "bench@1.0.0", truth.datasets / "bench@1.0.0"
            folders = sorted(name for name in os.listdir(there) if not name.startswith("_"))
            # The list of files, the manifest, and the top, which has the first name.
            assert asked(lambda: os.stat(root / folders[0]))[1] == 3
            counts = []
            for folder in folders[5::200]:
                counts.append(asked(lambda: os.stat(root / folder))[1])
                for name in sorted(os.listdir(there / folder))[::20]:
                    found, requests = asked(lambda: stat(folder, name))
                    known = os.stat(there / folder / name)
                    assert found == (known.st_size, known.st_mtime_ns)
                    counts.append(requests)
                listed, requests = asked(lambda: os.listdir(root / folder))
                assert sorted(listed) == sorted(os.listdir(there / folder))
                counts.append(requests)
            assert max(counts) == 1 and not (root / folders[0] / "nothing").exists()
            assert names(mount) == names(truth)
            assert not list(second.home.rglob("c0.fst")), "no pack was fetched"
            # Bytes of names that were read are here: nothing is asked for again.
            again, requests = asked(lambda: names(mount))
            assert again == names(truth) and requests == 0
            # The files of a filter need the map from rows to entries.
            assert count(mount) == count(truth)
            assert sorted(os.listdir(root / FILTER)) == sorted(os.listdir(there / FILTER))
            assert list(second.home.rglob("c0.fst")) and names(mount) == names(truth)
        assert second.worries() == []
        # The next mount uses what is here.
        with second.mount(team.catalog, tmp_path / "b") as mount:
            listed, requests = asked(lambda: names(mount))
            assert listed == names(truth) and requests == 0


def test_ids_with_gaps_are_in_blocks_too(team, tmp_path):
    """Rows that a filter left out, and files that two rows name: look-ups, opens, rows and tables by blocks are those of the whole pack."""
    files = tmp_path / "files"
    for n in range(9000):
        path = files / f"{n % 40:02}/{n * 7919 % 9000:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {n}\n")
    shutil.rmtree(team.catalog)
    team.host("first").ok("index", files, "--save", "bench", "--catalog", team.catalog)
    with sqlite3.connect(team.catalog / ".datachain" / "db") as database:
        table = "ds_local_local_bench_1_0_0"
        database.execute(f"CREATE TEMP TABLE again AS SELECT * FROM {table} WHERE sys__id % 1000 = 1")
        database.execute("UPDATE again SET sys__id = sys__id + 100000")
        database.execute(f"INSERT INTO {table} SELECT * FROM again")
        # The last gap is a whole directory.
        database.execute(f"DELETE FROM {table} WHERE sys__id % 5 = 2 OR sys__id BETWEEN 4000 AND 4400")
        database.execute(f"UPDATE datasets_versions SET num_objects = (SELECT count(*) FROM {table}) WHERE id = (SELECT max(id) FROM datasets_versions)")
        left = [row for (row,) in database.execute(f"SELECT sys__id FROM {table}")]
    warm(team, team.host("first", split=1000))

    def seen(mount):
        root = mount.datasets / "bench@1.0.0"
        texts = {path.relative_to(root): path.read_text() for path in sorted(root.glob("[0-9]*/*0.txt"))}
        why = [os.path.exists(root / f"_views/rows/{row}.json") for row in (left[0], left[0] + 1, left[-1], left[-1] + 1, 2, 4200)]
        return texts, why, (root / "_rows.jsonl").read_text(), (root / "sys__id > 4300" / "_count").read_text()

    second = team.host("second", split=1000)
    with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "a") as truth:
        want, all_names = seen(truth), names(truth)
        with second.mount(team.catalog, tmp_path / "b") as mount:
            assert names(mount) == all_names and len(all_names) == 39
            path = "00/*0.txt"
            assert [p.read_text() for p in sorted((mount.datasets / "bench@1.0.0").glob(path))]
            held = {file.name for file in second.home.rglob("*") if file.is_file()}
            assert "names.blocks" in held and not {"rows.ids", "c0.fst"} & held, "opens need blocks alone"
            assert int((mount.datasets / "bench@1.0.0" / "sys__id > 4300" / "_count").read_text()) == int(want[3])
            held = {file.name for file in second.home.rglob("*") if file.is_file()}
            assert "rows.ids" in held and "c0.fst" not in held, "a filter needs the ids, and no names"
            assert seen(mount) == want and names(mount) == all_names
            assert told(mount)["shared"]["refused"] == 0
    assert second.worries() == []


def test_blocks_that_cannot_be_read_are_an_error_until_they_can(team, tmp_path):
    """A bucket that refuses or is away: EIO or EACCES with a line in the log, no hang; names that are here stay; then all works."""
    warm(team, team.host("first", split=1000))
    with servers.gate(tmp_path / "gate", team.s3.url) as gate:
        second = team.host("second", url=gate.url, split=1000)
        with second.mount(team.catalog, tmp_path / "b") as mount:
            root = mount.datasets / "bench@1.0.0"
            folders = sorted(name for name in os.listdir(root) if not name.startswith("_"))
            here = sorted(os.listdir(root / folders[0]))
            with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "a") as truth:
                of = truth.datasets / "bench@1.0.0" / folders[-1]
                path = root / folders[-1] / min(name for name in os.listdir(of) if not name.startswith("_"))
                size = os.stat(of / path.name).st_size
            gate.refuse(servers.S3.KEYS["AWS_ACCESS_KEY_ID"])
            # A file that exists is never said not to, and one that nobody listed is not known to the kernel.
            for ask in (os.stat, lambda path: os.listdir(path.parent)):
                with pytest.raises(OSError) as refused:
                    ask(path)
                assert refused.value.errno in (errno.EIO, errno.EACCES), refused.value
            assert sorted(os.listdir(root / folders[0])) == here
            assert any("names cannot be read" in line for line in second.worries())
            gate.refuse()
            found = None
            for _ in range(300):
                try:
                    found = os.stat(path)
                    break
                except OSError as error:
                    assert error.errno in (errno.EIO, errno.EACCES), error
                    time.sleep(0.1)
            assert found is not None and found.st_size == size
            assert path.name in os.listdir(path.parent)


def test_names_that_cannot_be_read_at_first_are_an_error_until_they_can(team, tmp_path):
    """A bucket that refuses when a large version is first opened: an error that says what comes next, and no host begins to build;
    one that is told not to wait builds."""
    warm(team, team.host("first", split=1000))
    with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "a") as truth:
        want = names(truth)
    with servers.gate(tmp_path / "gate", team.s3.url) as gate:
        second = team.host("second", url=gate.url, split=1000)
        gate.refuse(servers.S3.KEYS["AWS_ACCESS_KEY_ID"])
        with second.mount(team.catalog, tmp_path / "b") as mount:
            for _ in range(3):
                with pytest.raises(OSError) as refused:
                    os.listdir(mount.datasets / "bench@1.0.0")
                assert refused.value.errno in (errno.EIO, errno.EACCES), refused.value
            result = second.run("count", "bench", "--where", "file.path like '%7%'", "--catalog", team.catalog)
            assert result.returncode != 0 and "`patience` in `[shared]`" in result.stderr, result.stderr
            assert any("`patience` in `[shared]`" in line for line in second.worries())
            # Each command begins anew, and their patience ends all the same.
            third = team.host("third", url=gate.url, split=1000, patience=60)
            count = ("count", "bench", "--where", "file.path like '%7%'", "--catalog", team.catalog)
            for _ in range(2):
                result = third.run(*count)
                assert result.returncode != 0 and "`patience` in `[shared]`" in result.stderr, result.stderr
            (away,) = third.home.rglob("*.away")
            os.utime(away, (time.time() - 100,) * 2)
            alone = mounts.Dcfs(tmp_path / "alone")
            assert third.ok(*count) == alone.ok(*count) and list(third.home.rglob("c0.fst"))
            assert not list(third.home.rglob("*.away")), "it is not waited for any more"
            gate.refuse()
            found = None
            for _ in range(300):
                try:
                    found = names(mount)
                    break
                except OSError as error:
                    assert error.errno in (errno.EIO, errno.EACCES), error
                    time.sleep(0.1)
            assert found == want and not list(second.home.rglob("c0.fst")), "from blocks"
        hasty = team.host("hasty", url=gate.url, split=1000, patience=0)
        gate.refuse(servers.S3.KEYS["AWS_ACCESS_KEY_ID"])
        with hasty.mount(team.catalog, tmp_path / "c") as mount:
            assert names(mount) == want and list(hasty.home.rglob("c0.fst"))


def test_damaged_blocks_are_never_believed(team, tmp_path):
    """A byte of any object changed: the names are right all the same, from the pack."""
    random.seed(22)
    warm(team, team.host("first", split=1000))
    with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "t") as truth:
        want = names(truth)
    for number, key in enumerate(team.objects()):
        body = team.s3.client.get_object(Bucket=team.bucket, Key=key)["Body"].read()
        # Every block has some of them.
        changed = bytearray(body)
        for at in range(random.randrange(min(len(body), 4096)), len(body), 4096):
            changed[at] ^= 1 << random.randrange(8)
        team.s3.put(team.bucket, key, bytes(changed[: len(body) - number % 2]))
        reader = team.host(f"reader{number}", split=1000)
        with reader.mount(team.catalog, tmp_path / f"r{number}") as mount:
            assert names(mount) == want
        team.s3.put(team.bucket, key, body)


def test_damaged_blocks_are_mended_by_a_host_that_shares(team, tmp_path):
    """A bit of every object of the names changed, with the same length: `warm --to-shared` notices, and writes them again."""
    random.seed(23)
    warm(team, team.host("first"))
    pack = team.objects()
    host = team.host("first", split=1000)
    warm(team, host)
    of_names = sorted(set(team.objects()) - set(pack))
    assert len(of_names) >= 3, "the list, the top and the blocks"
    assert warm(team, host)["objects"] == 0, "what is intact is left"
    for key in of_names:
        changed = bytearray(team.s3.client.get_object(Bucket=team.bucket, Key=key)["Body"].read())
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        team.s3.put(team.bucket, key, bytes(changed))
    assert warm(team, host)["objects"] >= 3
    with mounts.Dcfs(tmp_path / "alone").mount(team.catalog, tmp_path / "t") as truth:
        want = names(truth)
    reader = team.host("reader", split=1000)
    with reader.mount(team.catalog, tmp_path / "r") as mount:
        assert names(mount) == want
        assert told(mount)["shared"]["refused"] == 0 and told(mount)["shared"]["fetched"] > 3
        assert not list(reader.home.rglob("c0.fst")), "no pack was fetched"
    assert reader.worries() == []


def test_what_nobody_needs_is_removed(team, tmp_path):
    """`dcfs cache shared status` lists the contents; `gc` removes objects without a digest, and removed versions."""
    host = team.host("first")
    warm(team, host, "--where", FILTER)
    shared = ["--catalog", team.catalog, "--json"]
    status = json.loads(host.ok("cache", "shared", "status", *shared))
    (of,) = status["versions"].values()
    assert of["objects"] == len(team.objects()) and len(of["names"]) >= 3 and status["unknown"]["objects"] == 0
    assert host.ok("cache", "shared", "status", "--catalog", team.catalog).startswith("`s3://")
    folder = team.objects()[0].rsplit("/", 1)[0]
    team.s3.put(team.bucket, f"{folder}/{'0' * 64}", b"left over")
    team.s3.put(team.bucket, "dcfs/v1/abc/left", b"of another catalog")
    team.s3.put(team.bucket, "elsewhere", b"nobody's business")
    swept = json.loads(host.ok("cache", "shared", "gc", *shared))
    assert swept["removed"]["objects"] == 0 and swept["unknown"]["objects"] == 1, "all is new"
    time.sleep(2)
    swept = json.loads(host.ok("cache", "shared", "gc", "--older-than", "1s", *shared))
    assert swept["removed"]["objects"] == 1 and "dcfs/v1/abc/left" in team.keys()
    with team.host("second").mount(team.catalog, tmp_path / "b") as mount:
        assert len(names(mount)) > 900 and told(mount)["shared"]["refused"] == 0
    host.ok("rm", "bench@1.0.0", "--yes", "--catalog", team.catalog)
    host.ok("cache", "shared", "gc", *shared)
    assert team.keys() == ["dcfs/v1/abc/left", "elsewhere"]


def test_what_cannot_be_removed_is_counted(team):
    """`gc` removes the others, says how many are left, and fails."""
    host = team.host("first")
    for name in ["a", "b", "c"]:
        team.s3.put(team.bucket, f"dcfs/v1/abc/{name}", b"of another catalog")
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{team.bucket}/dcfs/v1/abc/b"}
    team.s3.client.put_bucket_policy(Bucket=team.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    time.sleep(2)
    sweep = ["cache", "shared", "gc", "--unknown", "--older-than", "1s", "--catalog", team.catalog]
    told = host.run(*sweep)
    assert told.returncode != 0 and "Access Denied" in told.stderr, told
    assert told.stdout.startswith("removed 2 objects, ") and "; 1 object could not be removed; " in told.stdout, told
    assert team.keys() == ["dcfs/v1/abc/b"]
    told = host.run(*sweep, "--json")
    swept = json.loads(told.stdout)
    assert told.returncode != 0 and (swept["removed"]["objects"], swept["failed"]["objects"]) == (0, 1)
    team.s3.client.delete_bucket_policy(Bucket=team.bucket)
    assert json.loads(host.ok(*sweep, "--json"))["failed"]["objects"] == 0 and team.keys() == []


def test_settings_that_make_no_sense_are_told(team, tmp_path):
    for prefix in ["s3://", "ftp://x/y", "https://example.org/x", "file://relative/x"]:
        host = team.host("wrong", prefix=prefix)
        result = host.run("warm", "--to-shared", "bench", "--catalog", team.catalog)
        assert result.returncode != 0 and "`prefix` of `[shared]`" in result.stderr, (prefix, result.stderr)
    bare = mounts.Dcfs(tmp_path / "bare")
    result = bare.run("warm", "--to-shared", "bench", "--catalog", team.catalog)
    assert result.returncode == 2 and "no folder is shared" in result.stderr


def test_a_long_build_says_how_far_it_is(team, tmp_path):
    """`_status.json` and `dcfs status` list a version that is being packed."""
    host = mounts.Dcfs(tmp_path / "slow")
    big = tmp_path / "big"
    made.make(big, "uuid", 400_000)
    with host.mount(big, tmp_path / "m") as mount:
        asked = subprocess.Popen(["ls", mount.datasets / "bench@1.0.0"], stdout=subprocess.DEVNULL)
        seen = []
        while asked.poll() is None:
            seen += told(mount)["packing"]
        assert seen and seen[0]["version"] == "bench@1.0.0" and seen[-1]["of"] == 400_000
        assert {build["doing"] for build in seen} <= {"reading", "writing"}
        assert told(mount)["packing"] == []
