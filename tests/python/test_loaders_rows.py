"""Splits, epochs and shards of a real mount, compared with an independent computation in Python."""

import errno
import hashlib
import html.parser
import io
import json
import os
import random
import re
import sqlite3
import subprocess
import tarfile
import urllib.parse

import pyarrow.parquet
import pytest
from PIL import Image

import datachain_runs
import mounts

pytestmark = pytest.mark.mount

PETS = 60


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A mount of pictures with text files beside, in three folders, saved once and again with more of them."""
    folder = tmp_path_factory.mktemp("loaders")
    root = folder / "pets"
    dcfs = mounts.Dcfs(folder / "home")

    def draw(numbers):
        for number in numbers:
            place = root / f"litter{number % 7}" / ("cat" if number % 3 else "dog")
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8 + number, 8), (number, 0, 0)).save(place / f"p{number:03}.v1.png")
            os.utime(place / f"p{number:03}.v1.png", (1_700_000_000 + number, 1_700_000_000 + number))

    def index():
        with_path = ["--with", "path:{litter}/{kind}/{picture}"]
        dcfs.ok("index", root, "--save", "pets", "--with", "image", *with_path, cwd=folder)

    draw(range(PETS))
    index()
    draw(range(PETS, PETS + 20))
    index()
    with dcfs.mount(folder, folder / "mnt") as mount:
        yield mount


@pytest.fixture
def version(pets):
    return pets.datasets / "pets@1.0.0"


def rows(version):
    return [json.loads(line) for line in (version / "_rows.jsonl").read_text().splitlines()]


def names(folder):
    return {str(found.relative_to(folder)) for found in folder.rglob("*.png")}


# Splits.


def part(seed, identity, shares):
    """The part of a split, as described in `docs/training.md`."""
    digest = hashlib.sha256(f"{seed}\0".encode() + identity).digest()
    place, end = int.from_bytes(digest[:8], "big"), 0
    for name, billionths in shares.items():
        end += billionths
        if place * 10**9 < end << 64:
            return name


def test_a_split_is_the_hash_of_the_path(version):
    shares = {"train": 700_000_000, "val": 200_000_000, "test": 100_000_000}
    split = version / "_views/split/train=0.7,val=0.2,test=0.1,seed=7"
    assert sorted(os.listdir(split)) == ["test", "train", "val"]
    wanted = {name: set() for name in shares}
    for row in rows(version):
        wanted[part(7, row["file"]["path"].encode(), shares)].add(row["path"])
    assert all(wanted.values())
    assert {name: names(split / name) for name in shares} == wanted
    assert int((split / "train/_count").read_text()) == len(wanted["train"])


def test_rows_stay_in_their_part_as_others_come(pets):
    folder = "_views/split/train=0.8,val=0.2"
    before, after = (pets.datasets / f"pets@{version}" / folder for version in ("1.0.0", "2.0.0"))
    if not after.exists():
        after = pets.datasets / "pets" / folder
    for name in ("train", "val"):
        assert names(before / name) < names(after / name)


def test_groups_are_never_divided(version):
    split = version / "_views/split/train=0.5,val=0.5,by=litter"
    litters = [{name.split("/")[0] for name in names(split / part)} for part in ("train", "val")]
    assert all(litters) and not litters[0] & litters[1]
    assert len(names(split / "train") | names(split / "val")) == PETS


def test_strata_keep_their_shares(version):
    split = version / "_views/split/train=0.8,val=0.2,stratify=kind"
    kinds = {part: [name.split("/")[1] for name in names(split / part)] for part in ("train", "val")}
    assert (kinds["train"].count("cat"), kinds["val"].count("cat")) == (32, 8)
    assert (kinds["train"].count("dog"), kinds["val"].count("dog")) == (16, 4)


def test_a_split_of_a_filter_has_views_itself(version):
    part = version / "kind = cat" / "_views/split/a=0.5,b=0.5/a"
    assert {name.split("/")[1] for name in names(part)} == {"cat"}
    assert "of the split" in (part / "_README.md").read_text()
    inner = part / "_views/split/a=0.5,b=0.5,seed=1/b"
    assert names(inner) < names(part)


@pytest.mark.parametrize("name", ["train=1.5", "train=0.9,val=0.2", "train=x", "by=kind", "train=1,by=nothing"])
def test_a_wrong_split_says_so(version, name):
    with pytest.raises(OSError) as error:
        os.stat(version / "_views/split" / name)
    assert error.value.errno == errno.EINVAL
    with pytest.raises(FileNotFoundError):
        os.stat(version / "_views/split/nothing")


# Epochs.


def permutation(seed, epoch, count):
    """The order of an epoch, as described in `docs/training.md`."""
    keys = hashlib.sha256(f"dcfs epoch {seed} {epoch}".encode()).digest()
    keys = [int.from_bytes(keys[at : at + 4], "big") for at in range(0, 32, 4)]
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1

    def mix(x):
        x = (x ^ x >> 16) * 0x85EBCA6B & 0xFFFFFFFF
        x = (x ^ x >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
        return x ^ x >> 16

    def walk(at):
        left, right = at >> half, at & mask
        for key in keys:
            left, right = right, left ^ mix(right & 0xFFFFFFFF ^ key) & mask
        return left << half | right

    for place in range(count):
        at = walk(place)
        while at >= count:
            at = walk(at)
        yield at


def test_an_epoch_is_the_permutation_of_the_page(version):
    paths = [row["path"] for row in rows(version)]
    epochs = version / "_views/epochs/42"
    for epoch in (0, 3):
        lines = (epochs / f"{epoch}.txt").read_text().splitlines()
        assert lines == [paths[at] for at in permutation(42, epoch, len(paths))]
        assert (epochs / f"{epoch}.txt").stat().st_size == sum(len(line) + 1 for line in lines)
    found = [json.loads(line) for line in (epochs / "3.jsonl").read_text().splitlines()]
    assert [row["path"] for row in found] == lines
    ids = {row["path"]: row["sys__id"] for row in rows(version)}
    assert all(ids[row["path"]] == row["sys__id"] for row in found)
    assert sorted(lines) == sorted(paths) and lines != paths


def test_readers_share_an_epoch(version):
    whole = (version / "_views/epochs/1/5.txt").read_text().splitlines()
    parts = [(version / f"_views/epochs/1/shard={rank}/7/5.txt").read_text().splitlines() for rank in range(7)]
    assert [parts[place % 7][place // 7] for place in range(len(whole))] == whole
    for wrong in ("shard=7/7/5.txt", "shard=0/0/5.txt", "-1.txt", "01.txt", "x.txt"):
        assert not (version / "_views/epochs/1" / wrong).exists()


def test_an_epoch_of_a_filter_names_its_files(version):
    folder = version / "kind = dog"
    lines = (folder / "_views/epochs/1/0.txt").read_text().splitlines()
    assert len(lines) == 20 and all((folder / line).is_file() for line in lines)
    ranked = version / "order by info.width desc limit 9"
    lines = (ranked / "_views/epochs/1/0.txt").read_text().splitlines()
    assert sorted(lines) == sorted(os.listdir(ranked))


def test_an_epoch_is_read_anywhere(version):
    path = version / "_views/epochs/9/2.jsonl"
    whole = path.read_bytes()
    with open(path, "rb", buffering=0) as file:
        for _ in range(50):
            offset, length = random.randrange(len(whole)), random.randrange(300)
            assert os.pread(file.fileno(), length, offset) == whole[offset : offset + length]


def test_a_path_of_two_lines_is_no_line(tmp_path):
    (tmp_path / "odd").mkdir()
    for name in ("a.png", "new\nline.png"):
        (tmp_path / "odd" / name).write_bytes(b"x")
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", tmp_path / "odd", "--save", "odd", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        epochs = mount.datasets / "odd/_views/epochs/1"
        with pytest.raises(OSError) as error:
            (epochs / "0.txt").read_text()
        assert error.value.errno == errno.EINVAL
        found = [json.loads(line)["path"] for line in (epochs / "0.jsonl").read_text().splitlines()]
        assert sorted(found) == ["a.png", "new\nline.png"]


# WebDataset.


def shards(version, options):
    folder = version / "_views/webdataset" / options
    return [folder / name for name in sorted(os.listdir(folder))]


def test_shards_hold_every_row_once(version):
    found = shards(version, "shard=25,cls=kind")
    assert [shard.name for shard in found] == ["000000.tar", "000001.tar", "000002.tar"]
    wanted = rows(version)
    for row, (key, fields) in zip(wanted, samples(found), strict=True):
        assert key == f"{row['sys__id']:09}"
        assert fields["png"] == (version / row["path"]).read_bytes()
        assert json.loads(fields["json"]) == row
        assert fields["cls"].decode() == row["kind"]


def samples(found):
    """The samples of shards, as Python's `tarfile` reads them."""
    for shard in found:
        assert shard.stat().st_size % 10240 == 0
        sample = None
        with tarfile.open(shard) as tar:
            for member in tar:
                assert (member.mode, member.uid, member.gid, member.isreg()) == (0o444, 0, 0, True)
                key, field = member.name.split(".", 1)
                if sample and sample[0] != key:
                    yield sample
                    sample = None
                sample = sample or (key, {})
                sample[1][field] = tar.extractfile(member).read()
        yield sample


