"""`dcfs cat` and `dcfs cp`: the files of the mount without a mount, compared with a mount."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import datachain_runs
import mounts
import servers

NOT_FOUND, USAGE, STALE = 1, 2, 3


def wait_until(true):
    """Waits until a condition holds, at most a minute."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def tree(root):
    """`{path: content}` of everything below `root`: bytes, `None` for a folder, a link's target."""
    found = {}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = os.readlink(path)
            else:
                found[key] = None if path.is_dir() else path.read_bytes()
    return found


@pytest.fixture
def few(dcfs, small_catalog):
    """Runs a command of the catalog of nine files."""

    def run(command, *arguments, **options):
        return dcfs.run(command, "--catalog", small_catalog, *arguments, **options)

    return run


# Output.


@pytest.mark.parametrize(
    "path",
    [
        "few@1.0.0/a/0.txt",
        "few/a/0.txt",
        "few@latest/a/0.txt",
        "few@1/a/0.txt",
        "datasets/few/a/0.txt",
        "/datasets/few@1.0.0/a/0.txt",
        "./few//a/./0.txt",
    ],
)
def test_cat_takes_every_form_of_a_path(few, path):
    result = few("cat", path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "a0\n" * 10, "")


def test_cat_prints_in_order(few):
    result = few("cat", "few/c/2.txt", "few/a/0.txt", "few/c/2.txt")
    assert result.stdout == "c2\n" * 10 + "a0\n" * 10 + "c2\n" * 10


def test_cat_prints_helper_files_and_tables(few, dcfs, small_catalog):
    assert few("cat", "few/_schema.json").stdout == dcfs.ok("schema", "--json", "--catalog", small_catalog, "few")
    assert few("cat", "few/_count").stdout == "9\n"
    assert len(few("cat", "few/_rows.jsonl").stdout.splitlines()) == 9
    assert few("cat", "README.md").stdout.startswith("# Datasets as directories")


def test_cat_goes_on_after_what_fails(few):
    result = few("cat", "few/none", "few/a/0.txt", "few/a")
    assert result.stdout == "a0\n" * 10
    assert result.returncode == USAGE, "the worst of not found and a directory"
    assert result.stderr.splitlines() == [
        "dcfs: `few/none`: there is no `none` in `few`",
        "dcfs: `few/a`: it is a directory; use `dcfs cp -r`",
        "dcfs: printed 1 of 3 files",
    ]


WRONG = [
    # arguments, exit code, words of the message
    ("cat few/none", NOT_FOUND, "there is no `none` in `few`"),
    ("cat few/a/0.txt/x", USAGE, "`few/a/0.txt` is not a directory"),
    ("cat fww/a/0.txt", NOT_FOUND, "few"),
    ("cat few@9.9.9/a/0.txt", NOT_FOUND, "1.0.0"),
    ("cat few/../few/a/0.txt", NOT_FOUND, "`..`"),
    ("cat few/a", USAGE, "use `dcfs cp -r`"),
    ("cat few", USAGE, "use `dcfs cp -r`"),
    ("cat /", USAGE, "use `dcfs cp -r`"),
    ("cat", USAGE, "PATH"),
    ("cp few/a/0.txt", USAGE, "DEST"),
    ("cp few/a .", USAGE, "use `dcfs cp -r`"),
    ("cp few/none .", NOT_FOUND, "there is no `none` in `few`"),
    ("cp few/a/0.txt few/a/1.txt new", USAGE, "`new` is not a directory"),
    ("cp few/a/0.txt new/", USAGE, "`new/` is not a directory"),
    ("cp few/a/0.txt no/new", NOT_FOUND, "cannot write `no/new`"),
    ("cp few/a/0.txt /dev/null", USAGE, "`/dev/null` is not a regular file"),
    ("cp few/a/0.txt few/a/0.txt full", USAGE, "just written"),
    ("cp -r few full/file", USAGE, "`full/file` exists and is not a directory"),
    ("cp few/a/0.txt full/few", USAGE, "`full/few/0.txt` is a directory"),
    ("cp --jobs 0 few/a/0.txt .", USAGE, "--jobs"),
]


@pytest.mark.parametrize("words, code, message", WRONG)
def test_what_is_wrong_is_said(few, tmp_path, words, code, message):
    (tmp_path / "full" / "few" / "0.txt").mkdir(parents=True)
    (tmp_path / "full" / "file").write_text("mine")
    command, *arguments = words.split()
    result = few(command, *arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert message in result.stderr and "panicked" not in result.stderr
    assert result.stdout == ""
    assert (tmp_path / "full" / "file").read_text() == "mine"


def test_a_pipe_that_closes_is_success(static):
    """`head` is content with one byte of 64 MiB."""
    cat = f"{mounts.DCFS} cat --catalog {static.catalog} --anon --endpoint-url {static.fast} static/large.bin"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{cat} | head -c 1"],
        env=static.dcfs.environment,
        capture_output=True,
    )
    assert result.returncode == 0 and result.stderr == b""
    assert result.stdout == (static.bucket / "large.bin").read_bytes()[:1]


