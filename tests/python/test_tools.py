"""Common programs on a directory: no error, the right answer, nothing in the log."""

import errno
import hashlib
import mmap
import multiprocessing
import os
import subprocess

import pytest

import compare

pytestmark = pytest.mark.mount


@pytest.fixture(autouse=True)
def quiet(shapes_mount):
    """Every test here ends with no warning and no error in the log."""
    yield
    assert shapes_mount.dcfs.worries() == []


def run(*command, **options):
    """Runs a tool that must neither fail nor complain."""
    result = subprocess.run(command, capture_output=True, **options)
    assert (result.returncode, result.stderr) == (0, b""), command
    return result.stdout


def contents(root):
    """`{path: digest}` of every file below `root`, links not followed."""
    paths = (path for path in compare.files_below(bytes(root)))
    return {
        path: hashlib.sha256(compare.content(os.path.join(bytes(root), path))).hexdigest() for path in paths
    }


def test_cp_r(shapes_mount, tmp_path):
    run("cp", "-r", shapes_mount.datasets, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(shapes_mount.datasets)


def test_tar_then_compare(shapes_mount, tmp_path):
    run("tar", "-cf", tmp_path / "all.tar", "-C", shapes_mount.path, "datasets")
    run("tar", "-df", tmp_path / "all.tar", "-C", shapes_mount.path)
    run("tar", "-xf", tmp_path / "all.tar", "-C", tmp_path)
    assert contents(tmp_path / "datasets") == contents(shapes_mount.datasets)


def test_rsync_and_again(shapes_mount, tmp_path):
    source, target = f"{shapes_mount.datasets}/", tmp_path / "copy"
    run("rsync", "-a", source, target)
    assert contents(target) == contents(shapes_mount.datasets)
    changes = run(
        "rsync",
        "-a",
        "--itemize-changes",
        "--exclude=_lineage.md",
        "--exclude=_README.md",
        "--omit-dir-times",
        source,
        target,
    )
    assert changes == b"", "sizes and times are the same, so nothing is copied twice"


def test_find_by_size(shapes_mount):
    found = run("find", shapes_mount.datasets, "-type", "f", "-size", "+0", "-print0").split(b"\0")
    root = bytes(shapes_mount.datasets)
    sizes = compare.files_below(root)
    assert sorted(found[:-1]) == sorted(root + b"/" + p for p, s in sizes.items() if s.st_size)


def test_walkers_that_trust_link_counts_miss_nothing(shapes_mount):
    """A count of 1 says that it counts no folders; perl's File::Find takes 2 for a directory without any, where it trusts it."""
    walk = "use File::Find; $File::Find::dont_use_nlink = 0; find(sub { print qq($File::Find::name\\0) if -f && !-l }, @ARGV)"
    paths = run("perl", "-e", walk, shapes_mount.datasets).split(b"\0")[:-1]
    assert len(paths) == len(contents(shapes_mount.datasets)) > 0
    for folder, _, _ in os.walk(shapes_mount.path):
        assert os.stat(folder).st_nlink == 1, folder


def test_grep_r(shapes_mount):
    found = run("grep", "-rlZ", "bytes of", shapes_mount.datasets / "odd@1.0.0").split(b"\0")
    names = {os.path.basename(path) for path in found[:-1]}
    assert {b"a b", b"%20", b"new\nline", b"[x]", b"-rf"} <= names


def test_du(shapes_mount):
    folder = shapes_mount.datasets / "pets_raw@1.0.0"
    total = int(run("du", "-sb", "--apparent-size", folder).split()[0])
    assert total >= sum(s.st_size for s in compare.files_below(bytes(folder)).values())
    assert int(run("du", "-sk", folder).split()[0]) > 0


def test_mmap(shapes_mount):
    for path in (shapes_mount.datasets / "fragments@1.0.0").glob("*.wav"):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:4] == b"RIFF" and mapped[:] == path.read_bytes()


def digest(path):
    """The work of one worker with one file."""
    return path, hashlib.sha256(compare.content(path)).hexdigest()


def test_forked_readers(shapes_mount):
    """As a training loader reads: four workers forked from one process, every file, twice."""
    root = bytes(shapes_mount.datasets)
    paths = [os.path.join(root, path) for path in compare.files_below(root)]
    with multiprocessing.get_context("fork").Pool(4) as workers:
        first = dict(workers.imap_unordered(digest, paths, chunksize=8))
        second = dict(workers.imap_unordered(digest, reversed(paths), chunksize=8))
    assert first == second == dict(map(digest, paths))


def read_at(task):
    """Reads a stretch of a descriptor that the parent opened."""
    return os.pread(*task)


def test_one_descriptor_in_many_processes(shapes_mount):
    path = next((shapes_mount.datasets / "fragments@1.0.0").glob("*.wav"))
    whole = path.read_bytes()
    descriptor = os.open(path, os.O_RDONLY)
    tasks = [(descriptor, 1000, offset) for offset in range(0, len(whole), 1000)]
    with multiprocessing.get_context("fork").Pool(4) as workers:
        assert b"".join(workers.map(read_at, tasks)) == whole
    os.close(descriptor)


def test_reading_beside_the_end(shapes_mount):
    path = next((shapes_mount.datasets / "fragments@1.0.0").glob("*.wav"))
    size = path.stat().st_size
    descriptor = os.open(path, os.O_RDONLY)
    assert os.pread(descriptor, 100, size) == b""
    assert len(os.pread(descriptor, 100, size - 7)) == 7
    assert os.pread(descriptor, 100, 1 << 60) == b""
    os.close(descriptor)


def test_no_attribute_is_promised_by_default(shapes_mount):
    """Only ENOSYS makes the kernel stop asking, which the caller sees as ENOTSUP."""
    path = next((shapes_mount.datasets / "fragments@1.0.0").glob("*.wav"))
    with pytest.raises(OSError) as error:
        os.getxattr(path, "user.dcfs.uri")
    assert error.value.errno == errno.ENOTSUP
