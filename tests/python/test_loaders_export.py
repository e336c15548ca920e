"""`dcfs export`: real files in every layout, resumed and checksummed."""

import hashlib
import io
import json
import os
import subprocess
import tarfile

import pyarrow.parquet
import pytest
from PIL import Image

import mounts

PICTURES = 30


@pytest.fixture
def pets(tmp_path):
    """A folder with a dataset of pictures, and the binary."""
    root = tmp_path / "pets"
    for number in range(PICTURES):
        place = root / ("cat" if number % 3 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 8), (number, 0, 0)).save(place / f"p{number:03}.png")
    (root / "dog" / "new\nline\\.png").write_bytes((root / "dog" / "p000.png").read_bytes())
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", root, "--save", "pets", "--with", "image", "--with", "path:{kind}/{name}", cwd=tmp_path)
    return dcfs, tmp_path


def files(folder):
    return {str(found.relative_to(folder)): found.read_bytes() for found in folder.rglob("*") if found.is_file()}


def whole(folder):
    """The files of a copy, checked by `sha256sum`."""
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    found = files(folder)
    del found["SHA256SUMS"]
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(found)
    return found


def test_a_folder_of_the_rows_that_pass(pets):
    dcfs, folder = pets
    to = folder / "out"
    before = os.umask(0o022)
    try:
        dcfs.ok("export", "pets", "--where", "kind = dog", "--to", to, "--catalog", folder)
    finally:
        os.umask(before)
    assert whole(to) == {f"dog/{name}": data for name, data in files(folder / "pets" / "dog").items()}
    modes = {oct(found.stat().st_mode & 0o777) for found in to.rglob("*") if found.is_file()}
    assert modes == {"0o644"}, "not the read-only ones of a mount"


def test_an_export_goes_on_where_it_stopped(pets):
    dcfs, folder = pets
    to = folder / "out"
    command = ("export", "pets", "--to", to, "--catalog", folder)
    dcfs.ok(*command)
    wanted = whole(to)
    kept = os.stat(to / "cat/p001.png")
    (to / "cat/p002.png").unlink()
    (to / "cat/p004.png").write_bytes(b"half")
    (to / "SHA256SUMS").unlink()
    dcfs.ok(*command)
    assert whole(to) == wanted
    assert os.stat(to / "cat/p001.png").st_ino == kept.st_ino, "it was not written again"


def test_what_fails_leaves_no_checksums(pets):
    dcfs, folder = pets
    (folder / "pets/cat/p001.png").unlink()
    to = folder / "out"
    result = dcfs.run("export", "pets", "--to", to, "--catalog", folder)
    assert result.returncode == 3 and "p001.png" in result.stderr
    assert not (to / "SHA256SUMS").exists() and not (to / "cat/p001.png").exists()
    assert not [name for name in os.listdir(to) if name.endswith(".part")]


def test_every_layout_is_a_copy_of_the_view(pets):
    dcfs, folder = pets
    to = folder / "tar"
    dcfs.ok("export", "pets", "--format", "webdataset", "--options", "shard=10,cls=kind", "--to", to, "--catalog", folder)
    assert sorted(whole(to)) == [f"00000{number}.tar" for number in range(4)]
    with tarfile.open(to / "000003.tar") as tar:
        assert len(tar.getnames()) == 3 * (PICTURES + 1 - 30)
    to = folder / "parquet"
    said = dcfs.ok("export", "pets", "--format", "parquet", "--json", "--to", to, "--catalog", folder)
    assert json.loads(said)["files"] == 1
    assert pyarrow.parquet.read_table(to / "rows.parquet").num_rows == PICTURES + 1
    whole(to)
    to = folder / "coco"
    dcfs.ok("export", "pets", "--format", "coco", "--options", "caption=name", "--to", to, "--catalog", folder)
    found = whole(to)
    assert len(json.loads(found["annotations.json"])["annotations"]) == PICTURES + 1 == len(found) - 1


