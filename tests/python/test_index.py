"""`dcfs index` beside real DataChain: the same rows, the same listings, and nothing incomplete is ever visible."""

import json
import os
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, features

import datachain_runs
import mounts
import servers
from listings import PATTERNS, by_datachain, config_of, normal
from written import ask, check_whole, database, leftovers, versions

# Every name in braces must exist, so these patterns are left out.
THERE = [pattern for pattern in PATTERNS if not pattern.startswith("/file{")]

KILLS = int(os.environ.get("DCFS_KILLS", "20"))
"""How often an index is killed; `make soak` kills more."""

FIELDS = ["source", "path", "size", "version", "etag", "is_latest", "last_modified"]
COLUMNS = ", ".join(f"file__{field}" for field in FIELDS)


@pytest.fixture
def here(tmp_path):
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def write(folder, names, size=3):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def index(dcfs, here, *words, **options):
    """Its standard output and standard error."""
    result = dcfs.run("index", *words, cwd=here, **options)
    assert result.returncode == 0, (words, result.stdout, result.stderr)
    return result.stdout


def refused(dcfs, here, code, *words, **options):
    result = dcfs.run("index", *words, cwd=here, **options)
    assert result.returncode == code, (words, result.returncode, result.stdout, result.stderr)
    return result.stderr


def table(here, name, version=None):
    """The table of a version."""
    version = version or versions(here, name)[-1]
    start = "src_system_listing_" if name.startswith("lst__") else "ds_local_local_"
    return f'"{start}{name}_{version.replace(".", "_")}"'


def rows(here, name, version=None):
    """Its File rows, in their order, as read by DataChain."""
    return [normal(row) for row in ask(here, f"SELECT {COLUMNS} FROM {table(here, name, version)} ORDER BY sys__id")]


def cells(here, name, columns, version=None):
    return ask(here, f"SELECT {columns} FROM {table(here, name, version)} ORDER BY sys__id")


def listings(here):
    question = "SELECT d.name, v.version FROM datasets d JOIN datasets_versions v ON v.dataset_id = d.id WHERE d.name LIKE 'lst%' ORDER BY v.id"
    return ask(here, question)


def test_a_folder_becomes_a_dataset_and_is_mounted(dcfs, here, tmp_path):
    write(here / "photos", ["b.jpg", "a/c.jpg", ".datachain/x", "a/\u00e9 %20.txt"])
    said = index(dcfs, here, "./photos", "--save", "photos", "--description", "mine", "--attr", "a=b")
    assert said == "saved photos@1.0.0: 3 objects, 9 B\n"
    assert [row[1] for row in rows(here, "photos")] == ["a/c.jpg", "a/\u00e9 %20.txt", "b.jpg"]
    assert leftovers(here) == []
    with dcfs.mount(here, tmp_path / "mnt") as mount:
        assert (mount.path / "datasets/photos@1.0.0/a/c.jpg").read_bytes() == b"xxx"
    assert dcfs.ok("describe", "photos", cwd=here).split("\n")[1:3] == ["description  mine", "attributes   a=b"]
    page = dcfs.ok("lineage", "photos", cwd=here)
    assert "```sh\ndcfs index ./photos --save photos" in page and f"file://{here}/photos/" in page


def test_a_tree_is_saved_as_datachain_saves_it(tree, dcfs, here, tmp_path):
    answers = by_datachain(tmp_path / "d", [f"{tree}{pattern}" for pattern in THERE])
    for number, pattern in enumerate(THERE):
        if not answers[f"{tree}{pattern}"]:
            assert "none of 26 objects" in refused(dcfs, here, 1, f"{tree}{pattern}", "--save", f"n{number}")
            continue
        index(dcfs, here, f"{tree}{pattern}", "--save", f"n{number}")
        # A row that two alternatives select is there twice for DataChain.
        mine = rows(here, f"n{number}")
        # From the listing of the folder around, which exists already, the source is that folder's.
        address = lambda row: (f"{row[0]}/{row[1]}", *row[2:])  # noqa: E731
        assert sorted(map(address, mine)) == sorted(map(address, set(answers[f"{tree}{pattern}"]))), pattern
        assert [row[:2] for row in mine] == sorted((row[:2] for row in mine), key=lambda row: "/".join(row).encode())
    (first, *_) = listings(here)
    assert sorted(rows(here, first[0])) == answers[first[0]]
    check_whole(here, {})


def test_fresh_listings_are_those_of_datachain(tree, dcfs, tmp_path):
    uris = [f"{tree}{pattern}" for pattern in ("/", "/a/**", "/*.jpg", "/a/b/")]
    answers = by_datachain(tmp_path / "d", uris)
    for number, uri in enumerate(uris):
        folder = tmp_path / str(number)
        folder.mkdir()
        index(dcfs, folder, uri, "--save", "x")
        assert sorted(rows(folder, "x")) == answers[uri], uri
        ((name, version),) = listings(folder)
        assert version == "1.0.0"
        assert sorted(rows(folder, name)) == answers[name], uri


def test_python_works_with_it(dcfs, here):
    write(here / "photos", [f"{n % 3}/{n}.txt" for n in range(30)], size=7)
    index(dcfs, here, "photos", "--save", "photos", "--with", "path:{n:int}")
    script = datachain_runs.SCRIPTS / "indexed.py"
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = datachain_runs.start(script, here, "photos", str(here / "photos"), **pipe)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    told = json.loads(output.rsplit("ANSWERS", 1)[1].splitlines()[0])
    assert [told[key] for key in ("rows", "filtered", "before", "listed", "on_top")] == [30] * 5
    assert told["lengths"] == sorted([f"{n % 3}/{n}.txt", 7] for n in range(30))
    assert "n: " in told["schema"].replace("'", "") and "File" in told["schema"]
    assert told["parents"] == [listings(here)[0][0]] or str(here / "photos") in str(told["parents"])
    assert versions(here, "photos") == ["1.0.0", "1.0.1"]
    assert "photos" in datachain_runs.command(here, "dataset", "ls")
    shown = datachain_runs.command(here, "show", "photos", "--version", "1.0.0", "--schema")
    assert "path" in shown and "n" in shown
    script = datachain_runs.command(here, "show", "photos", "--version", "1.0.0", "--script")
    assert "dcfs index photos --save photos --with 'path:{n:int}'" in script
    # And dcfs continues from the version that Python made.
    write(here / "photos", ["0/77.txt"])
    assert index(dcfs, here, "photos", "--save", "photos", "--delta", "--with", "path:{n:int}").startswith("30 unchanged, 1 new, 0 changed, 0 gone\nsaved photos@1.0.2")
    assert (77,) in cells(here, "photos", "n")


