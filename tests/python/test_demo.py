"""`make demo DIR=...` over a user's folder: nothing is written there, nothing stays mounted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import datachain_runs
import mounts

pytestmark = pytest.mark.mount

DEMO = mounts.ROOT / "tests" / "demo" / "own"


def demo(folder, home):
    """Its output; the catalog is below `home`."""
    (home / "tmp").mkdir(parents=True)
    environment = datachain_runs.clean_environment(home, TMPDIR=str(home / "tmp"), PATH="/usr/sbin:/usr/bin:/sbin:/bin")
    done = subprocess.run([DEMO, mounts.DCFS, folder], env=environment, capture_output=True, text=True, timeout=180)
    with open("/proc/self/mountinfo") as table:
        assert not [line for line in table if str(home) in line], "it is unmounted"
    return done


def seen(folder):
    """Everything that a program could have changed."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_size, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns)
    return found


def fill(folder, pictures):
    (folder / "a b" / ".hidden").mkdir(parents=True)
    for number in range(9):
        (folder / "a b" / f"it's {number}.txt").write_text("x" * 5000 * number)
    if pictures:
        draw = mounts.ROOT / "tests" / "demo" / "draw.py"
        subprocess.run([sys.executable, draw, folder, "4"], check=True)


@pytest.mark.parametrize("pictures", [True, False])
def test_a_folder_is_walked_through_and_left_alone(tmp_path, pictures):
    folder = tmp_path / "my 'own' $HOME"
    fill(folder, pictures)
    before = seen(folder)
    done = demo(folder, tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen(folder) == before
    for command in ("index", "save", "diff", "mount", "unmount"):
        assert f"\n$ dcfs {command} " in done.stdout, done.stdout
    assert ("There are no pictures here" in done.stdout) != pictures
    assert " new, 0 changed, 0 gone" in done.stdout
    (place,) = (tmp_path / "home" / "tmp").iterdir()
    assert str(place) in done.stdout and (place / ".datachain").exists()


def test_an_empty_folder_and_none_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, told in (("empty", "nothing was indexed"), ("none", "there is no folder")):
        done = demo(tmp_path / name, tmp_path / f"home-{name}")
        assert done.returncode == 1 and told in done.stderr, done.stderr


def test_the_catalog_never_goes_into_the_folder(tmp_path):
    """Not even if the folder contains the folder for temporary files."""
    home = tmp_path / "home"
    fill(home / "files", False)
    before = {path for path in seen(home)}
    done = demo(home, home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path for path in seen(home)} - before <= {str(home / "tmp")}
    place = Path(next(line for line in done.stdout.splitlines() if line.startswith("To remove it:")).split()[-1])
    assert place.parent == Path("/var/tmp")
    subprocess.run(["rm", "-rf", place], check=True)


def test_fiona_finds_what_datachain_finds(tmp_path):
    """`make demo-fiona`: the task of DataChain's README by seven commands, and by DataChain's own chain over the same pictures."""
    script, folder = DEMO.parent / "fiona", tmp_path / "fiona"
    environment = datachain_runs.clean_environment(tmp_path / "home", PYTHON=sys.executable)
    done = subprocess.run([script, mounts.DCFS, folder], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    saved = subprocess.run(
        [mounts.DCFS, "sql", "select image.stem stem, breed, mask.stem mask, distance from similar_to_fiona order by distance", "--json"],
        cwd=folder, env=environment, capture_output=True, text=True, check=True,
    )
    rows = [json.loads(line) for line in saved.stdout.splitlines()]
    assert [row["breed"] for row in rows] == ["shiba_inu"] * 3 and all(row["mask"] == row["stem"] for row in rows)
    process = datachain_runs.start(datachain_runs.SCRIPTS / "fiona.py", folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    wanted = json.loads(output.splitlines()[-1])
    assert [[row["stem"], row["breed"]] for row in rows] == [row[:2] for row in wanted]
    assert [row["distance"] for row in rows] == pytest.approx([row[2] for row in wanted])
    assert (folder / "dc-knowledge" / "index.md").exists()
