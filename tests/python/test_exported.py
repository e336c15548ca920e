"""Handles of files, as an NFS server keeps them: they lead to the same file on the next mount, or nowhere."""

import ctypes
import errno
import os

import pytest

import mounts

pytestmark = [pytest.mark.mount, pytest.mark.root]

LIBC = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]


def handle(path):
    found, mount = Handle(size=128), ctypes.c_int()
    called = LIBC.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(found), ctypes.byref(mount), 0)
    assert called == 0, os.strerror(ctypes.get_errno())
    return found


def opened(mount, handle, flags=os.O_RDONLY):
    """The file of a handle; raises the system's error."""
    place = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        file = LIBC.open_by_handle_at(place, ctypes.byref(handle), flags)
        if file < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return file
    finally:
        os.close(place)


def content(mount, handle):
    with os.fdopen(opened(mount, handle), "rb") as file:
        return file.read()


@pytest.fixture
def nested(dcfs, tmp_path):
    for name in ("a/b/1.txt", "a/2.txt", "c/3.txt"):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    dcfs.ok("index", tmp_path / "files", "--save", "nested", cwd=tmp_path)
    with dcfs.mount(tmp_path, tmp_path / "mnt") as mount:
        yield mount


def test_a_handle_leads_to_the_same_file_on_the_next_mount(nested):
    version = nested.datasets / "nested@1.0.0"
    files = {path: handle(version / path) for path in ("a/b/1.txt", "a/2.txt", "c/3.txt", "_schema.json")}
    folder, top, link = handle(version / "a" / "b"), handle(nested.path), handle(nested.datasets / "nested")
    wanted = {path: (version / path).read_bytes() for path in files}
    nested.unmount()
    nested.mount()
    for path, kept in files.items():
        assert content(nested, kept) == wanted[path], path
    inside = opened(nested, folder, os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(inside) == ["1.txt"]
    with os.fdopen(os.open("../2.txt", os.O_RDONLY, dir_fd=inside), "rb") as above:
        assert above.read() == b"a/2.txt"
    os.close(inside)
    os.close(opened(nested, top))
    followed = opened(nested, link, os.O_PATH | os.O_NOFOLLOW)
    assert os.readlink("", dir_fd=followed) == "nested@1.0.0"
    os.close(followed)


def test_a_handle_of_a_query_is_of_one_mount_alone(nested):
    """Its number may mean another query on the next one: no file is better than another's files."""
    version = nested.datasets / "nested@1.0.0"
    kept = handle(version / 'file.parent like "a%"')
    inside = opened(nested, kept, os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(inside) == ["a"]
    os.close(inside)
    nested.unmount()
    nested.mount()
    assert os.listdir(version / 'file.parent like "c%"') == ["c"]
    with pytest.raises(OSError) as error:
        opened(nested, kept, os.O_RDONLY | os.O_DIRECTORY)
    assert error.value.errno == errno.ESTALE
