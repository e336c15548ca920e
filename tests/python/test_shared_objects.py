"""Small objects that hosts share: what one fetched, another reads without asking the store; sealed, or not believed."""

import hashlib
import json
import random
import time
from types import SimpleNamespace

import pytest

import mounts
import servers

pytestmark = pytest.mark.mount

SMALL = {f"small/{n}.bin": random.Random(n).randbytes(20_000 + n) for n in range(12)} | {"small/empty.bin": b""}
LARGE = {"large.bin": b"large" * 400_000}
WAIT = 600
"""Tenths of a second until what is written in the background has to be there."""


@pytest.fixture
def team(s3, tmp_path):
    """Objects in a bucket, a catalog of them, and hosts that share another bucket."""
    origin, bucket = (f"{name}-{random.randrange(1 << 32):08x}" for name in ("origin", "team"))
    s3.bucket(origin, versioned=False)
    s3.bucket(bucket, versioned=False)

    def put():
        for key, body in (SMALL | LARGE).items():
            s3.put(origin, key, body)

    def host(name, write=False, objects=True):
        config = tmp_path / f"{name}.toml"
        said = f"write = {str(write).lower()}\nobjects = {str(objects).lower()}\n"
        config.write_text(f'[shared]\nprefix = "s3://{bucket}/dcfs"\n{said}')
        keys = servers.S3.KEYS | {"AWS_ENDPOINT_URL": s3.url, "DCFS_CONFIG": str(config)}
        return mounts.Dcfs(tmp_path / name, **keys)

    def keys():
        found = s3.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return sorted(entry["Key"] for entry in found if "/objects-v1/" in entry["Key"])

    put()
    folder = tmp_path / "catalog"
    folder.mkdir()
    host("maker").ok("index", f"s3://{origin}/", "--save", "things", "--catalog", folder)
    gone = lambda: [s3.client.delete_object(Bucket=origin, Key=key) for key in SMALL | LARGE]  # noqa: E731
    return SimpleNamespace(s3=s3, bucket=bucket, catalog=folder, host=host, keys=keys, put=put, gone=gone)


def read(mount, names):
    """What each file holds, or the error of reading it."""
    found = {}
    for name in names:
        try:
            found[name] = (mount.datasets / "things@1.0.0" / name).read_bytes()
        except OSError as error:
            found[name] = error.errno
    return found


def shared(mount):
    return json.loads((mount.path / "_status.json").read_text())["shared"]


def fill(team, count=12):
    """One host reads everything, and shares what it fetched."""
    with team.host("first", write=True).mount(team.catalog, team.catalog.parent / "first-mount") as mount:
        assert read(mount, SMALL | LARGE) == SMALL | LARGE
        for _ in range(WAIT):
            if len(team.keys()) == count:
                return
            time.sleep(0.1)
    raise AssertionError(f"{len(team.keys())} objects are shared")


def test_what_one_host_fetched_another_reads_without_the_store(team, tmp_path):
    """Small objects alone, and only where the settings say so."""
    fill(team)
    team.gone()
    with team.host("second").mount(team.catalog, tmp_path / "b") as mount:
        found = read(mount, SMALL | LARGE)
        assert {name: found[name] for name in SMALL if name != "small/empty.bin"} == {n: b for n, b in SMALL.items() if b}
        assert isinstance(found["large.bin"], int), "too large to be shared"
        assert shared(mount)["refused"] == 0 and shared(mount)["put"] == 0
    with team.host("without", objects=False).mount(team.catalog, tmp_path / "c") as mount:
        assert all(isinstance(answer, int) for name, answer in read(mount, SMALL).items() if SMALL[name])


def test_a_reader_shares_nothing(team, tmp_path):
    with team.host("reader").mount(team.catalog, tmp_path / "a") as mount:
        assert read(mount, SMALL) == SMALL
    with team.host("without", write=True, objects=False).mount(team.catalog, tmp_path / "b") as mount:
        assert read(mount, SMALL) == SMALL
    assert team.keys() == []


def test_a_changed_object_is_not_believed(team, tmp_path):
    """Any bit, a part, nothing, the object of another key: the store is asked, and a host that may write mends it."""
    fill(team)
    random.seed(11)
    keys = team.keys()
    bodies = {key: team.s3.client.get_object(Bucket=team.bucket, Key=key)["Body"].read() for key in keys}
    for number, key in enumerate(keys):
        wrong = bytearray(bodies[key])
        wrong[random.randrange(len(wrong))] ^= 1 << random.randrange(8)
        other = bodies[keys[number - 1]]
        team.s3.put(team.bucket, key, [bytes(wrong), bodies[key][:-1], other, b""][number % 4])
    with team.host("second").mount(team.catalog, tmp_path / "b") as mount:
        assert read(mount, SMALL) == SMALL
        assert shared(mount)["refused"] >= 3, "those of the right length"
        assert shared(mount)["is_there"], "the folder answered"
    with team.host("third", write=True).mount(team.catalog, tmp_path / "c") as mount:
        assert read(mount, SMALL) == SMALL
        for _ in range(WAIT):
            if all(team.s3.client.get_object(Bucket=team.bucket, Key=key)["Body"].read() == bodies[key] for key in keys):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("what was wrong stays wrong")
    team.gone()
    with team.host("fourth").mount(team.catalog, tmp_path / "d") as mount:
        assert read(mount, ["small/3.bin"]) == {"small/3.bin": SMALL["small/3.bin"]}