def reads_storage(here, uri, name=""):
    script = datachain_runs.SCRIPTS / "reads_storage.py"
    process = datachain_runs.start(script, here, str(uri), name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return int(output.split("FOUND ")[1].split()[0])


def test_listings_are_used_again_by_both(dcfs, here):
    photos = here / "photos"
    write(photos, ["a/1", "a/2", "b/3"])
    index(dcfs, here, photos, "--save", "mine")
    write(photos, ["a/4"])
    # DataChain does not list again, and neither does dcfs if told so; a listing of a parent folder serves too.
    assert reads_storage(here, photos) == 3
    assert reads_storage(here, photos / "a") == 2
    result = dcfs.run("index", photos / "a", "--save", "part", "--reuse", cwd=here)
    assert result.stdout.startswith("saved part@1.0.0: 2 objects"), result
    assert "is reused; `--update` lists again" in result.stderr
    assert index(dcfs, here, photos, "--save", "mine", "--update").startswith("saved mine@1.0.1: 4 objects")
    # The same again is no new version.
    index(dcfs, here, photos, "--save", "mine", "--update")
    assert [version for _, version in listings(here)] == ["1.0.0", "2.0.0"]
    # An old one is not used.
    with database(here) as db:
        db.execute("UPDATE datasets_versions SET finished_at = '2020-01-01 00:00:00', created_at = '2020-01-01 00:00:00'")
        db.commit()
    write(photos, ["a/5"])
    assert index(dcfs, here, photos, "--save", "mine", "--reuse").startswith("saved mine@1.0.3: 5 objects")


def test_a_folder_is_listed_anew(dcfs, here):
    """Whatever recent listing there is of it or of a folder around; a folder that several patterns are about, once."""
    photos = here / "photos"
    write(photos, ["a/1", "a/2", "b/3"])
    index(dcfs, here, photos, "--save", "mine")
    write(photos, ["a/4"])
    (photos / "b/3").unlink()
    result = dcfs.run("index", photos, "--save", "mine", cwd=here)
    assert result.stdout.startswith("saved mine@1.0.1: 3 objects") and "is reused" not in result.stderr, result
    assert index(dcfs, here, photos / "a", "--save", "part").startswith("saved part@1.0.0: 3 objects")
    told = json.loads(index(dcfs, here, photos / "*/{1,2}", photos / "a", "--save", "part", "--json"))
    assert told["rows"] == 3 and all(listing["age_seconds"] is None for listing in told["listings"])
    for other in ("--update", "--delta"):
        assert "cannot be used with" in refused(dcfs, here, 2, photos, "--save", "mine", "--reuse", other)


def test_a_listing_of_datachain_is_used(dcfs, here):
    photos = here / "photos"
    write(photos, ["a/1", "a/2", "b/3"])
    assert reads_storage(here, photos, "theirs") == 3
    write(photos, ["a/4"])
    result = dcfs.run("index", photos, "--save", "mine", "--reuse", cwd=here)
    assert result.stdout.startswith("saved mine@1.0.0: 3 objects") and "is reused" in result.stderr, result
    assert sorted(rows(here, "mine")) == sorted(rows(here, "theirs"))
    assert len(listings(here)) == 1


def test_a_listing_made_again_is_that_of_a_fresh_catalog(dcfs, here, tmp_path):
    """Existing rows are copied, over several batches; whatever the old listing contains, the new one is right."""
    photos, numbers = here / "photos", random.Random(5)
    names = [f"{number % 17:02}/{number}" for number in range(18_000)]
    write(photos, names, size=0)
    index(dcfs, here, photos, "--save", "x")
    ((listing, _),) = listings(here)

    def check(round):
        fresh = tmp_path / f"fresh{round}"
        fresh.mkdir()
        index(dcfs, fresh, photos, "--save", "x")
        columns = f"{COLUMNS}, file__location"
        assert cells(here, listing, columns) == cells(fresh, listing, columns), round
        assert cells(here, "x", columns) == cells(fresh, "x", columns), round
        shutil.rmtree(fresh)

    for round in range(4):
        some = numbers.sample(names, 300)
        write(photos, some[:100], size=round + 1)
        for name in some[100:200]:
            (photos / name).unlink(missing_ok=True)
        write(photos, [f"{name}.new{round}" for name in some[200:]], size=round)
        # The last row.
        write(photos, [f"zz/{round}"])
        if round == 2:
            # Somebody else wrote into the listing.
            with database(here) as db:
                old = table(here, listing)
                db.execute(f"UPDATE {old} SET file__size = file__size + 1 WHERE sys__id % 1000 = 3")
                db.execute(f"UPDATE {old} SET file__path = 'x' || file__path WHERE sys__id % 1000 = 5")
                db.execute(f"UPDATE {old} SET file__source = 'file:///elsewhere' WHERE sys__id % 1000 = 7")
                db.execute(f"UPDATE {old} SET file__location = '[]' WHERE sys__id % 1000 = 8")
                db.execute(f"UPDATE {old} SET file__version = CAST(x'ff' AS TEXT) WHERE sys__id % 1000 = 9")
                db.execute(f"UPDATE {old} SET file__is_latest = NULL WHERE sys__id % 1000 = 11")
                db.execute(f"UPDATE {old} SET file__last_modified = replace(file__last_modified, ' ', 'T') WHERE sys__id % 1000 = 13")
                db.execute(f"DELETE FROM {old} WHERE sys__id % 1000 = 15")
                db.commit()
        index(dcfs, here, photos, "--save", "x", "--delta" if round % 2 else "--update")
        check(round)
    assert [version for _, version in listings(here)] == [f"{n}.0.0" for n in range(1, 6)]
    assert "nothing new" in index(dcfs, here, photos, "--save", "x", "--delta")
    assert len(listings(here)) == 5
    assert leftovers(here) == []
    # Its rows are gone, and it is not aware of it.
    with database(here) as db:
        db.execute(f"DROP TABLE {table(here, listing)}")
        db.commit()
    write(photos, ["zz/last"])
    index(dcfs, here, photos, "--save", "x", "--update")
    check("last")


def test_a_listing_of_datachain_that_is_found_again_is_no_new_one(dcfs, here):
    photos = here / "photos"
    write(photos, [f"{number % 7}/{number}" for number in range(9_000)])
    assert reads_storage(here, photos, "theirs") == 9_000
    ((listing, _),) = listings(here)
    assert [row[1] for row in rows(here, listing)] != sorted(row[1] for row in rows(here, listing)), "in no order"
    size = (here / ".datachain/db").stat().st_size
    index(dcfs, here, photos, "--save", "mine", "--update")
    assert [version for _, version in listings(here)] == ["1.0.0"]
    # One table of rows was written, and not two.
    with database(here) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (here / ".datachain/db").stat().st_size < size * 1.7
    write(photos, ["0/7"], size=9)
    index(dcfs, here, photos, "--save", "mine", "--update")
    assert [version for _, version in listings(here)] == ["1.0.0", "2.0.0"]
    assert len([row for row in rows(here, "mine") if row[2] == 9]) == 1
    assert reads_storage(here, photos) == 9_000


def test_what_a_listing_does_not_know_is_listed(dcfs, here):
    base = here / "base"
    write(base, ["day1/a.png", "day1/b.png"])
    index(dcfs, here, "base", "--save", "all")
    write(base, ["day2/c.png"])
    result = dcfs.run("index", "base/day1", "base/day2", "--save", "days", "--reuse", cwd=here)
    assert result.stdout.startswith("saved days@1.0.0: 3 objects"), result
    assert result.stderr.count("is reused") == 1 and f"the listing of `file://{base}/`, made " in result.stderr
    assert index(dcfs, here, "base/day2", "--save", "one", "--reuse").startswith("saved one@1.0.0: 1 object")
    # A missing place is reported, by its name.
    before = ask(here, "SELECT count(*) FROM datasets_versions")
    for words, told in [
        (["base/day1", "base/dya2"], [f"there is no `{base}/dya2`"]),
        (["base/dya2"], [f"there is no `{base}/dya2`"]),
        (["base/day1", "base/*.png"], ["is in `file://", "matches `*.png`", "--update"]),
        (["base/day1", "base/day1/*.jpg", "base/day2/*.gif"], ["`*.jpg`", "`*.gif`"]),
    ]:
        message = refused(dcfs, here, 1, *words, "--save", "days", "--reuse")
        assert all(part in message for part in told), (words, message)
    assert ask(here, "SELECT count(*) FROM datasets_versions") == before
    # Of the alternatives in braces one must match; a place may be given twice.
    for flag in ("--reuse", "--json"):
        said = index(dcfs, here, "base/{day1,day2}/c.*", "base/day1", "base/day1", "--save", "days", flag)
        assert "3 objects" in said or json.loads(said)["rows"] == 3


SAMPLES = {
    "JPEG": ["jpg"], "PNG": ["png"], "GIF": ["gif"], "WEBP": ["webp"], "BMP": ["bmp"], "TIFF": ["tif"], "ICO": ["ico"],
    "PPM": ["ppm", "pgm", "pbm"], "JPEG2000": ["jp2", "j2k"], "AVIF": ["avif"], "QOI": ["qoi"],
}  # fmt: skip


def samples(folder):
    """Pictures of every format that PIL writes and dcfs knows; returns PIL's description of each."""
    folder.mkdir(parents=True)
    modes = {"pgm": "L", "pbm": "1"}
    number = 0
    for form, endings in SAMPLES.items():
        for ending in endings:
            for size in [(1, 1), (33, 65), (400, 300)]:
                number += 1
                size = (min(size[0], 200), min(size[1], 200)) if form == "ICO" else size
                image = Image.effect_noise(size, 50).convert(modes.get(ending, "RGB"))
                try:
                    image.save(folder / f"{number:03}.{ending}", form, **({"sizes": [size]} if form == "ICO" else {}))
                except (KeyError, OSError):
                    continue  # not in this build of PIL
    noise = Image.effect_noise((640, 480), 50).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by a quarter turn
    noise.save(folder / "turned.jpg", exif=exif)
    noise.save(folder / "profiled.jpg", icc_profile=random.randbytes(300_000))
    noise.save(folder / "commented.jpg", comment=b"c" * 60_000)
    noise.save(folder / "progressive.jpg", progressive=True)
    noise.save(folder / "lossless.webp", lossless=True)
    noise.convert("RGBA").save(folder / "clear.webp")
    noise.save(folder / "many.gif", save_all=True, append_images=[noise] * 3)
    noise.save(folder / "many.tiff", save_all=True, append_images=[noise] * 3)
    noise.save(folder / "packed.tiff", compression="tiff_lzw")
    noise.convert("I;16").save(folder / "deep.png")
    if features.check("avif"):
        noise.save(folder / "turned.avif", exif=exif)
    whole = (folder / "progressive.jpg").read_bytes()
    for name, content in {
        "text.txt": b"BMW and GIF8 and P1 are no pictures", "empty.jpg": b"", "cut.jpg": whole[:100], "cut.png": b"\x89PNG\r\n\x1a\n\0\0",
        "noted.ppm": b"P3\n#noted\n5 # wide\n6\n255\n" + b"1 2 3\n" * 30, "gif.txt": b"GIF8 begins a GIF, and this text", "qoi.txt": b"qoif begins a QOI",
        "bm.txt": b"BM " * 40, "p1.txt": b"P1 is a place in the hall of fame", "zip.jpg": b"PK\3\4" + bytes(100),
        "movie.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200),
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)

    def said(path):
        try:
            with Image.open(path) as image:
                return (0, image.width, image.height, image.format)
        except Exception:
            return (1, None, None, None)

    return {path.name: said(path) for path in folder.iterdir()}


INFO = "file__path, info___type_tag, info__width, info__height, info__format"


def test_pictures_are_told_as_pil_tells_them(dcfs, here):
    want = samples(here / "pictures")
    said = index(dcfs, here, "pictures", "--save", "pictures", "--with", "image")
    found = {path: told for path, *told in cells(here, "pictures", INFO)}
    assert {name: tuple(told) for name, told in found.items()} == want
    odd = sum(told[0] for told in want.values())
    assert odd >= 8 and said.startswith(f"{odd} are no images\nsaved pictures@1.0.0"), said


def test_what_dcfs_shows_is_not_indexed(dcfs, here):
    write(here, ["photos/a.jpg", "photos/b.jpg"])
    index(dcfs, here, "photos", "--save", "photos")
    with dcfs.mount(here, here / "mnt"):
        said = dcfs.run("index", ".", "--save", "all", cwd=here)
    assert (said.returncode, "left out" in said.stderr) == (0, False), said.stderr
    assert [row[1] for row in rows(here, "all")] == ["photos/a.jpg", "photos/b.jpg"]


def test_what_becomes_of_links_is_told(dcfs, here, tmp_path):
    """A link to a file is a row, wherever it leads, as in DataChain; others are skipped, by kind."""
    write(here, ["photos/a/1", "photos/b"])
    write(tmp_path, ["elsewhere/2", "elsewhere/3"])
    for name, target in {
        "inside": "a/1", "folder": "a", "away": tmp_path / "elsewhere", "none": "nowhere", "2": tmp_path / "elsewhere/2", "a/3": "../../../elsewhere/3",
    }.items():  # fmt: skip
        (here / "photos" / name).symlink_to(target)
    os.mkfifo(here / "photos/pipe")
    result = dcfs.run("index", "photos", "--save", "photos", cwd=here)
    at = f"`file://{here}/photos`"
    assert f"left out of {at}: 2 links to folders, 1 link to nothing, 1 pipe, socket or device\n" in result.stderr, result
    assert f"2 links of {at} lead to files outside of it: they are rows, and read where" in result.stderr
    assert [row[1] for row in rows(here, "photos")] == ["2", "a/1", "a/3", "b", "inside"]
    (listing,) = json.loads(index(dcfs, here, "photos", "--save", "photos", "--json"))["listings"]
    kinds = {kind: listing["kinds"][kind] for kind in ("folder_links", "broken_links", "outside_links", "special", "not_utf8")}
    assert kinds == {"folder_links": 2, "broken_links": 1, "outside_links": 2, "special": 1, "not_utf8": 0}
    with dcfs.mount(here, tmp_path / "mnt") as mount:
        assert (mount.path / "datasets/photos/a/3").read_bytes() == b"xxx"


def test_a_link_has_a_time_of_its_own_in_both(dcfs, here):
    """DataChain records when a link was made and reads through it, and so does dcfs: a delta across both finds nothing new."""
    write(here, ["data/a", "photos/b"])
    link = here / "photos" / "link"
    link.symlink_to("../data/a")
    os.utime(link, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    assert reads_storage(here, here / "photos", "theirs") == 2
    assert dcfs.ok("cat", "theirs/link", cwd=here) == "xxx"
    assert dcfs.run("verify", "theirs", cwd=here).returncode == 0
    assert index(dcfs, here, "photos", "--save", "theirs", "--delta").startswith("2 unchanged, 0 new, 0 changed, 0 gone")


def test_a_listing_that_shares_a_table_is_refused_at_once(dcfs, here):
    write(here, ["photos/a.jpg", "Photos/b.jpg"])
    index(dcfs, here, "photos", "--save", "lower")
    assert "index the folder around both" in refused(dcfs, here, 2, "Photos", "--save", "upper")
    assert index(dcfs, here, "P*/**", "--save", "upper").startswith("saved upper@1.0.0: 1 object")


def test_a_delta_computes_what_is_new(dcfs, here):
    photos = here / "photos"
    write(photos, [f"{n % 4}/cat_{n}.txt" for n in range(100)])
    wishes = ("--with", "path:{kind}_{n:int}", "--with", "image")
    index(dcfs, here, photos, "--save", "pets", *wishes)
    assert index(dcfs, here, photos, "--save", "pets", "--delta") == "100 unchanged, 0 new, 0 changed, 0 gone\nnothing new; pets@1.0.0 is as it was\n"
    # The description of the dataset is still applied.
    index(dcfs, here, photos, "--save", "pets", "--delta", "--description", "ours", "--attr", "NLP")
    assert ask(here, "SELECT description, attrs FROM datasets WHERE name = 'pets'") == [("ours", '["NLP"]')]
    before = cells(here, "pets", "*")
    write(photos, ["0/dog_7.txt", "9/none.txt"])
    write(photos, ["1/cat_1.txt"], size=9)
    (photos / "2/cat_2.txt").unlink()
    said = index(dcfs, here, photos, "--save", "pets", "--delta")
    assert said.startswith("98 unchanged, 2 new, 1 changed, 1 gone\n3 are no images\n1 has a path that does not match, e.g. `9/none.txt`\nsaved pets@1.0.1: 101 objects"), said
    after = cells(here, "pets", "*")
    # Unchanged rows are the same, except for their number.
    assert {row[1:] for row in after} >= {row[1:] for row in before if row[3] not in ("1/cat_1.txt", "2/cat_2.txt")}
    found = dict((path, rest) for path, *rest in cells(here, "pets", "file__path, kind, n, file__size"))
    assert found["0/dog_7.txt"] == ["dog", 7, 3] and found["9/none.txt"] == [None, None, 3] and found["1/cat_1.txt"] == ["cat", 1, 9]
    assert "2/cat_2.txt" not in found
    # As if it had been computed from scratch: the same rows in the same order.
    index(dcfs, here, photos, "--save", "anew", *wishes)
    names = f"{COLUMNS}, kind, n, {INFO}"
    assert cells(here, "anew", names) == cells(here, "pets", names)
    # The parameters are kept, and the listing it came from is replaced.
    write(photos, ["0/cow_1.txt"])
    assert "1 new" in index(dcfs, here, photos, "--save", "pets", "--delta", "--bump", "minor")
    assert versions(here, "pets") == ["1.0.0", "1.0.1", "1.1.0"]
    assert ("cow", 1) in cells(here, "pets", "kind, n")
    parents = ask(here, "SELECT p.version FROM datasets_dependencies x JOIN datasets_versions v ON v.id = x.source_dataset_version_id JOIN datasets_versions p ON p.id = x.dataset_version_id JOIN datasets d ON d.id = v.dataset_id WHERE d.name = 'pets' ORDER BY v.id")
    assert [version for (version,) in parents] == ["1.0.0", "2.0.0", "3.0.0"]
    message = refused(dcfs, here, 2, photos, "--save", "pets", "--delta", "--with", "image")
    assert "has other columns than those asked for" in message


def test_a_delta_goes_on_as_it_was_computed(dcfs, here):
    photos = here / "photos"
    write(photos, [f"{kind}_{n}.txt" for kind in ("cat", "dog") for n in range(3)])
    wish = ("--with", "path:{kind}_{n:int}")
    index(dcfs, here, photos, "--save", "pets", *wish)
    write(photos, ["cow-7.txt"])
    # Columns of the same names by another pattern would mean something else.
    message = refused(dcfs, here, 2, photos, "--save", "pets", "--delta", "--with", "path:{kind}-{n:int}")
    assert "`pets@1.0.0` were computed otherwise, by `--with path:{kind}_{n:int}`" in message
    assert "1 new" in index(dcfs, here, photos, "--save", "pets", "--delta", *wish)
    # After a rollback, columns are computed as in the restored version.
    dcfs.ok("save", "pets@1.0.0", "--as", "pets", cwd=here)
    dcfs.ok("save", "pets", "--as", "pets", cwd=here)
    write(photos, ["emu_5.txt"])
    assert "6 unchanged, 2 new" in index(dcfs, here, photos, "--save", "pets", "--delta")
    assert ("emu", 5) in cells(here, "pets", "kind, n")
    assert "nothing new" in index(dcfs, here, photos, "--save", "pets", "--delta")
    # A selection is not undone.
    dcfs.ok("save", "pets", "--where", "kind = 'cat'", "--as", "pets", cwd=here)
    for words in [(), wish]:
        message = refused(dcfs, here, 2, photos, "--save", "pets", "--delta", *words)
        assert "`pets@1.0.5` is a selection made by `dcfs save ... --where`" in message
    # If nothing records how columns were computed, it has to be specified.
    with database(here) as db:
        db.execute("DELETE FROM dcfs_provenance")
        db.commit()
    assert "repeat the `--with` that they" in refused(dcfs, here, 2, photos, "--save", "pets", "--delta")
    assert "3 unchanged, 5 new" in index(dcfs, here, photos, "--save", "pets", "--delta", *wish)


def test_nothing_new_may_be_described(dcfs, here):
    write(here / "photos", ["a"])
    index(dcfs, here, "photos", "--save", "x")
    words = ("photos", "--save", "x", "--delta")
    result = dcfs.run("index", *words, "--description", "mine", "--attr", "a=b", "--bump", "major", cwd=here)
    assert result.stdout.endswith("nothing new; x@1.0.0 is as it was, and `x` has a new description\n"), result
    assert "no version was made" in result.stderr
    assert dcfs.ok("describe", "x", cwd=here).split("\n")[1:3] == ["description  mine", "attributes   a=b"]
    result = dcfs.run("index", *words, "--json", "--version", "2.0.0", cwd=here)
    told = json.loads(result.stdout)
    assert (told["is_new"], told["is_described"]) == (False, False) and "no version was made" in result.stderr
    assert versions(here, "x") == ["1.0.0"]


def test_a_pattern_that_matches_nothing_is_refused(dcfs, here):
    write(here / "photos", ["train/cat_1.txt", "train/dog.txt"])
    words = ("photos", "--save", "x", "--with", "path:{kind}_{n:int}")
    message = refused(dcfs, here, 2, *words, "--with", "path:{a}/{b}/{c}")
    assert "no path matches the pattern `{a}/{b}/{c}`, e.g. not `train/cat_1.txt`" in message
    assert versions(here, "x") == [] and leftovers(here) == []
    message = refused(dcfs, here, 2, "photos/train/dog.txt", *words[1:])
    assert "e.g. not `dog.txt`" in message
    assert index(dcfs, here, *words).startswith("1 has a path that does not match, e.g. `train/dog.txt`\nsaved x@1.0.0")
    # A delta keeps its columns, whatever is new.
    write(here / "photos", ["cow.txt"])
    assert "1 has a path that does not match, e.g. `cow.txt`" in index(dcfs, here, "photos", "--save", "x", "--delta")


def test_what_is_gone_may_be_kept(dcfs, here):
    photos = here / "photos"
    write(photos, ["a", "b", "c"])
    index(dcfs, here, photos, "--save", "x")
    write(photos, ["b"], size=9)
    (photos / "c").unlink()
    said = index(dcfs, here, photos, "--save", "x", "--delta", "--keep-deleted")
    assert said.startswith("1 unchanged, 0 new, 1 changed, 0 gone\nsaved x@1.0.1: 4 objects"), said
    assert [(row[1], row[2]) for row in rows(here, "x")] == [("a", 3), ("b", 3), ("b", 9), ("c", 3)]
    assert "nothing new" in index(dcfs, here, photos, "--save", "x", "--delta", "--keep-deleted")
    assert index(dcfs, here, photos, "--save", "x", "--delta").startswith("2 unchanged, 0 new, 0 changed, 2 gone\nsaved x@1.0.2: 2 objects")


def test_an_empty_folder_is_all_gone(dcfs, here):
    photos = here / "photos"
    write(photos, ["a/1", "a/2", "b/3"])
    index(dcfs, here, "photos/a", "photos/b", "--save", "x")
    (photos / "b/3").unlink()
    assert "there are no files" in refused(dcfs, here, 1, "photos/a", "photos/b", "--save", "x", "--update")
    said = index(dcfs, here, "photos/a", "photos/b", "--save", "x", "--delta")
    assert said.startswith("2 unchanged, 0 new, 0 changed, 1 gone\nsaved x@1.0.1: 2 objects"), said
    # A pattern that never matched anything is not one that matches nothing any more.
    assert "matches `*.jpg`" in refused(dcfs, here, 1, "photos/a/*.jpg", "--save", "x", "--delta")
    for name in "12":
        (photos / "a" / name).unlink()
    # A version without rows would be the latest: it has to be requested, otherwise it is not saved.
    before = versions(here, "x")
    words = ("photos/a", "photos/b", "--save", "x", "--delta")
    message = refused(dcfs, here, 1, *words)
    assert "no row is left: all of `x@1.0.1` is gone; nothing was saved; `--allow-empty` saves" in message
    assert versions(here, "x") == before and leftovers(here) == []
    result = dcfs.run("index", *words, "--allow-empty", cwd=here)
    assert result.stdout.startswith("0 unchanged, 0 new, 0 changed, 2 gone\nsaved x@1.0.2: 0 objects"), result
    assert f"`file://{photos}/a` is empty" in result.stderr
    assert "nothing new" in index(dcfs, here, "photos/a", "--save", "x", "--delta")
    (photos / "a").rmdir()
    assert f"there is no `{photos}/a`" in refused(dcfs, here, 1, "photos/a", "--save", "x", "--delta")
    write(photos, ["a/4"])
    assert index(dcfs, here, "photos/a", "--save", "x", "--delta").startswith("0 unchanged, 1 new, 0 changed, 0 gone\nsaved x@1.0.3: 1 object")
    assert "`--allow-empty` saves a version without rows" in refused(dcfs, here, 1, "photos/b", "--save", "new")
    assert index(dcfs, here, "photos/b", "--save", "new", "--allow-empty") == "saved new@1.0.0: 0 objects, 0 B\n"
    assert refused(dcfs, here, 1, "photos/c", "--save", "new", "--allow-empty").count("there is no")


def test_the_next_version_keeps_the_columns(dcfs, here):
    photos = here / "photos"
    write(photos, ["cat_1.txt", "dog_2.txt"])
    wishes = ("--with", "path:{kind}_{n:int}", "--with", "image")
    index(dcfs, here, photos, "--save", "pets", *wishes)
    write(photos, ["cow_3.txt"])
    result = dcfs.run("index", photos, "--save", "pets", cwd=here)
    assert result.stdout.endswith("saved pets@1.0.1: 3 objects, 9 B\n"), result
    assert "the columns of `pets@1.0.0` are kept (--with image --with path:{kind}_{n:int}); `--with none` saves without" in result.stderr
    kinds = [("cat", 1, None), ("cow", 3, None), ("dog", 2, None)]
    assert cells(here, "pets", "kind, n, info__width") == kinds
    # Of a filter's selection too, and by the recipe, not by words that look like it in the command.
    dcfs.ok("save", "pets", "--where", "n > 1", "--as", "pets", cwd=here)
    index(dcfs, here, photos, "--save", "pets", "--description=--with=image")
    assert cells(here, "pets", "kind, n, info__width") == kinds
    told = json.loads(index(dcfs, here, photos, "--save", "pets", "--json"))
    assert told["kept_columns"] == {"of": "pets@1.0.3", "with": ["image", "path:{kind}_{n:int}"]}
    # An earlier dcfs recorded them only in the command, and its table has one column less.
    with database(here) as db:
        db.execute("ALTER TABLE dcfs_provenance DROP COLUMN recipe")
        db.commit()
    index(dcfs, here, photos, "--save", "pets")
    assert cells(here, "pets", "kind, n, info__width") == kinds
    # If a pattern that is kept matches nothing any more, the error says how to proceed.
    write(here / "other", ["x.txt"])
    assert "The pattern is that of `pets@1.0.5`: `--with none`" in refused(dcfs, here, 2, "other", "--save", "pets")
    # Dropped, they stay so.
    assert "cannot be combined with another" in refused(dcfs, here, 2, photos, "--save", "pets", "--with", "none", "--with", "image")
    for words in (("--with", "none"), ()):
        result = dcfs.run("index", photos, "--save", "pets", *words, cwd=here)
        assert result.returncode == 0 and "are kept" not in result.stderr, result
        ((shape,),) = ask(here, f"SELECT sql FROM sqlite_schema WHERE name = {table(here, 'pets')[1:-1]!r}")
        assert "kind" not in shape


def test_columns_that_python_made_are_not_dropped_unasked(dcfs, here):
    write(here / "photos", ["a_1.txt"])
    index(dcfs, here, "photos", "--save", "x", "--with", "path:{kind}_{n:int}")
    with database(here) as db:
        db.execute("DELETE FROM dcfs_provenance")
        db.commit()
    message = refused(dcfs, here, 2, "photos", "--save", "x")
    assert "`x@1.0.0` has columns" in message and "or `--with none` to save a version without them" in message
    assert index(dcfs, here, "photos", "--save", "x", "--with", "none").startswith("saved x@1.0.1")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["photos", "--save", "lst__x"], 2, "cannot be the name"),
        (["photos", "--save", "a.b"], 2, "in another project"),
        (["photos", "--save", "x@1"], 2, "without a version"),
        (["photos", "--save", "FEW"], 2, "there is `few` already"),
        (["photos", "--save", "few", "--version", "1.0.0"], 2, "versions only go up"),
        (["photos", "--save", "x", "--with", "video"], 2, "is not a column"),
        (["photos", "--save", "x", "--with", "path:{file}"], 2, "choose another name"),
        (["photos", "--save", "x", "--with", "path:{a}", "--with", "path:{A}"], 2, "two patterns"),
        (["photos", "--save", "x", "--with", "path:*/{a}"], 2, "not a wildcard"),
        (["photos", "--save", "x", "--keep-deleted"], 2, "--delta"),
        (["none", "--save", "x"], 1, "none"),
        (["empty", "--save", "x"], 1, "there are no files"),
        (["photos/*.jpg", "--save", "x"], 1, "none of 1 object in"),
        (["hf://datasets/x", "--save", "x"], 2, "cannot be listed"),
        (["s3://b/x", "--save", "x", "--anon", "--endpoint-url", "http://127.0.0.1:1", "--timeout", "2s"], 6, "refused"),
    ],
)
def test_what_makes_no_sense_is_refused(dcfs, here, words, code, message):
    write(here / "photos", ["a.txt"])
    (here / "empty").mkdir()
    index(dcfs, here, "photos", "--save", "few")
    before = ask(here, "SELECT id, uuid, version, status FROM datasets_versions")
    assert message in refused(dcfs, here, code, *words)
    assert ask(here, "SELECT id, uuid, version, status FROM datasets_versions") == before
    assert leftovers(here) == []


