"""One of each thing that DataChain can write, on a real mount, against an independent reading."""

import errno
import json
import os
import stat

import pytest

import catalog_model
import compare
import mounts

pytestmark = pytest.mark.mount

FOREVER = ["pets_raw@1.0.0", "pets_masked@1.0.0", "members@1.0.0", "odd@1.0.0"]


@pytest.fixture(scope="session")
def versions(shapes_catalog):
    return catalog_model.read(shapes_catalog / ".datachain" / "db")


def directory_of(version, datasets):
    """The directory of a version; an overlong name is found by its beginning."""
    name = version.directory
    if len(name) > 255:
        (name,) = [
            found
            for found in os.listdir(bytes(datasets))
            if found.startswith(name[:200] + b"~")
            and os.path.isdir(bytes(datasets) + b"/" + found)
            and not os.path.islink(bytes(datasets) + b"/" + found)
        ]
    return bytes(datasets) + b"/" + name


def test_every_object_is_there_once_and_nothing_else(shapes_mount, versions):
    assert len(versions) > 25
    for version in versions:
        compare.check_version(version, directory_of(version, shapes_mount.datasets))


def test_datasets_lists_every_version_and_a_link_to_each_latest(shapes_mount, versions):
    listed = {entry.name: entry for entry in os.scandir(bytes(shapes_mount.datasets))}
    links = {name for name, entry in listed.items() if entry.is_symlink()}
    wanted = {os.path.basename(directory_of(v, shapes_mount.datasets)) for v in versions}
    assert set(listed) - links == wanted
    assert len(links) == len({(v.namespace, v.project, v.name) for v in versions})
    for link in links:
        assert os.readlink(listed[link].path) in wanted


def test_the_top_holds_a_readme_and_the_datasets(shapes_mount):
    assert sorted(os.listdir(shapes_mount.path)) == ["AGENTS.md", "README.md", "datasets", "knowledge"]
    assert (shapes_mount.path / "README.md").stat().st_size > 100


@pytest.mark.parametrize(
    "name, target",
    [
        ("growing", "growing@2.0.0"),
        ("growing@latest", "growing@2.0.0"),
        ("growing@2", "growing@2.0.0"),
        ("growing@1", "growing@1.0.1"),
        ("growing@1.0", "growing@1.0.1"),
        ("team.prod.of_the_team", "team.prod.of_the_team@1.0.0"),
        ("team.prod.of_the_team@1", "team.prod.of_the_team@1.0.0"),
    ],
)
def test_links_resolve_a_requirement(shapes_mount, name, target):
    assert os.readlink(shapes_mount.datasets / name) == target


@pytest.mark.parametrize(
    "name",
    [
        "gone",
        "gone@1.0.0",
        "growing@1.0.2",
        "growing@3",
        "growing@1.1",
        "of_the_team",
        "nothing",
        "nothing@1.0.0",
        "growing@",
        "growing@x",
        "growing@1.0.0.0",
        "pets_raw@1.0.0/nothing",
        "pets_raw@1.0.0/pug/nothing.jpg",
        "pets_raw@1.0.0/file.size",
        "pets_raw@1.0.0/year=2024",
        "pets_raw@1.0.0/file.size >",
        "pets_raw@1.0.0/pug/.git",
        "per_kind@1.0.0/count",
        "x" * 255,
        "pets_raw@1.0.0/" + "x" * 255,
    ],
)
def test_what_is_not_there_is_enoent(shapes_mount, name):
    with pytest.raises(OSError) as error:
        os.lstat(shapes_mount.datasets / name)
    assert error.value.errno == errno.ENOENT


@pytest.mark.parametrize("name", ["x" * 5000, "pets_raw@1.0.0/" + "x" * 5000, "x" * 1025])
def test_an_overlong_name_is_an_error_of_its_own(shapes_mount, name):
    with pytest.raises(OSError) as error:
        os.lstat(os.fspath(shapes_mount.datasets) + "/" + name)
    assert error.value.errno in (errno.ENAMETOOLONG, errno.ENOENT)


def no_constants(token):
    raise AssertionError(f"{token} is not JSON")


def test_every_schema_is_json_and_every_page_is_text(shapes_mount):
    for entry in os.scandir(bytes(shapes_mount.datasets)):
        with open(entry.path + b"/_schema.json", encoding="utf-8") as file:
            assert isinstance(json.load(file, parse_constant=no_constants), dict)
        for page in (b"_README.md", b"_lineage.md"):
            assert compare.content(entry.path + b"/" + page).decode().endswith("\n")


