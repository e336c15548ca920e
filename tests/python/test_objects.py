"""`dcfs plan`, `warm`, `verify`, and the status files of a mount."""

import json
import os
import random

import pytest

import datachain_runs
import mounts
import objects
import servers
import sql


@pytest.fixture(scope="module")
def files():
    random.seed(41)
    return {
        **{f"small/{number:02}.bin": random.randbytes(random.randrange(1, 90_000)) for number in range(30)},
        "empty.bin": b"",
        "large.bin": random.randbytes(20 << 20),
    }


@pytest.fixture
def store(tmp_path, files):
    with objects.served(tmp_path / "store", files) as store:
        yield store


@pytest.fixture
def dcfs(tmp_path):
    return mounts.Dcfs(tmp_path / "home")


def reached(store, command):
    """The flags for the store. A plan sends no requests, so it needs fewer."""
    return [word for word in store.access() if word != "--anon" or command != "plan"]


def told(dcfs, store, *command):
    return json.loads(dcfs.ok(*command, "--json", *reached(store, command[0])))


def test_a_dataset_is_planned_warmed_and_then_read_without_a_request(store, dcfs, tmp_path, files):
    total = sum(len(data) for data in files.values())
    planned = told(dcfs, store, "plan", "static")
    assert (planned["objects"], planned["bytes"]) == (32, total)
    assert (planned["missing"], planned["missing_bytes"], planned["requests"]) == (32, total, 31 + 3)
    assert store.asked() == [], "a plan asks nothing"
    check = dcfs.run("warm", "--check", "static", *store.access())
    assert check.returncode == 1 and "32 objects are not cached" in check.stderr
    warmed = told(dcfs, store, "warm", "static", "--where", "file.size < 100000")
    assert (warmed["objects"], warmed["fetched"], warmed["failed"]) == (31, 31, 0)
    assert told(dcfs, store, "plan", "static")["missing"] == 1
    warmed = told(dcfs, store, "warm", "static", "--jobs", "3")
    assert (warmed["objects"], warmed["fetched"], warmed["fetched_bytes"]) == (32, 1, 20 << 20)
    planned = told(dcfs, store, "plan", "static")
    assert (planned["cached"], planned["cached_bytes"], planned["requests"]) == (32, total, 0)
    assert "cached: 32 objects" in dcfs.ok("plan", "static", *reached(store, "plan"))
    dcfs.ok("warm", "--check", "static", *store.access())
    before = len(store.asked())
    assert told(dcfs, store, "warm", "static")["fetched"] == 0
    with store.mounted(dcfs, tmp_path / "mnt") as root:
        for name, data in files.items():
            assert (root / name).read_bytes() == data
    assert len(store.asked()) == before


def test_a_plan_counts_what_cannot_be_read_and_verify_says_why(store, dcfs, files):
    away = {"small/01.bin": "ftp://h", "small/02.bin": "s3://b@c", "small/03.bin": "file:///nonexistent"}
    for name, source in away.items():
        sql.change(store.folder, f"UPDATE {sql.table_of('static')} SET file__source = '{source}' WHERE file__path = '{name}'")
    planned = told(dcfs, store, "plan", "static")
    assert (planned["objects"], planned["unreadable"], planned["missing"]) == (32, 2, 29), planned
    assert planned["local"] == 1, "whether a file of this machine is there is not looked at"
    assert planned["missing_bytes"] == sum(len(data) for name, data in files.items() if name not in away)
    assert "  cannot be read: 2; `dcfs verify` says why" in dcfs.ok("plan", "static", *reached(store, "plan"))
    verified = dcfs.run("verify", "static", "--json", *store.access())
    assert verified.returncode != 0
    said = json.loads(verified.stdout)
    found = [drift["path"] for drift in said["drifted"] + said["failed"]]
    assert sorted(path[-len("small/01.bin") :] for path in found) == sorted(away)
    assert "ftp://" in verified.stdout and "names no bucket" in verified.stdout
    assert store.asked().count("small/01.bin") == 0


def test_an_interrupted_warm_goes_on_where_it_stopped(store, dcfs, files):
    (store.bucket / "small/07.bin").rename(store.bucket / "away")
    failed = dcfs.run("warm", "static", *store.access())
    assert failed.returncode == 3 and "`small/07.bin`:" in failed.stderr
    assert "1 object could not be fetched" in failed.stderr
    (store.bucket / "away").rename(store.bucket / "small/07.bin")
    before = len(store.asked())
    assert told(dcfs, store, "warm", "static")["fetched"] == 1
    assert store.asked()[before:] == ["small/07.bin"]