# Copies.


def test_cp_r_is_cp_r_of_the_mount(dcfs, shapes_catalog, shapes_mount, tmp_path):
    """Every version of every shape, including names that are not UTF-8 and links."""
    subprocess.run(["cp", "-r", shapes_mount.datasets, tmp_path / "mount"], check=True)
    said = dcfs.ok("cp", "-r", "--catalog", shapes_catalog, "datasets", tmp_path / "own")
    assert said.startswith("copied ") and "failed" not in said
    compared = subprocess.run(
        ["diff", "-r", "--no-dereference", tmp_path / "mount", tmp_path / "own"], capture_output=True
    )
    assert (compared.returncode, compared.stdout) == (0, b"")
    for folder, _, names in os.walk(tmp_path / "own"):
        inside = os.path.relpath(folder, tmp_path / "own")
        for name in set(names) - {"_lineage.md", "_README.md"}:
            there = os.lstat(shapes_mount.datasets / inside / name)
            copied = os.lstat(os.path.join(folder, name))
            assert os.path.islink(os.path.join(folder, name)) or copied.st_mtime_ns == there.st_mtime_ns


def test_cp_r_of_a_view(dcfs, shapes_catalog, shapes_mount, tmp_path):
    """Files that only exist in views are copied by the same walk."""
    view = "typed@1.0.0/_views/by/kind.kind/odd"
    dcfs.ok("cp", "-r", "--catalog", shapes_catalog, view, tmp_path)
    copied = tree(tmp_path / "odd")
    assert copied and copied == tree(shapes_mount.datasets / view)


@pytest.fixture
def layout(tmp_path):
    """Makes folders to copy into: `make(name)` returns one that contains a folder, files and links."""

    def make(name):
        folder = tmp_path / name
        (folder / "dir" / "few@1.0.0" / "a").mkdir(parents=True)
        (folder / "dir" / "few@1.0.0" / "a" / "0.txt").write_text("old")
        (folder / "dir" / "few@1.0.0" / "mine").write_text("mine")
        (folder / "dir" / "1.txt").write_text("old")
        (folder / "file").write_text("old")
        (folder / "to_dir").symlink_to("dir")
        (folder / "to_file").symlink_to("file")
        return folder

    return make


AS_CP = [
    "few@1.0.0/a/0.txt new",
    "few@1.0.0/a/0.txt file",
    "few@1.0.0/a/0.txt to_file",
    "few@1.0.0/a/0.txt dir",
    "few@1.0.0/a/1.txt dir/",
    "few@1.0.0/a/0.txt few@1.0.0/b/1.txt dir",
    "-r few@1.0.0/a few@1.0.0/b/1.txt to_dir",
    "-r few@1.0.0 new",
    "-r few@1.0.0 new/",
    "-r few@1.0.0 dir",
    "-r few@1.0.0/ to_dir",
    "-r few@1.0.0/. dir",
    "-r few@1.0.0/a/. to_dir",
    "-r few@1.0.0/a few@1.0.0/b dir",
    "-r few@1.0.0/a file",
    "-r few@1.0.0/a to_file",
    "few@1.0.0/a few@1.0.0/b/1.txt dir",
    "few@1.0.0/b/none few@1.0.0/b/1.txt dir",
    "few@1.0.0/b/1.txt few@1.0.0/b/2.txt new",
    "few@1.0.0/b/1.txt dir/1.txt/x",
    "few@1.0.0/b/1.txt none/x",
]


@pytest.fixture(scope="module")
def small_mount(small_catalog, tmp_path_factory):
    home = tmp_path_factory.mktemp("small_mount")
    with mounts.Dcfs(home).mount(small_catalog, home / "mnt") as mount:
        yield mount


@pytest.mark.mount
@pytest.mark.parametrize("words", AS_CP)
def test_everything_goes_where_cp_puts_it(few, small_mount, layout, words):
    theirs, ours = layout("theirs"), layout("ours")
    flags, paths = [[w for w in words.split() if w.startswith("-") is flag] for flag in (True, False)]
    sources = [f"{small_mount.datasets}/{path}" for path in paths[:-1]]
    copied = subprocess.run(["cp", *flags, *sources, paths[-1]], cwd=theirs, stderr=subprocess.PIPE)
    result = few("cp", *flags, *paths, cwd=ours)
    assert tree(ours) == tree(theirs)
    assert (result.returncode == 0) == (copied.returncode == 0), (result.stderr, copied.stderr)


def test_a_copy_can_be_made_again(few, tmp_path):
    for _ in range(2):
        assert few("cp", "-r", "few", tmp_path).stdout.startswith("copied 12 files (")
    assert (tmp_path / "few" / "a" / "0.txt").read_text() == "a0\n" * 10
    assert not [name for name in tree(tmp_path) if ".part" in name]