def test_gnu_tar_and_webdataset_read_shards(version, tmp_path):
    (shard,) = shards(version, "shard=1000,txt=litter")
    listed = subprocess.run(["tar", "tvf", shard], capture_output=True, text=True, check=True)
    assert not listed.stderr and len(listed.stdout.splitlines()) == 3 * PETS
    subprocess.run(["tar", "xf", shard, "-C", tmp_path], check=True)
    compared = subprocess.run(["tar", "df", shard, "-C", tmp_path], capture_output=True, text=True)
    assert "Contents differ" not in compared.stdout and "Size differs" not in compared.stdout
    webdataset = pytest.importorskip("webdataset")
    found = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode("pil"))
    assert len(found) == PETS
    for sample, row in zip(found, rows(version), strict=True):
        assert sample["png"].size == (row["info"]["width"], row["info"]["height"])
        assert sample["json"]["path"] == row["path"]
        assert sample["txt"] == row["litter"]


def test_datachain_reads_shards(version, tmp_path):
    folder = version / "_views/webdataset/shard=40,json=no"
    process = datachain_runs.start(
        datachain_runs.SCRIPTS / "tarred.py", tmp_path, f"file://{folder}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    # After the output of progress bars on the line.
    (line,) = re.findall(r"found:(\[.*\])", output)
    found = {os.path.basename(path): bytes.fromhex(data) for path, data in json.loads(line)}
    assert found == {f"{row['sys__id']:09}.png": (version / row["path"]).read_bytes() for row in rows(version)}


def test_a_shard_is_read_anywhere_and_the_same_for_ever(pets, version):
    (shard,) = shards(version, "-")
    whole = shard.read_bytes()
    again = hashlib.sha256(whole).hexdigest()
    with open(shard, "rb", buffering=0) as file:
        # Not from the kernel's page cache.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in range(100):
            offset, length = random.randrange(len(whole)), random.randrange(5000)
            assert os.pread(file.fileno(), length, offset) == whole[offset : offset + length]
    pets.unmount()
    pets.mount()
    assert hashlib.sha256(shard.read_bytes()).hexdigest() == again


@pytest.mark.parametrize("seed", range(3))
def test_random_datasets_come_through_shards_whole(tmp_path, seed):
    """Sizes around those of blocks, names of all kinds, a row with an object of another, one whose size is not recorded."""
    draw = random.Random(seed)
    folder = tmp_path / "objects"
    sizes = [0, 1, 511, 512, 513, 9728, 10240, *(draw.randrange(40_000) for _ in range(20))]
    for number, size in enumerate(sizes):
        name = draw.choice(["a b", "caf\u00e9", "x.y.z", "..", "UP", "-", "%2F", "'"]) + f"{number}" + draw.choice([".bin", ".JPG", "", ".tar.gz", ".json", ".c l s"])
        place = folder / draw.choice(["", "deep/er", "."])
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(draw.randbytes(size))
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", folder, "--save", "objects", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        version = mount.datasets / "objects"
        options = draw.choice(["shard=7", "size=30K", "-", "shard=65536"])
        found = shards(version, options)
        wanted = rows(version)
        assert len(wanted) == len(sizes)
        for row, (key, fields) in zip(wanted, samples(found), strict=True):
            assert key == f"{row['sys__id']:09}" and json.loads(fields.pop("json")) == row
            assert list(fields.values()) == [(version / row["path"]).read_bytes()], (key, fields)
        lean = shards(version, options.replace("-", "json=no") if options == "-" else f"{options},json=no")
        assert [fields for _, fields in samples(lean)] == [{k: v for k, v in fields.items() if k != "json"} for _, fields in samples(found)]
        for shard in found:
            out = tmp_path / "out" / shard.name
            out.mkdir(parents=True)
            subprocess.run(["tar", "xf", shard, "-C", out], check=True)
            compared = subprocess.run(["tar", "--compare", "-f", shard, "-C", out], capture_output=True, text=True)
            assert not re.search("Contents differ|Size differs|No such", compared.stdout + compared.stderr)
            whole = shard.read_bytes()
            with open(shard, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                for _ in range(20):
                    offset, length = draw.randrange(len(whole)), draw.randrange(9000)
                    assert os.pread(file.fileno(), length, offset) == whole[offset : offset + length]


def test_a_file_of_unknown_size_fails_where_it_stands(tmp_path):
    folder = tmp_path / "objects"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 9000)
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", folder, "--save", "objects", cwd=tmp_path)
    with sqlite3.connect(tmp_path / ".datachain" / "db") as db:
        (table,) = db.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'ds_local_local_objects_%'").fetchone()
        db.execute(f'UPDATE "{table}" SET file__size = NULL WHERE file__path LIKE \'%1.bin\'')
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        (shard,) = shards(mount.datasets / "objects", "json=no")
        with open(shard, "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 4096) == b"\0" * 4096, "the first file"
            with pytest.raises(OSError) as error:
                os.pread(file.fileno(), 512, 512 + 9216)
            assert error.value.errno == errno.EIO


def test_values_with_slashes_are_one_folder(tmp_path):
    lines = [{"kind": kind, "n": n} for n, kind in enumerate(["a/b", "/", "..", "a", "a%2Fb", "."])]
    folder = tmp_path / "objects"
    folder.mkdir()
    for line in lines:
        (folder / f"{line['n']}.txt").write_text("x")
    (tmp_path / "kinds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", folder, "--save", "objects", "--with", "path:{n:int}.txt", cwd=tmp_path)
    dcfs.ok("load", "kinds.jsonl", "--as", "kinds", cwd=tmp_path)
    dcfs.ok("sql", "select o.file, k.kind from objects o join kinds k on o.n = k.n", "--as", "both", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        by = mount.datasets / "both/_views/by/kind"
        classes = sorted(os.listdir(by))
        assert len(classes) == 6 and "a%2Fb" in classes, classes
        assert sorted(name for one in classes for name in os.listdir(by / one)) == [f"{n}.txt" for n in range(6)]


def test_shards_end_where_they_are_told(version):
    sizes = [shard.stat().st_size for shard in shards(version, "size=20K")]
    assert len(sizes) > 3 and max(sizes) <= 20 << 10
    assert len(shards(version / "kind = dog", "shard=6")) == 4
    assert not (version / "_views/webdataset/shard=25/000003.tar").exists()
    assert not (version / "_views/webdataset/shard=25/3.tar").exists()
    for wrong in ("shard=0", "cls=nothing", "files=nothing", "size=x", "colour=red"):
        with pytest.raises(OSError) as error:
            os.stat(version / "_views/webdataset" / wrong)
        assert error.value.errno == errno.EINVAL


def test_a_file_that_is_gone_shifts_nothing(tmp_path):
    folder = tmp_path / "objects"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 9000)
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", folder, "--save", "objects", cwd=tmp_path)
    (folder / "2.bin").unlink()
    (folder / "4.bin").write_bytes(b"another" * 2000)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        (shard,) = shards(mount.datasets / "objects", "json=no")
        with open(shard, "rb", buffering=0) as file:
            header = os.pread(file.fileno(), 512, 0)
            assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 9000
            for number in range(6):
                # A page in the middle of the file: the kernel reads whole pages, so its neighbours' fail with those.
                page = (number * (512 + 9216) + 512 + 4095) // 4096 * 4096
                if number in (2, 4):
                    with pytest.raises(OSError) as error:
                        os.pread(file.fileno(), 10, page)
                    assert error.value.errno in (errno.EIO, errno.ESTALE)
                else:
                    assert os.pread(file.fileno(), 4096, page) == bytes([number]) * 4096
        with pytest.raises(OSError):
            tarfile.open(fileobj=io.BytesIO(shard.read_bytes()))


# Class folders by expressions.


def test_class_folders_of_an_expression(version):
    by = version / "_views/by"
    folder = by / "length(kind) + 1"
    assert sorted(os.listdir(folder)) == ["4"]
    assert names(folder / "4") == {row["path"] for row in rows(version)}
    upper = by / "upper(kind)"
    assert sorted(os.listdir(upper)) == ["CAT", "DOG"]
    assert names(upper / "DOG") == {row["path"] for row in rows(version) if row["kind"] == "dog"}
    inner = upper / "DOG" / "_views/by/upper(litter)"
    assert names(inner / "LITTER1") == {row["path"] for row in rows(version) if (row["kind"], row["litter"]) == ("dog", "litter1")}
    assert not (by / "nothing").exists() and not (upper / "bird").exists()
    for wrong in ("upper(nothing)", "upper(kind) desc", "upper(kind) limit 3"):
        with pytest.raises(OSError) as error:
            os.stat(by / wrong)
        assert error.value.errno == errno.EINVAL


# Hugging Face.


def test_metadata_is_there_as_parquet_by_name(version):
    hub = version / "_views/hf"
    assert "metadata.parquet" not in os.listdir(hub), "Hugging Face refuses two kinds of metadata"
    table = pyarrow.parquet.read_table(hub / "metadata.parquet")
    lines = [json.loads(line) for line in (hub / "metadata.jsonl").read_text().splitlines()]
    assert set(table.column_names) == set(lines[0])
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["file_name"], types["info.width"]) == ("string", "int64")
    for got, want in zip(table.to_pylist(), lines, strict=True):
        # Times are a type of their own in Parquet.
        assert {key: value for key, value in got.items() if "modified" not in key} == {
            key: value for key, value in want.items() if "modified" not in key
        }
        assert (hub / got["file_name"]).is_file()


# Pages.


class Page(html.parser.HTMLParser):
    """The links and pictures of a page, and a check that it runs nothing."""

    def __init__(self, text):
        super().__init__()
        self.links, self.pictures, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert tag != "script" and not any(name.startswith("on") for name in attributes)
        if tag == "a":
            self.links.append(urllib.parse.unquote(attributes["href"]))
        if tag == "img":
            self.pictures.append(urllib.parse.unquote(attributes["src"]))

    def handle_data(self, data):
        self.text += data


def test_pages_show_every_picture_and_run_nothing(tmp_path):
    root = tmp_path / "pictures"
    odd = ["a <b>.png", "x\"onload='y.png", "%41 #?.png", "d/é😀.png", "new\nline.png"]
    for name in [*odd, *(f"p{number:03}.png" for number in range(400))]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    dcfs = mounts.Dcfs(tmp_path / "home")
    dcfs.ok("index", root, "--save", "pictures", "--with", "image", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        version = mount.datasets / "pictures"
        gallery = version / "_views/gallery"
        assert sorted(os.listdir(gallery)) == ["index.html", "page-0001.html", "page-0002.html", "page-0003.html"]
        pages = [Page((gallery / f"page-000{number}.html").read_text()) for number in (1, 2, 3)]
        assert [len(page.pictures) for page in pages] == [200, 200, 5]
        found = {os.path.normpath(gallery / link) for page in pages for link in page.pictures}
        assert found == {str(version / name) for name in [*odd, *(f"p{number:03}.png" for number in range(400))]}
        for page in pages:
            assert all((gallery / link).is_file() for link in page.links)
            assert "info.width" in page.text
        assert "page-0002.html" in pages[0].links and "page-0001.html" not in pages[0].links
        assert (gallery / "index.html").read_text() == (gallery / "page-0001.html").read_text()
        some = Page((version / "order by file.size limit 7" / "_views/gallery/index.html").read_text())
        folder = version / "order by file.size limit 7" / "_views/gallery"
        assert len(some.pictures) == 7 and all((folder / link).is_file() for link in some.pictures)
        assert not (gallery / "page-0004.html").exists() and not (gallery / "page-1.html").exists()