def test_without_a_cache_there_is_nothing_to_warm(store, dcfs):
    refused = dcfs.run("warm", "static", "--cache-size", "0", *store.access())
    assert refused.returncode == 2 and "keeps nothing" in refused.stderr


def test_verify_finds_what_changed_even_where_it_is_cached(store, dcfs):
    assert "every object matches its record" in dcfs.ok("verify", "static", *store.access())
    told(dcfs, store, "warm", "static")
    (store.bucket / "small/03.bin").write_bytes(b"other")
    (store.bucket / "small/04.bin").unlink()
    found = dcfs.run("verify", "static", "--json", *store.access())
    assert found.returncode == 3
    verified = json.loads(found.stdout)
    assert [drift["path"] for drift in verified["drifted"]] == ["small/03.bin", "small/04.bin"]
    assert (verified["objects"], verified["same"], verified["failed"]) == (32, 30, [])
    table = dcfs.run("verify", "static", *store.access())
    assert "small/04.bin" in table.stdout and "2 objects changed or are gone" in table.stderr
    of_large = dcfs.run("verify", "static", "--where", "file.size > 1000000", *store.access())
    assert of_large.returncode == 0


def test_a_store_that_is_away_is_no_drift(store, dcfs):
    access = ["--catalog", store.folder, "--anon", "--endpoint-url", "http://127.0.0.1:9", "--timeout", "2s"]
    found = dcfs.run("verify", "static", "--json", *access)
    assert found.returncode not in (0, 3)
    assert len(json.loads(found.stdout)["failed"]) == 32


@pytest.mark.mount
def test_a_mount_says_what_it_did(store, dcfs, tmp_path, files):
    with store.mounted(dcfs, tmp_path / "mnt", "--memory", "64M") as root:
        top = root.parent.parent
        assert (root / "small/00.bin").read_bytes() == files["small/00.bin"]
        live = json.loads((top / "_status.json").read_text())
        assert live["store"]["requests"] == 1 and live["store"]["opened"] == 1
        assert live["store"]["bytes_fetched"] == len(files["small/00.bin"])
        assert live["store"]["retries"] == 0
        assert live["store"]["latency_p50_ms"] > 0
        assert live["store"]["memory_limit"] == 64 << 20
        status = json.loads(dcfs.ok("status", "--json"))
        ours = [one for one in status if one["mountpoint"] == str(tmp_path / "mnt")]
        assert ours[0]["live"]["store"]["requests"] == 1
        page = (top / "_metrics.prom").read_text()
        assert "\ndcfs_requests_total 1\n" in page and 'dcfs_request_seconds_bucket{le="+Inf"} 1\n' in page
        assert sorted(os.listdir(top)) == ["AGENTS.md", "README.md", "datasets", "knowledge"], "found by name alone"


@pytest.mark.mount
def test_what_datachain_fetched_is_not_fetched_again(tmp_path, dcfs):
    files = {f"{number}.bin": random.randbytes(1000 + number) for number in range(5)}
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    with servers.moto(tmp_path) as s3:
        s3.bucket("kept", versioned=False)
        for name, data in files.items():
            s3.put("kept", name, data)
        datachain_runs.run("fetched", catalog, s3.url, "kept")
    held = sorted((catalog / ".datachain" / "cache").glob("*/*"), key=lambda path: path.stat().st_size)
    assert len(held) == len(files)
    held[0].chmod(0o600)
    held[0].write_bytes(b"of another size")
    access = ["--anon", "--endpoint-url", "http://127.0.0.1:9", "--timeout", "2s"]
    with dcfs.mount(catalog, tmp_path / "mnt", *access) as mount:
        root = mount.datasets / "fetched@1.0.0"
        for name in sorted(files)[1:]:
            assert (root / name).read_bytes() == files[name]
        with pytest.raises(OSError):
            (root / "0.bin").read_bytes()
    planned = json.loads(dcfs.ok("plan", "fetched", "--json", "--catalog", catalog))
    assert (planned["local"], planned["missing"]) == (4, 1)
