"""Explanations of filters that are wrong or select nothing, of columns that a version lost, and of types that changed."""

import errno
import json
import os
import shutil
import subprocess
import time

import pytest
from PIL import Image

from written import ask, database


@pytest.fixture
def pets(dcfs, tmp_path):
    """A catalog of twelve pictures and a text, of which the last version lost its columns."""
    folder = tmp_path / "pets"
    for n in range(12):
        path = folder / f"{'ab'[n % 2]}/{'Pug' if n % 3 else 'beagle'}_{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100 + 10 * n, 50)).save(path)
    dcfs.ok("index", folder, "--save", "pets", "--with", "image", "--with", "path:{breed}_{n:int}", cwd=tmp_path)
    return tmp_path


def refused(folder, name):
    """The explanation beside a filter that is EINVAL."""
    with pytest.raises(OSError) as error:
        os.listdir(folder / name)
    assert error.value.errno == errno.EINVAL
    text = (folder / "_error" / name).read_text()
    assert len(text.encode()) == os.stat(folder / "_error" / name).st_size
    return text


@pytest.mark.mount
def test_why_a_filter_is_wrong_is_read_beside_it(dcfs, pets):
    with dcfs.mount(pets, pets / "mnt") as mount:
        version = mount.path / "datasets/pets@1.0.0"
        assert refused(version, "info.widht > 400") == "no column `info.widht`; did you mean `info.width` or `info.height`?\n  info.widht > 400\n  ^^^^^^^^^^\n"
        # In every directory of files, and below filters; the last part of a name suffices.
        for place in (version / "a", version / "n > 3", version / "a" / "n > 3", version / "_views/by/breed/Pug"):
            assert "did you mean `info.width`?" in refused(place, "width > 400"), place
            assert os.listdir(place / "_error") == []
            assert os.path.samefile(place / "_error" / "..", place)
        assert "_error" not in os.listdir(version)
        assert not (version / "_error" / "info.width > 100").exists()
        with pytest.raises(OSError) as error:
            (version / "_error/info.widht > 400").write_text("x")
        assert error.value.errno == errno.EROFS
        # A name that is recorded wins.
        assert version.is_dir() and not (version / "_error").is_file()


REASONS = [
    ("info.width > 400", "`info.width` lies between 100 and 210"),
    ("breed = pug", "upper and lower case differ, and `lower(breed) = \"pug\"` selects 8 rows"),
    ("breed = Pu", "`breed ilike \"%Pu%\"` selects 8 rows"),
    ("breed like \"Pu\"", "`%` stands for any text"),
    ("breed like \"pug%\"", "`breed ilike \"pug%\"` selects 8 rows"),
    ("n between 9 and 3", "as `between 3 and 9`"),
    ("breed = beagle and n = 1", "each condition alone is met (`breed = \"beagle\"` by 4 rows, `n = 1` by 1 row), but no row meets all"),
    ("breed = Pug and n > 99", "`n` lies between 0 and 11"),
    ("breed = null", "nothing compares with NULL; write `breed is null`"),
    ("n != null", "write `n is not null`"),
    ("n < null", "nothing compares with NULL"),
    ("file.ext = \".png\"", "an extension has no dot; `file.ext = \"png\"` selects"),
    ("limit 0", "`limit 0` takes no row"),
    ("offset 50", "`offset 50` skips all 12 rows"),
]  # fmt: skip


def test_why_nothing_passes_is_told(dcfs, pets):
    for filter, reason in REASONS:
        done = dcfs.run("count", "pets", "--where", filter, cwd=pets)
        assert (done.stdout, done.returncode) == ("0\n", 0) and reason in done.stderr, (filter, done)
        assert reason in dcfs.ok("explain", "pets", filter, cwd=pets).splitlines()[-1], filter
        assert reason in json.loads(dcfs.ok("explain", "pets", filter, "--json", cwd=pets))["why"]
        assert reason in dcfs.run("show", "pets", "--where", filter, cwd=pets).stderr
    for filter in ("n > 3", "n < 0 or n = 2"):
        done = dcfs.run("count", "pets", "--where", filter, cwd=pets)
        assert done.stdout != "0\n" and done.stderr == "", done
    with database(pets) as db:
        db.execute("UPDATE ds_local_local_pets_1_0_0 SET n = NULL")
        db.commit()
    shutil.rmtree(dcfs.cache)
    assert "`n` is NULL in every row" in dcfs.run("count", "pets", "--where", "n > 3", cwd=pets).stderr


@pytest.mark.mount
def test_why_nothing_passes_is_on_the_mount(dcfs, pets):
    with dcfs.mount(pets, pets / "mnt") as mount:
        version = mount.path / "datasets/pets@1.0.0"
        assert os.listdir(version / "info.width > 400") == []
        text = (version / "_error/info.width > 400").read_text()
        assert text == "no row passes `info.width > 400`: `info.width` lies between 100 and 210\n"
        assert "`info.width` lies between 100 and 210" in (version / "info.width > 400/_README.md").read_text().replace("\\", "")
        # Of the rows of its parent: three of the four beagles are wider.
        assert "lies between 100 and 190" in (version / "breed = beagle/_error/info.width > 400").read_text()