def test_a_secret_of_another_catalog_opens_nothing(team, tmp_path):
    """Who writes the bucket with another catalog can forge no object of this one."""
    fill(team)
    before = team.keys()
    other = tmp_path / "other"
    other.mkdir()
    maker = team.host("forger", write=True)
    source = json.loads(maker.ok("show", "things", "--json", "--limit", "1", "--catalog", team.catalog).splitlines()[0])
    uri = source["file"]["source"]
    maker.ok("index", uri, "--save", "things", "--catalog", other)
    with maker.mount(other, tmp_path / "o") as mount:
        assert read(mount, ["small/1.bin"]) == {"small/1.bin": SMALL["small/1.bin"]}
        for _ in range(WAIT):
            if len(team.keys()) > len(before):
                break
            time.sleep(0.1)
    (theirs,) = set(team.keys()) - set(before)
    # The same object, as the other catalog sealed it, in the place where this one looks.
    (ours,) = [key for key in before if key.endswith(theirs.rsplit("objects-v1/", 1)[1].split("/", 1)[1])]
    sealed = team.s3.client.get_object(Bucket=team.bucket, Key=theirs)["Body"].read()
    team.s3.put(team.bucket, ours, sealed)
    with team.host("second").mount(team.catalog, tmp_path / "s") as mount:
        assert read(mount, ["small/1.bin"]) == {"small/1.bin": SMALL["small/1.bin"]}
        assert shared(mount)["refused"] == 1


def test_warming_shares_small_objects(team, tmp_path):
    """`dcfs warm --to-shared` writes those that are missing, cached here or not; `gc` removes old ones when told to."""
    host = team.host("first")
    host.ok("warm", "things", "--catalog", team.catalog)
    warm = ["warm", "--to-shared", "things", "--json", "--catalog", team.catalog]
    told = json.loads(host.ok(*warm))["small"]
    assert told == {"objects": 12, "bytes": sum(map(len, SMALL.values())), "there": 0, "failed": 0}
    told = json.loads(host.ok(*warm))["small"]
    assert (told["objects"], told["there"], told["failed"]) == (0, 12, 0)
    team.s3.client.delete_object(Bucket=team.bucket, Key=team.keys()[0])
    assert json.loads(host.ok(*warm))["small"]["objects"] == 1
    assert "small objects: 0 objects" in host.ok("warm", "--to-shared", "things", "--catalog", team.catalog)
    place = ["--catalog", team.catalog, "--json"]
    assert json.loads(host.ok("cache", "shared", "status", *place))["objects"]["objects"] == 12
    host.ok("cache", "shared", "gc", "--older-than", "1ms", *place)
    assert len(team.keys()) == 12, "they are removed only where that is asked for"
    team.s3.put(team.bucket, f"dcfs/v1/{hashlib.sha256(b'objects').hexdigest()}/x", b"of a version named like the secret")
    host.ok("cache", "shared", "gc", "--older-than", "1ms", *place)
    assert json.loads(host.ok(*warm))["small"]["there"] == 12, "the secret is there"
    kept = json.loads(host.ok("cache", "shared", "gc", "--objects-older-than", "1h", *place))
    assert (kept["removed"]["objects"], kept["stays"]["objects"]) == (0, 12)
    time.sleep(2)
    gone = json.loads(host.ok("cache", "shared", "gc", "--objects-older-than", "1s", *place))
    assert gone["removed"]["objects"] == 12 and team.keys() == []
    without = json.loads(team.host("without", objects=False).ok(*warm))
    assert without["small"] is None and team.keys() == []


def test_a_second_host_is_warmed_from_the_folder(team, tmp_path):
    """`dcfs warm` looks there first, as a mount does."""
    fill(team)
    team.put()
    team.gone()
    result = team.host("second").run("warm", "things", "--json", "--catalog", team.catalog)
    told = json.loads(result.stdout)
    assert told["fetched"] >= 12 and told["failed"] <= 2, "all but the large one, and the empty one"


def test_a_bucket_that_is_gone_is_done_without(team, tmp_path):
    """Objects come from the store."""
    fill(team)
    found = team.s3.client.list_objects_v2(Bucket=team.bucket)["Contents"]
    for entry in found:
        team.s3.client.delete_object(Bucket=team.bucket, Key=entry["Key"])
    team.s3.client.delete_bucket(Bucket=team.bucket)
    with team.host("second", write=True).mount(team.catalog, tmp_path / "b") as mount:
        assert read(mount, SMALL) == SMALL
