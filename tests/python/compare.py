"""A version's directory against its expected contents, derived from the catalog."""

import os
import re

from catalog_model import HELPERS


def files_below(root):
    """`{path below root: stat}` of every file; a directory that cannot be read is a failure."""
    found = {}

    def fail(error):
        raise error

    for folder, _, names in os.walk(root, onerror=fail):
        for name in names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = os.lstat(path)
    return found


def content(path):
    with open(path, "rb") as file:
        return file.read()


def check_file(root, path, stat, thing):
    """The file is the thing: size, time, bytes."""
    assert stat.st_size == thing.size, path
    assert stat.st_mtime_ns == thing.mtime_ns, path
    assert content(os.path.join(root, path)) == thing.read(), path


def check_version(version, root):
    """Everything that the rows name is below `root` exactly once, plus the helper files, and nothing else."""
    found = files_below(root)
    for helper in HELPERS:
        assert found.pop(helper).st_size == len(content(os.path.join(root, helper)))
    for path, thing in version.plain().items():
        check_file(root, path, found.pop(path), thing)
    for directory, thing, rows in version.odd():
        path = find_moved(root, found, directory, thing, rows)
        check_file(root, path, found.pop(path), thing)
    assert not found, f"{version.directory}: not named by any row"
    columns = {version.below(column).rstrip(b"/") for column in version.things}
    assert empty_folders(root) <= columns, f"{version.directory}: folders without a file"


def empty_folders(root):
    """The paths below `root` of empty folders."""
    empty = {folder for folder, folders, names in os.walk(root) if not folders and not names}
    return {os.path.relpath(folder, root) for folder in empty}


def find_moved(root, found, directory, thing, rows):
    """The path of a thing whose own path could not be used.

    Its name is the escaped path, perhaps with `~<row>` in one segment and levels for its source
    before it; of several files that fit, the one with its bytes.
    """
    fits = [path for path in found if path.startswith(directory) and may_be(path, thing, rows)]
    same = [path for path in fits if content(os.path.join(root, path)) == thing.read()]
    assert len(same) == 1, f"{thing.path}: {fits} fit, {same} have its bytes"
    return same[0]


def may_be(path, thing, rows):
    """Whether `path` can be the name of `thing`, ignoring marks and escapes."""
    marks = b"|".join(b"~%d" % row for row in rows)
    unmarked = re.sub(b"(?:" + marks + rb")(?=[./]|$)", b"", path)
    wanted = [escaped(part) for part in thing.path.split(b"/")]
    return unmarked.split(b"/")[-len(wanted) :] == wanted


def escaped(segment):
    """The escape of one segment as specified (NUL and overlong segments are not needed here)."""
    return {b"": b"%", b".": b"%2E", b"..": b"%2E."}.get(segment, segment)