@pytest.mark.mount
def test_examples_on_a_filters_page_are_of_its_rows(dcfs, pets):
    with dcfs.mount(pets, pets / "mnt") as mount:
        version = mount.path / "datasets/pets@1.0.0"
        example = lambda folder: [line for line in (folder / "_README.md").read_text().splitlines() if line.startswith("| `n` ")][0]  # noqa: E731
        assert example(version).endswith("| `10` |")
        assert example(version / "n > 6 and breed = beagle").endswith("| `9` |")
        assert example(version / "order by n desc limit 1").endswith("| `11` |")
        assert example(version / "n > 99").endswith("|  |")


def test_a_column_that_a_version_lost_is_told_with_the_version_that_has_it(dcfs, pets):
    dcfs.ok("index", "pets", "--save", "pets", "--with", "image", cwd=pets)
    dcfs.ok("index", "pets", "--save", "pets", "--with", "none", cwd=pets)
    for words in (["count", "pets", "--where", "n > 3"], ["explain", "pets", "n > 3"], ["show", "pets", "--columns", "n"], ["show", "pets", "--columns", "n", "--json"]):  # fmt: skip
        done = dcfs.run(*words, cwd=pets)
        assert done.returncode == 2 and "(`pets@1.0.0` has it, `pets@1.0.2` has not)" in done.stderr, done
    # The newest that has it.
    assert "(`pets@1.0.1` has it" in dcfs.run("explain", "pets", "info.width > 3", cwd=pets).stderr
    assert "has it" not in dcfs.run("explain", "pets", "nothing > 3", cwd=pets).stderr
    with dcfs.mount(pets, pets / "mnt") as mount:
        assert "(`pets@1.0.0` has it" in refused(mount.path / "datasets/pets@1.0.2", "n > 3")


def test_a_type_that_changed_is_told(dcfs, pets):
    """If values differ, and if they are equal: 1 is 1, whether it is a boolean or a number."""
    dcfs.ok("index", "pets", "--save", "pets", "--with", "image", "--with", "path:{breed}_{n}", cwd=pets)
    text = dcfs.ok("diff", "pets@1.0.0", "pets@1.0.1", cwd=pets)
    assert "COLUMN  TYPE\nn       Optional[int] -> Optional[str]\n" in text and "n: 7 (Optional[int]) -> 7 (Optional[str])" in text, text
    told = json.loads(dcfs.ok("diff", "pets@1.0.0", "pets@1.0.1", "--json", cwd=pets))
    assert told["columns"]["retyped"] == [{"column": "n", "from": "Optional[int]", "to": "Optional[str]"}]
    # All values equal: the type alone is a difference.
    dcfs.ok("save", "pets@1.0.0", "--as", "pets", cwd=pets)
    dcfs.ok("save", "pets@1.0.0", "--as", "pets", cwd=pets)
    with database(pets) as db:
        for column in ("feature_schema", "schema"):
            db.execute(f"UPDATE datasets_versions SET {column} = replace(replace({column}, '\"n\": \"Optional[int]\"', '\"n\": \"Optional[bool]\"'), '\"n\":\"Optional[int]\"', '\"n\":\"Optional[bool]\"') WHERE version = '1.0.3'")  # fmt: skip
        db.commit()
    assert "bool" in ask(pets, "SELECT feature_schema FROM datasets_versions WHERE version = '1.0.3'")[0][0]
    done = dcfs.run("diff", "pets@1.0.2", "pets@1.0.3", "--exit-code", cwd=pets)
    assert done.returncode == 1 and "12 same, 0 added, 0 changed, 0 removed" in done.stdout, done
    assert "n       Optional[int] -> Optional[bool]" in done.stdout


@pytest.mark.mount
def test_directories_of_filters_go_instead_of_filling_the_table(dcfs, pets):
    """Many more than the table of views holds; one whose directory is open, or is a process's current folder, stays the same."""
    dcfs.environment["DCFS_TEST_VIEWS"] = "400,200,500"
    with dcfs.mount(pets, pets / "mnt") as mount:
        version = mount.path / "datasets/pets@1.0.0"
        held = os.open(version / "n > 3", os.O_RDONLY | os.O_DIRECTORY)
        shell = subprocess.Popen(["sh", "-c", "read line; ls"], cwd=version / "n > 4/a", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            wanted = sorted(os.listdir(held))
            for number in range(4000):
                for patience in range(100):
                    try:
                        os.stat(version / f"n > {number}.5")
                        break
                    except OSError as error:
                        # Faster than directories can be evicted: no longer than their slots rest.
                        assert error.errno == errno.ENFILE and patience < 99, error
                        time.sleep(0.1)
            # The first one is looked up again, and has the same contents.
            assert [len(os.listdir(version / f"n > {n}.5/a")) for n in range(3)] == [5, 5, 4]
            assert (version / "n > 3/_count").read_text() == "8\n"
            assert sorted(os.listdir(held)) == wanted
            assert sorted(shell.communicate("go\n", timeout=60)[0].split()) == sorted(os.listdir(version / "n > 4/a"))
        finally:
            os.close(held)
            shell.kill()