def test_a_catalog_is_made_where_it_belongs(dcfs, here, tmp_path):
    write(here / "photos", ["a"])
    index(dcfs, here, "photos", "--save", "x", "--catalog", tmp_path / "new/one")
    assert (tmp_path / "new/one/.datachain/db").is_file()
    index(dcfs, here, "photos", "--save", "x", "--catalog", tmp_path / "two/.datachain")
    assert (tmp_path / "two/.datachain/db").is_file()
    refused(dcfs, here, 1, "none", "--save", "x")
    refused(dcfs, here, 2, "photos", "--save", "session_x")
    assert not (here / ".datachain").exists(), "nothing is made for what is refused"
    dcfs.environment["DATACHAIN_ROOT_DIR"] = str(tmp_path / "three")
    index(dcfs, here, "photos", "--save", "x")
    assert (tmp_path / "three/.datachain/db").is_file()


# Buckets


@pytest.mark.parametrize("versioned", [True, False])
def test_a_bucket_is_saved_as_datachain_saves_it(s3, versioned, here, tmp_path):
    name = f"index-{'v' if versioned else 'u'}"
    s3.bucket(name, versioned)
    keys = [f"pets/{kind}_{n}.txt" for kind in ("cat", "dog") for n in range(40)] + ["top", "a b/\u00e9 %20+.bin", "x//y"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: s3.put(name, key, key.encode()), keys))
    s3.put(name, "top", b"again")
    s3.put(name, "gone", b"gone")
    s3.client.delete_object(Bucket=name, Key="gone")
    dcfs = mounts.Dcfs(tmp_path / "home", **s3.KEYS)
    flags = ("--endpoint-url", s3.url)
    uris = [f"s3://{name}", f"s3://{name}/pets/", f"s3://{name}/**/cat_*", f"s3://{name}/pets/{{cat,dog}}_1.txt"]
    answers = by_datachain(tmp_path / "d", uris, config_of(s3))
    for number, uri in enumerate(uris):
        index(dcfs, here, uri, "--save", f"n{number}", "--update", *flags)
        assert sorted(rows(here, f"n{number}")) == answers[uri], uri
    for listing, _ in listings(here):
        assert sorted(rows(here, listing)) == answers[listing], listing
    said = index(dcfs, here, f"s3://{name}/pets/", "--save", "pets", "--with", "path:{kind}_{n:int}", *flags)
    assert said.startswith("saved pets@1.0.0: 80 objects"), said
    s3.put(name, "pets/cow_1.txt", b"cow")
    s3.put(name, "pets/cat_1.txt", b"another cat")
    s3.client.delete_object(Bucket=name, Key="pets/dog_1.txt")
    said = index(dcfs, here, f"s3://{name}/pets/", "--save", "pets", "--delta", *flags)
    assert said.startswith("78 unchanged, 1 new, 1 changed, 1 gone\nsaved pets@1.0.1: 80 objects"), said
    assert (("cow", 1)) in cells(here, "pets", "kind, n")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    index(dcfs, fresh, f"s3://{name}/pets/", "--save", "pets", *flags)
    ((listing, _),) = listings(fresh)
    assert rows(here, listing) == rows(fresh, listing)