def test_lineage_goes_back_to_the_storage(shapes_mount):
    text = (shapes_mount.datasets / "pets_masked@1.0.0" / "_lineage.md").read_text()
    for word in ("pets_large@1.0.0", "pets_sized@1.0.0", "pets_raw@1.0.0", "mermaid", "data/images"):
        assert word in text
    assert "not recorded by DataChain" in text
    assert 'merge(masks.mutate(stem=func.path.file_stem("mask.path"))' in text


def test_no_page_breaks_out_of_its_table(shapes_mount):
    """Names of strangers contain pipes, backquotes and tags; a raw tag would be HTML in the page."""
    folder = shapes_mount.datasets / "`tick` | <b>@1.0.0"
    for page in ("_README.md", "_lineage.md"):
        for line in (folder / page).read_text().splitlines():
            if line.startswith("#"):
                assert "<b>" not in line.replace("\\<b>", ""), line


def test_attributes_are_those_of_a_read_only_tree(shapes_mount):
    folder = os.lstat(shapes_mount.datasets / "pets_raw@1.0.0")
    file = os.lstat(next((shapes_mount.datasets / "pets_raw@1.0.0" / "pug").iterdir()))
    assert (stat.S_IMODE(folder.st_mode), folder.st_nlink) == (0o555, 1)
    assert (stat.S_IMODE(file.st_mode), file.st_nlink) == (0o444, 1)
    assert file.st_blksize == 1 << 20
    assert file.st_blocks == -(-file.st_size // 512)
    space = os.statvfs(shapes_mount.path)
    assert space.f_blocks > 0 and space.f_bavail == 0 and space.f_namemax == 255


def numbers(mount):
    """`{path: inode number}` of everything below the versions of `FOREVER`."""
    return {
        (name, path): found.st_ino
        for name in FOREVER
        for path, found in compare.files_below(bytes(mount.datasets / name)).items()
    }


def test_inode_numbers_are_the_same_on_every_mount(shapes_mount, dcfs, tmp_path):
    first = numbers(shapes_mount)
    assert len(set(first.values())) == len(first)
    with dcfs.mount(shapes_mount.catalog, tmp_path / "again") as again:
        assert numbers(again) == first


WRITES = {
    "create": lambda folder, file: open(folder / "new", "w"),
    "append": lambda folder, file: open(file, "a"),
    "truncate": lambda folder, file: os.truncate(file, 0),
    "unlink": lambda folder, file: os.unlink(file),
    "mkdir": lambda folder, file: os.mkdir(folder / "new"),
    "rmdir": lambda folder, file: os.rmdir(file.parent),
    "rename": lambda folder, file: os.rename(file, folder / "new"),
    "link": lambda folder, file: os.link(file, folder / "new"),
    "symlink": lambda folder, file: os.symlink("x", folder / "new"),
    "chmod": lambda folder, file: os.chmod(file, 0o777),
    "utime": lambda folder, file: os.utime(file, (0, 0)),
    "mkfifo": lambda folder, file: os.mkfifo(folder / "new"),
    "setxattr": lambda folder, file: os.setxattr(file, "user.x", b"x"),
}


@pytest.mark.parametrize("write", WRITES)
def test_everything_is_read_only(shapes_mount, write):
    file = next((shapes_mount.datasets / "pets_raw@1.0.0" / "pug").iterdir())
    for folder in (shapes_mount.path, shapes_mount.datasets, file.parent.parent, file.parent):
        with pytest.raises(OSError) as error:
            WRITES[write](folder, file)
        assert error.value.errno in (errno.EROFS, errno.ENOTSUP if write == "setxattr" else errno.EROFS)


def test_hidden_datasets_stay_hidden(shapes_mount):
    names = os.listdir(shapes_mount.datasets)
    assert not [name for name in names if name.startswith(("lst__", "session_"))]


def test_nothing_was_logged_as_a_worry(shapes_mount):
    assert shapes_mount.dcfs.worries() == []


def test_two_mounts_of_one_catalog_share_a_cache(shapes_mount, tmp_path):
    with shapes_mount.dcfs.mount(shapes_mount.catalog, tmp_path / "second") as second:
        assert mounts.mounted(second.path) and mounts.mounted(shapes_mount.path)
        assert numbers(second) == numbers(shapes_mount)