def test_wrong_options_say_so(pets):
    dcfs, folder = pets
    for options in (["--options", "a=1"], ["--format", "webdataset", "--options", "colour=red"], ["--format", "yolo"]):
        result = dcfs.run("export", "pets", *options, "--to", folder / "out", "--catalog", folder)
        assert result.returncode != 0 and result.stderr.strip(), options


def test_an_export_into_a_bucket_is_whole_resumed_and_checksummed(pets, s3):
    dcfs, folder = pets
    (folder / "pets/dog/new\nline\\.png").unlink()
    noise = os.urandom(17 << 20)
    (folder / "pets/cat/large.bin").write_bytes(noise)
    dcfs.ok("index", folder / "pets", "--save", "plain", cwd=folder)
    s3.bucket("exports", versioned=True)
    command = ("export", "plain", "--to", "s3://exports/a/b/", "--catalog", folder, "--endpoint-url", s3.url)
    keys = dcfs.environment | s3.KEYS

    def export(*words):
        done = subprocess.run([mounts.DCFS, *map(str, words)], env=keys, capture_output=True, text=True)
        return done

    def objects():
        listed = s3.client.list_objects_v2(Bucket="exports").get("Contents", [])
        return {found["Key"]: s3.client.get_object(Bucket="exports", Key=found["Key"])["Body"].read() for found in listed}

    done = export(*command)
    assert done.returncode == 0, done.stderr
    found = objects()
    sums = found.pop("a/b/SHA256SUMS").decode()
    own = {name: data for name, data in found.items() if not name.startswith("a/b/_")}
    assert own == {f"a/b/{name}": data for name, data in files(folder / "pets").items()}
    lines = {line[66:]: line[:64] for line in sums.splitlines()}
    assert lines == {name.removeprefix("a/b/"): hashlib.sha256(data).hexdigest() for name, data in found.items()}

    def versions():
        listed = s3.client.list_object_versions(Bucket="exports", MaxKeys=1000)["Versions"]
        return {(one["Key"], one["VersionId"]) for one in listed if not one["Key"].endswith("SHA256SUMS")}

    before = versions()
    s3.client.delete_object(Bucket="exports", Key="a/b/dog/p000.png")
    s3.client.put_object(Bucket="exports", Key="a/b/cat/p001.png", Body=b"half")
    again = export(*command)
    assert again.returncode == 0, again.stderr
    assert objects()["a/b/dog/p000.png"] == found["a/b/dog/p000.png"] and objects()["a/b/cat/p001.png"] == found["a/b/cat/p001.png"]
    new = {key for key, _ in versions() - before}
    assert new == {"a/b/dog/p000.png", "a/b/cat/p001.png"}, "nothing else was written again"
    # Shards too: generated files are read, and not written if unchanged.
    shards = ("export", "plain", "--format", "webdataset", "--options", "shard=10", "--to", "s3://exports/tars", "--catalog", folder, "--endpoint-url", s3.url)
    assert export(*shards).returncode == 0
    before = versions()
    assert export(*shards).returncode == 0 and versions() == before
    with tarfile.open(fileobj=io.BytesIO(objects()["tars/000000.tar"])) as tar:
        assert len(tar.getnames()) == 20
    # An export with a failure leaves no checksums.
    (folder / "pets/cat/p004.png").unlink()
    s3.client.delete_object(Bucket="exports", Key="a/b/cat/p004.png")
    failed = export(*command)
    assert failed.returncode != 0 and "p004.png" in failed.stderr
    assert "a/b/SHA256SUMS" not in objects()
    for wrong, why in [("s3://", "names no bucket"), ("s3://exports/a//b", "cannot be written"), ("s3://nothing-there/x", "nothing-there")]:
        refused = export("export", "plain", "--to", wrong, "--catalog", folder, "--endpoint-url", s3.url)
        assert refused.returncode != 0 and why in refused.stderr, refused.stderr