def test_an_empty_prefix_is_all_gone(s3, here, tmp_path):
    s3.bucket("index-empty", False)
    for key in ("a/1", "b/2"):
        s3.put("index-empty", key, b"x")
    dcfs = mounts.Dcfs(tmp_path / "home", **s3.KEYS)
    words = ("s3://index-empty/a/", "--save", "x", "--endpoint-url", s3.url)
    index(dcfs, here, *words)
    s3.client.delete_object(Bucket="index-empty", Key="a/1")
    refused(dcfs, here, 1, *words, "--update")
    # An address without rows in the last version is a wrong name, and so is a missing bucket.
    refused(dcfs, here, 1, "s3://index-empty/c/", *words, "--delta")
    refused(dcfs, here, 1, "s3://index-emptied/a/", *words[1:], "--delta")
    refused(dcfs, here, 1, *words, "--delta")
    said = index(dcfs, here, *words, "--delta", "--allow-empty")
    assert said.startswith("0 unchanged, 0 new, 0 changed, 1 gone\nsaved x@1.0.1: 0 objects"), said


def test_pictures_in_a_bucket_are_read_in_part(s3, here, tmp_path):
    s3.bucket("index-pictures", False)
    large = Image.effect_noise((1500, 1500), 90).convert("RGB")
    large.save(tmp_path / "large.png")
    large.save(tmp_path / "large.tiff")
    for path in (tmp_path / "large.png", tmp_path / "large.tiff"):
        s3.client.upload_file(str(path), "index-pictures", path.name)
    s3.put("index-pictures", "empty.jpg", b"")
    dcfs = mounts.Dcfs(tmp_path / "home", **s3.KEYS)
    with servers.faulty(tmp_path, s3.url) as faults:
        flags = ("--endpoint-url", faults.url)
        said = index(dcfs, here, "s3://index-pictures", "--save", "x", "--with", "image", *flags)
        assert said.startswith("1 is no image\n"), said
        info = {path: tuple(told) for path, *told in cells(here, "x", INFO)}
        assert info["large.png"] == (0, 1500, 1500, "PNG") and info["large.tiff"] == (0, 1500, 1500, "TIFF")
        # A picture that the store refuses or fails to return is counted and named, and does not end the run.
        for number, fault in enumerate(("status_403", "status_500")):
            faults.rules(("large.tiff", fault))
            words = ["index", "s3://index-pictures", "--save", f"y{number}", "--with", "image", "--timeout", "5s"]
            result = dcfs.run(*words, *flags, cwd=here)
            assert result.returncode == 0 and "1 could not be read" in result.stdout, result
            assert "large.tiff" in result.stderr
            info = {path: tuple(told) for path, *told in cells(here, f"y{number}", INFO)}
            assert info["large.png"] == (0, 1500, 1500, "PNG") and info["large.tiff"] == (1, None, None, None)
            assert leftovers(here) == []