def test_the_summary_as_json(few, tmp_path):
    result = few("cp", "--json", "few/a/0.txt", "few/a/1.txt", tmp_path)
    assert json.loads(result.stdout) == {"files": 2, "bytes": 60, "failed": 0}
    result = few("cp", "--json", "few/a/0.txt", "few/a/none", tmp_path)
    assert result.returncode == NOT_FOUND
    assert json.loads(result.stdout) == {"files": 1, "bytes": 30, "failed": 1}
    assert result.stderr.splitlines()[-1] == "dcfs: copied 1 file (30 B), 1 failed"


def test_what_changed_since_is_stale_and_the_rest_is_copied(dcfs, tmp_path):
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    datachain_runs.run("few", catalog)
    (catalog / "data" / "b" / "1.txt").write_text("other bytes")
    result = dcfs.run("cp", "-r", "--catalog", catalog, "few@1.0.0", tmp_path / "copy")
    assert result.returncode == STALE
    failure, summary = result.stderr.splitlines()
    assert "few@1.0.0/b/1.txt" in failure and summary.endswith(", 1 failed")
    copied = tree(tmp_path / "copy")
    assert "b/1.txt" not in copied and not [name for name in copied if ".part" in name]
    assert len([name for name in copied if name.endswith(".txt")]) == 8
    result = dcfs.run("cat", "--catalog", catalog, "few@1.0.0/b/1.txt")
    assert (result.returncode, result.stdout) == (STALE, "")


def test_a_folder_that_cannot_be_written_is_an_error_and_no_more(few, tmp_path):
    """A file has the place of a folder of the tree; everything that does not need the folder is copied."""
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "b").write_text("mine")
    result = few("cp", "-r", "few", tmp_path)
    assert result.returncode == USAGE and "`few/b`" in result.stderr
    assert (tmp_path / "few" / "b").read_text() == "mine"
    assert (tmp_path / "few" / "c" / "2.txt").exists()


# Slow stores


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """A large object of nginx at full speed, and at a megabyte a second."""
    if not shutil.which("nginx"):
        pytest.skip("no nginx (apt install nginx-light)")
    folder = tmp_path_factory.mktemp("slow")
    bucket = folder / "root" / "b"
    bucket.mkdir(parents=True)
    (bucket / "large.bin").write_bytes(os.urandom(64 << 20))
    (bucket / "small.bin").write_bytes(b"small")
    datachain_runs.run("static", folder, str(bucket))
    fast, slow = folder / "fast", folder / "slow"
    fast.mkdir()
    slow.mkdir()
    with servers.nginx(fast, folder / "root") as url:
        with servers.nginx(slow, folder / "root", "limit_rate 1m;") as slow_url:
            yield SimpleNamespace(
                catalog=folder,
                bucket=bucket,
                fast=url,
                slow=slow_url,
                dcfs=mounts.Dcfs(folder / "home"),
            )


def test_a_bucket_is_copied(static, tmp_path):
    static.dcfs.ok(
        *("cp", "-r", "--catalog", static.catalog, "--anon", "--endpoint-url", static.fast),
        *("static/.", tmp_path),
    )
    for name in ("large.bin", "small.bin"):
        assert (tmp_path / name).read_bytes() == (static.bucket / name).read_bytes()


def start_slowly(static, target, **options):
    """A copy from the slow server, in the middle of the large file."""
    process = subprocess.Popen(
        [mounts.DCFS, "cp", "-r", "--catalog", static.catalog, "--anon"]
        + ["--endpoint-url", static.slow, "static/.", target],
        env=static.dcfs.environment,
        **options,
    )
    wait_until(lambda: any(part.stat().st_size for part in target.glob(".dcfs-*.part")))
    return process


@pytest.mark.parametrize("polite", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file(static, tmp_path, polite):
    process = start_slowly(static, tmp_path, stderr=subprocess.PIPE)
    process.send_signal(polite)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -polite, "as any program that a signal ends"
    assert re.fullmatch(rb"dcfs: interrupted; copied .* each of them whole\n", errors), errors
    assert {path.name for path in tmp_path.iterdir()} <= {"small.bin"} | HELPERS


HELPERS = {"_README.md", "_lineage.md", "_schema.json"}


def test_killed_it_leaves_no_half_file_under_a_final_name(static, tmp_path):
    process = start_slowly(static, tmp_path)
    process.kill()
    process.wait(60)
    assert not (tmp_path / "large.bin").exists()
    for path in tmp_path.glob("small.bin"):
        assert path.read_bytes() == b"small"


def test_progress_is_shown_on_a_terminal_and_taken_away(static, tmp_path):
    ours, theirs = pty.openpty()
    process = start_slowly(static, tmp_path, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b" of 64.0 MiB" not in seen:
        seen += os.read(ours, 4096)
    assert b"copying: " in seen and b"%" in seen and b"iB/s" in seen
    # The remaining time is shown once the rate is meaningful.
    while b" left" not in seen:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    os.set_blocking(ours, False)
    try:
        seen += os.read(ours, 1 << 16)
    except OSError:
        pass
    assert re.search(rb"\r\x1b\[Kdcfs: interrupted; copied [^\r\n]*\r\n$", seen), "nothing else is left on the line"
    os.close(ours)
