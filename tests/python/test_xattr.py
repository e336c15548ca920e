"""`-o xattr`: the rows' data of a file, by getxattr(2) and by the programs that use it."""

import ctypes
import errno
import json
import os
import subprocess
import tempfile

import pytest

import datachain_runs
import mounts
import sql

pytestmark = pytest.mark.mount

LISTED = {f"user.dcfs.{name}" for name in ("uri", "etag", "pin", "dataset", "row")}
"""The attributes of a row's file whose row records no version of the object."""

LONGEST = 65_536
"""XATTR_SIZE_MAX of Linux."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attributes")
    datachain_runs.run("attributes", folder)
    return folder


@pytest.fixture(scope="module")
def mount(catalog, tmp_path_factory):
    home = tmp_path_factory.mktemp("attributes_mount")
    with mounts.Dcfs(home).mount(catalog, home / "mnt", "-o", "xattr") as mount:
        yield mount
    assert mount.dcfs.worries() == [], "nothing here is worth a line in the log"


@pytest.fixture
def root(mount):
    return mount.datasets / "attributes@1.0.0"


def value(path, name):
    return os.getxattr(path, f"user.dcfs.{name}").decode()


def refusal(call, *arguments):
    """The errno of a call that must fail."""
    with pytest.raises(OSError) as error:
        call(*arguments)
    return error.value.errno


def run(*command, **options):
    """Runs a tool that must neither fail nor complain."""
    result = subprocess.run(command, capture_output=True, **options)
    assert (result.returncode, result.stderr) == (0, b""), command
    return result.stdout


def everything(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def test_a_file_tells_where_it_is_from(root, catalog):
    path = root / "sub" / "c.txt"
    assert set(os.listxattr(path)) == LISTED
    assert value(path, "uri") == f"file://{catalog}/data/sub/c.txt"
    assert value(path, "etag") == (catalog / "data/sub/c.txt").stat().st_mtime.hex()
    assert value(path, "dataset") == "attributes@1.0.0"
    assert value(path, "row") == "4"
    assert value(root / "b.txt", "row") == "2,3"
    assert refusal(value, path, "version") == errno.ENODATA


def test_a_directory_tells_its_dataset(root, mount):
    for folder in (root, root / "sub", root / "_views" / "by", mount.datasets / "attributes"):
        assert everything(folder) == {"user.dcfs.dataset": b"attributes@1.0.0"}
    for bare in (mount.path, mount.datasets, mount.path / "README.md", root / "_schema.json"):
        assert os.listxattr(bare) == []
        assert refusal(value, bare, "dataset") == errno.ENODATA


COLUMNS = [
    ("a.txt", "info.size.width", "400"),
    ("a.txt", "info.size.ratio", "0.1"),
    ("a.txt", "info.label", "pug"),
    ("a.txt", "good", "true"),
    ("a.txt", "seen", "2024-01-02 12:00:00.250000"),
    ("a.txt", "vector", "[0.5,1.0]"),
    ("a.txt", "facts", '{"a":[1]}'),
    ("a.txt", "file.path", "a.txt"),
    ("sub/c.txt", "info.size.width", "-1"),
    ("sub/c.txt", "info.size.ratio", "inf"),
    ("sub/c.txt", "info.label", 'say "hi"\n\u65e5'),
    ("sub/c.txt", "vector", "[]"),
    ("sub/d.txt", "info.size.ratio", "1e300"),
    ("b.txt", "good", "false"),
    ("b.txt", "vector", "[0.5]"),
    ("b.txt", "info.size.width", "[401,402]"),
    ("b.txt", "info.label", '["beagle",null]'),
]


@pytest.mark.parametrize("path, column, wanted", COLUMNS)
def test_a_column_by_name(root, path, column, wanted):
    assert value(root / path, f"col.{column}") == wanted


def test_a_list_is_json(root):
    assert json.loads(value(root / "b.txt", "col.info.size.width")) == [401, 402]


ABSENT = [
    "user.dcfs.col.info.label",
    "user.dcfs.col.info",
    "user.dcfs.col.info.size",
    "user.dcfs.col.none",
    "user.dcfs.col.",
    "user.dcfs.col.sys__id",
    "user.dcfs.",
    "user.dcfs.uri.",
    "user.other",
    "security.selinux",
    "security.capability",
]
"""NULL in the row of d.txt, a model, or no column at all."""


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_not_there_is_enodata(root, name):
    assert refusal(os.getxattr, root / "sub" / "d.txt", name) == errno.ENODATA


def test_names_of_any_bytes(root):
    assert refusal(os.getxattr, root / "a.txt", b"user.dcfs.col.\xff\n") == errno.ENODATA


LIBC = ctypes.CDLL(None, use_errno=True)


def getxattr(path, name, room):
    """getxattr(2) with a buffer of `room` bytes: its result, and the contents of the buffer."""
    buffer = ctypes.create_string_buffer(max(room, 1))
    answer = LIBC.getxattr(bytes(path), name.encode(), buffer, ctypes.c_size_t(room))
    return (answer, buffer.raw[:answer]) if answer >= 0 else (-ctypes.get_errno(), b"")


def listxattr(path, room):
    buffer = ctypes.create_string_buffer(max(room, 1))
    answer = LIBC.listxattr(bytes(path), buffer, ctypes.c_size_t(room))
    return (answer, buffer.raw[:answer]) if answer >= 0 else (-ctypes.get_errno(), b"")


def test_sizes_are_told_and_small_buffers_refused(root):
    path, name, wanted = root / "a.txt", "user.dcfs.dataset", b"attributes@1.0.0"
    assert getxattr(path, name, 0)[0] == len(wanted)
    assert getxattr(path, name, len(wanted)) == (len(wanted), wanted)
    assert getxattr(path, name, len(wanted) + 100) == (len(wanted), wanted)
    assert getxattr(path, name, len(wanted) - 1)[0] == -errno.ERANGE
    length, _ = listxattr(path, 0)
    names = listxattr(path, length)[1].decode().split("\0")
    assert set(names[:-1]) == LISTED and names[-1] == ""
    assert listxattr(path, length - 1)[0] == -errno.ERANGE


def test_nothing_can_be_set(root):
    path = root / "a.txt"
    assert refusal(os.setxattr, path, "user.dcfs.uri", b"x") == errno.EROFS
    assert refusal(os.setxattr, path, "user.mine", b"x") == errno.EROFS
    assert refusal(os.removexattr, path, "user.dcfs.uri") == errno.EROFS


def test_getfattr(root):
    dumped = run("getfattr", "-d", "--absolute-names", root / "sub" / "c.txt").decode()
    assert dumped.count("user.dcfs.") == len(LISTED)
    assert 'user.dcfs.dataset="attributes@1.0.0"' in dumped
    width = ("--only-values", "-n", "user.dcfs.col.info.size.width")
    assert run("getfattr", "--absolute-names", *width, root / "a.txt") == b"400"
    assert b"attributes@1.0.0" in run("getfattr", "-R", "-d", "--absolute-names", root)


def test_ls_l(root):
    assert run("ls", "-lR", root).count(b".txt\n") == 4


def attributes_below(root):
    """`{path: attributes}` of every file and folder below `root`."""
    paths = [os.path.join(folder, name) for folder, *names in os.walk(root) for name in sum(names, [])]
    return {os.path.relpath(path, root): everything(path) for path in paths}


@pytest.fixture(params=["/dev/shm", None])
def target(request, tmp_path):
    """A folder of a file system that keeps attributes: tmpfs, and the one of the tests."""
    with tempfile.TemporaryDirectory(dir=request.param or tmp_path) as folder:
        try:
            os.setxattr(folder, "user.probe", b"")
        except OSError as error:
            pytest.skip(f"{folder}: no user attributes here: {error.strerror}")
        yield folder


def test_cp_a(root, target):
    run("cp", "-a", root, f"{target}/copy")
    run("chmod", "-R", "u+w", f"{target}/copy")
    assert attributes_below(f"{target}/copy") == attributes_below(root)
    assert os.getxattr(f"{target}/copy/b.txt", "user.dcfs.row") == b"2,3"


def test_tar(root, target):
    run("tar", "--xattrs", "-cf", f"{target}/all.tar", "-C", root, ".")
    os.mkdir(f"{target}/copy")
    run("tar", "--xattrs", "-xf", f"{target}/all.tar", "-C", f"{target}/copy")
    run("chmod", "-R", "u+w", f"{target}/copy")
    assert attributes_below(f"{target}/copy") == attributes_below(root)


def test_a_value_too_long_is_e2big_and_many_rows_are_cut(catalog, dcfs, tmp_path):
    """A file that 40,000 rows name, one of them with a text too long for any attribute."""
    folder = sql.copy_catalog(catalog / ".datachain", tmp_path / "c" / ".datachain").parent
    sql.add_rows(folder, "attributes", [{"good": 0}] * 40_000)
    sql.change(
        folder,
        "UPDATE ds_local_local_attributes_1_0_0 SET info__label = hex(zeroblob(40000)) WHERE sys__id = 4",
    )
    with dcfs.mount(folder, tmp_path / "mnt", "-o", "xattr") as mount:
        root = mount.datasets / "attributes@1.0.0"
        ids = value(root / "a.txt", "row")
        assert ids.startswith("1,6,7,8,") and ids.endswith(",...") and len(ids) <= LONGEST
        for path, name in [("a.txt", "user.dcfs.col.good"), ("sub/c.txt", "user.dcfs.col.info.label")]:
            assert getxattr(root / path, name, 0)[0] == -errno.E2BIG
            assert getxattr(root / path, name, LONGEST)[0] == -errno.E2BIG
    assert dcfs.worries() == []


def test_the_version_of_an_object_where_one_is_recorded(catalog, dcfs, tmp_path):
    folder = sql.copy_catalog(catalog / ".datachain", tmp_path / "c" / ".datachain").parent
    changes = "file__version = 'v:1', file__etag = ''"
    sql.change(folder, f"UPDATE ds_local_local_attributes_1_0_0 SET {changes} WHERE sys__id = 1")
    with dcfs.mount(folder, tmp_path / "mnt", "-o", "xattr") as mount:
        path = mount.datasets / "attributes" / "a.txt"
        assert set(os.listxattr(path)) == LISTED - {"user.dcfs.etag"} | {"user.dcfs.version"}
        assert value(path, "version") == "v:1"
        assert refusal(value, path, "etag") == errno.ENODATA


def test_a_removed_version_tells_nothing_more(catalog, dcfs, tmp_path):
    folder = sql.copy_catalog(catalog / ".datachain", tmp_path / "c" / ".datachain").parent
    with dcfs.mount(folder, tmp_path / "mnt", "-o", "xattr") as mount:
        path = mount.datasets / "attributes" / "a.txt"
        assert value(path, "row") == "1"
        descriptor = os.open(path, os.O_RDONLY)
        sql.change(folder, "DELETE FROM datasets_versions")
        assert refusal(os.getxattr, descriptor, "user.dcfs.uri") == errno.ESTALE
        os.close(descriptor)


def test_without_the_option_the_kernel_asks_once(catalog, tmp_path):
    dcfs = mounts.Dcfs(tmp_path / "home", DCFS_LOG="debug")
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        for path in (mount.datasets / "attributes@1.0.0").rglob("*.txt"):
            assert refusal(os.listxattr, path) == errno.ENOTSUP
            for name in ("user.dcfs.uri", "security.selinux", "security.capability", "system.posix_acl_access"):
                # The kernel answers some names itself.
                assert refusal(os.getxattr, path, name) in (errno.ENOTSUP, errno.ENODATA)
        run("ls", "-lRZ", mount.datasets)
    for call in ("listxattr", "getxattr"):
        assert sum(f"{call} is not supported" in line for line in dcfs.log().splitlines()) == 1


def test_by_the_line_of_fstab(catalog, dcfs, tmp_path):
    """`xattr` is among the options of a mount, whoever mounts."""
    (tmp_path / "mnt").mkdir()
    dcfs.ok(catalog, tmp_path / "mnt", "-o", "ro,xattr,noatime")
    try:
        assert value(tmp_path / "mnt" / "datasets" / "attributes" / "a.txt", "row") == "1"
    finally:
        dcfs.ok("unmount", tmp_path / "mnt")