# Bytes of a picture in a checkpoint.
RECORD = 29


def test_pictures_of_a_killed_run_are_not_read_again(s3, here, tmp_path):
    """Their results are kept; a picture that was replaced meanwhile is read."""
    s3.bucket("index-resumed", False)
    names = [f"p_{number:02}.png" for number in range(40)]
    for name in names:
        Image.new("RGB", (3, 2)).save(tmp_path / name)
        s3.client.upload_file(str(tmp_path / name), "index-resumed", name)
    dcfs = mounts.Dcfs(tmp_path / "home", **s3.KEYS)
    with servers.faulty(tmp_path, s3.url) as faults:
        words = ["s3://index-resumed", "--save", "x", "--with", "image", "--endpoint-url", faults.url]
        faults.rules(("p_3", "hold"))
        process = start(dcfs, here, *words)
        kept = here / ".datachain" / "dcfs-runs"
        deadline = time.monotonic() + 60
        while sum(path.stat().st_size for path in kept.glob("*.pictures")) < 30 * RECORD:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.communicate(timeout=60)
        Image.new("RGB", (5, 7)).save(tmp_path / names[0])
        s3.client.upload_file(str(tmp_path / names[0]), "index-resumed", names[0])
        faults.rules(("p_[0-2][1-9]", "status_500"))
        said = index(dcfs, here, *words, "--update")
        assert said.startswith("saved x@1.0.0: 40 objects"), said
        info = {path: tuple(told) for path, *told in cells(here, "x", INFO)}
        assert info == {name: (0, 3, 2, "PNG") for name in names} | {names[0]: (0, 5, 7, "PNG")}
        assert list(kept.glob("*.pictures*")) == [], "what became a version is removed"


def test_azure_is_saved_as_datachain_saves_it(here, tmp_path):
    keys = ["a b/\u00e9 %20+#.bin", "x/y", "x/z", "top"]
    with servers.azure_box(tmp_path, keys) as connection:
        environment = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        uris = ["az://box/", "az://box/x/"]
        answers = by_datachain(tmp_path / "d", uris, {"connection_string": connection}, environment=environment)
        dcfs = mounts.Dcfs(tmp_path / "home", **environment)
        for number, uri in enumerate(uris):
            index(dcfs, here, uri, "--save", f"n{number}", "--update")
            assert sorted(rows(here, f"n{number}")) == answers[uri], uri


# Never half


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Forty thousand files."""
    root = tmp_path_factory.mktemp("many")
    for folder in range(40):
        (root / f"{folder:02}").mkdir()
        for number in range(1000):
            os.close(os.open(root / f"{folder:02}" / f"f_{number}", os.O_CREAT))
    return root


def start(dcfs, here, *words):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([mounts.DCFS, "index", *map(str, words)], env=dcfs.environment, cwd=here, **pipes)


def check_index(here, expected):
    check_whole(here, {"x": expected})
    for listing, version in listings(here):
        ((count,),) = ask(here, f"SELECT count(*) FROM {table(here, listing, version)}")
        assert count == expected, (listing, version)


def test_killed_at_any_moment_nothing_half_is_left(many, dcfs, here):
    random.seed(71)
    began = time.monotonic()
    index(dcfs, here, many, "--save", "x", timeout=300)
    took = time.monotonic() - began
    for number in range(KILLS):
        wish = ["--with", "path:{a}_{n:int}"] if number % 2 else []
        process = start(dcfs, here, many, "--save", "x", "--update", *wish)
        time.sleep(random.random() * took * 1.1)
        process.kill()
        process.communicate(timeout=60)
        if number % 3 == 0:
            # So that the listing is another one.
            os.utime(many / "00" / f"f_{number}")
        assert ask(here, "PRAGMA quick_check") == [("ok",)]
    check_index(here, 40_000)
    index(dcfs, here, many, "--save", "x", "--update", timeout=300)
    assert leftovers(here) == []
    check_index(here, 40_000)
    assert reads_storage(here, many) == 40_000
    assert [path.name for path in (dcfs.cache / "dcfs").iterdir() if "sort" in path.name] == []


def test_two_at_a_time_both_save(many, dcfs, here):
    for _ in range(3):
        both = [start(dcfs, here, many, "--save", "x", "--update") for _ in range(2)]
        for process in both:
            said, errors = process.communicate(timeout=300)
            assert process.returncode == 0 and said.startswith("saved x@"), errors
    assert versions(here, "x") == [f"1.0.{n}" for n in range(6)]
    check_index(here, 40_000)
    assert leftovers(here) == []


def test_two_deltas_at_a_time_lose_nothing(many, dcfs, here, tmp_path):
    (tmp_path / "more").mkdir()
    delta = ("--save", "x", "--delta", "--keep-deleted")
    index(dcfs, here, many, "--save", "x")
    for number in range(3):
        write(tmp_path / "more", [f"a_{number}", f"b_{number}"])
        # Each sees what the other does not.
        both = [start(dcfs, here, many, tmp_path / "more" / f"{letter}_{number}", *delta) for letter in "ab"]
        for process in both:
            said, errors = process.communicate(timeout=300)
            assert process.returncode == 0 and "saved x@" in said, errors
        assert ask(here, f"SELECT count(*) FROM {table(here, 'x')}") == [(40_002 + 2 * number,)]
    assert versions(here, "x") == [f"1.0.{n}" for n in range(7)]
    # The same twice is one version.
    write(tmp_path / "more", ["c"])
    both = [start(dcfs, here, many, tmp_path / "more/c", *delta) for _ in range(2)]
    assert sorted("nothing new" in process.communicate(timeout=300)[0] for process in both) == [False, True]
    assert leftovers(here) == []


@pytest.mark.root
def test_a_full_disk_leaves_the_catalog_as_it_was(many, dcfs, here, tmp_path):
    write(here / "few", ["a", "b"])
    index(dcfs, here, here / "few", "--save", "few")
    with mounts.small_disk(tmp_path / "disk", "6m") as disk:
        shutil.copytree(here / ".datachain", disk / ".datachain")
        for _ in range(3):
            message = refused(dcfs, here, 7, many, "--save", "x", "--catalog", disk)
            assert "is full" in message
            assert versions(disk, "x") == []
            check_whole(disk, {"few": 2})
        subprocess.run(["mount", "-o", "remount,size=500m", disk], check=True)
        index(dcfs, here, many, "--save", "x", "--catalog", disk)
        check_whole(disk, {"x": 40_000})
        assert leftovers(disk) == []


def test_a_lock_is_waited_for(dcfs, here):
    write(here / "few", ["a", "b"])
    index(dcfs, here, here / "few", "--save", "few")
    with database(here) as db:
        db.execute("BEGIN IMMEDIATE")
        waiting = start(dcfs, here, here / "few", "--save", "x")
        time.sleep(2)
        assert waiting.poll() is None
        db.execute("ROLLBACK")
    said, errors = waiting.communicate(timeout=60)
    assert said.startswith("saved x@1.0.0"), errors


@pytest.mark.root
def test_one_unreadable_picture_ends_no_run(dcfs, tmp_path):
    """It is counted, named and can be listed; the others are saved. If none can be read, it is an error."""
    # pytest's own folders, and that of a worker, are for one user.
    for folder in [tmp_path, *tmp_path.parents[:3]]:
        os.chmod(folder, folder.stat().st_mode | 0o555)
    folder, home = tmp_path / "pictures", tmp_path / "nobody"
    for place in (folder, home):
        place.mkdir()
    shutil.chown(home, 65534, 65534)
    for name in "abc":
        Image.new("RGB", (3, 2)).save(folder / f"{name}.png")
    dcfs.environment.update(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), XDG_STATE_HOME=str(home / "state"))

    def index(name):
        words = ["index", folder, "--save", name, "--with", "image", "--update", "--catalog", home]
        return dcfs.run(*words, preexec_fn=lambda: os.setuid(65534), cwd=home)

    os.chmod(folder / "b.png", 0)
    done = index("p")
    assert done.returncode == 0, done.stderr
    assert "1 could not be read and has no `info`" in done.stdout and "b.png" in done.stderr
    rows = dcfs.ok("show", "p", "--where", "info is null", "--columns", "file.path", "--format", "csv", "--catalog", home, preexec_fn=lambda: os.setuid(65534))
    assert "b.png" in rows and "a.png" not in rows
    for name in "ac":
        os.chmod(folder / f"{name}.png", 0)
    none = index("none")
    assert none.returncode == 5 and "a.png" in none.stderr
