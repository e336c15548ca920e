"""Trust: rows of a stranger's catalog, the permissions of the calling user, programs of a repository, names in
folders that others write to."""

import errno
import http.server
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest

import mounts
import sql

NOBODY = 65534


def as_nobody(*command, **options):
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    return subprocess.run([*become, *map(str, command)], capture_output=True, text=True, **options)


@pytest.fixture
def place(tmp_path):
    """A folder that other users may pass through, down from the temporary folder."""
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() != "root" or folder == folder.parent.parent:
            break
        os.chmod(folder, 0o755)
    return tmp_path


@pytest.fixture
def theirs(place, small_catalog):
    """A catalog of `few`, with its files in `files`: `a/0.txt` is readable by everybody, `a/1.txt` only by its owner, and
    `a/2.txt` a link to a file outside."""
    catalog, files = place / "theirs", place / "files"
    sql.copy_catalog(small_catalog, catalog)
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        source = db.execute(f"SELECT DISTINCT file__source FROM {sql.table_of('few')}").fetchone()[0]
        shutil.copytree(source.removeprefix("file://"), files)
        db.execute(f"UPDATE {sql.table_of('few')} SET file__source = ?, file__etag = '', file__last_modified = NULL", [f"file://{files}"])
    os.chmod(files, 0o755)
    os.chmod(files / "a", 0o755)
    os.chmod(files / "a" / "1.txt", 0o600)
    shutil.copy(files / "a" / "2.txt", place / "secret")
    (files / "a" / "2.txt").unlink()
    (files / "a" / "2.txt").symlink_to(place / "secret")
    return catalog, files


def give_away(folder):
    subprocess.run(["chown", "-R", str(NOBODY), folder], check=True)


@pytest.mark.mount
@pytest.mark.root
def test_other_users_read_no_local_file_unless_told(dcfs, theirs, place):
    catalog, files = theirs
    with dcfs.mount(catalog, place / "mnt", "--allow-other") as mount:
        name = mount.datasets / "few" / "a" / "0.txt"
        assert "Permission denied" in as_nobody("cat", name).stderr
        assert any("--local-root DIR" in line for line in dcfs.worries())


@pytest.mark.mount
@pytest.mark.root
def test_below_a_root_the_rights_of_the_caller_count(dcfs, theirs, place):
    catalog, files = theirs
    with dcfs.mount(catalog, place / "mnt", "--allow-other", "--local-root", files) as mount:
        few = mount.datasets / "few" / "a"
        assert as_nobody("cat", few / "0.txt").stdout == (files / "a" / "0.txt").read_text()
        assert "Permission denied" in as_nobody("cat", few / "1.txt").stderr
        assert (few / "1.txt").read_bytes() == (files / "a" / "1.txt").read_bytes(), "root may"
        assert "Permission denied" in as_nobody("cat", few / "1.txt").stderr, "whoever read it before"
        with pytest.raises(PermissionError):
            (few / "2.txt").read_bytes()
        assert any("leads out of the folder" in line for line in dcfs.worries())


@pytest.mark.mount
@pytest.mark.root
def test_a_shared_mount_has_no_documents_of_the_team(dcfs, theirs, place):
    catalog, _ = theirs
    documents = catalog / "dc-knowledge" / "docs"
    documents.mkdir(parents=True)
    (documents / "keys.md").write_text("`few`: zorgle\n")
    (documents / "keys.md").chmod(0o600)
    with dcfs.mount(catalog, place / "own") as mount:
        pages = mount.path / "knowledge"
        assert (pages / "docs" / "keys.md").read_text() == "`few`: zorgle\n"
        assert "../docs/keys.md" in (pages / "datasets" / "few.md").read_text()
    with dcfs.mount(catalog, place / "mnt", "--allow-other") as mount:
        pages = mount.path / "knowledge"
        page = as_nobody("cat", pages / "datasets" / "few.md").stdout
        assert page.startswith("---\n") and "keys.md" not in page
        assert "docs" not in os.listdir(pages) and not (pages / "docs" / "keys.md").exists()


@pytest.mark.mount
@pytest.mark.root
def test_a_catalog_of_another_user_is_told_and_reads_no_local_file(dcfs, theirs, place):
    catalog, files = theirs
    give_away(catalog)
    with dcfs.mount(catalog, place / "mnt") as mount:
        with pytest.raises(PermissionError):
            (mount.datasets / "few" / "a" / "0.txt").read_bytes()
        mount.unmount()
        told = dcfs.run("mount", "--catalog", catalog, mount.path)
        assert told.returncode == 0 and "belongs to nobody" in told.stderr and "--allow-uri" in told.stderr
        mount.unmount()
        told = dcfs.run("mount", "--catalog", catalog, "--local-root", files, "--allow-uri", "s3://b", mount.path)
        assert (told.returncode, told.stderr) == (0, "")
        assert (mount.datasets / "few" / "a" / "0.txt").read_bytes() == (files / "a" / "0.txt").read_bytes()


@contextmanager
def server():
    """A web server that records its requests."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"abc")

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.mark.mount
@pytest.mark.root
def test_root_asks_no_address_that_a_catalog_of_others_names(dcfs, theirs, place):
    catalog, _ = theirs
    with server() as (url, asked):
        with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
            change = f"UPDATE {sql.table_of('few')} SET file__source = ?, file__path = 'x' || sys__id, file__size = 3, file__etag = '', file__version = ''"
            db.execute(change, [url])
        give_away(catalog)
        with dcfs.mount(catalog, place / "mnt") as mount:
            (path, *_) = sorted((mount.datasets / "few").glob("x*"))
            with pytest.raises(PermissionError):
                path.read_bytes()
            assert asked == [] and any("--allow-uri" in line for line in dcfs.worries())
        refused = dcfs.run("cat", "--catalog", catalog, f"few/{path.name}")
        assert refused.returncode == 5 and "--allow-uri" in refused.stderr and asked == []
        with dcfs.mount(catalog, place / "mnt", "--allow-uri", url) as mount:
            assert (mount.datasets / "few" / path.name).read_bytes() == b"abc" and asked


@pytest.mark.root
def test_a_catalog_that_a_group_may_write_is_one_of_others(dcfs, small_catalog, place):
    catalog = sql.copy_catalog(small_catalog, place / "shared")
    folder = catalog / ".datachain"
    os.chown(folder, 0, NOBODY)
    os.chmod(folder, 0o775)
    refused = dcfs.run("ls", cwd=catalog)
    assert refused.returncode == 5 and "the group `" in refused.stderr and "may write" in refused.stderr
    assert "few" in dcfs.ok("ls", "--catalog", catalog)
    refused = dcfs.run("cat", "--catalog", catalog, "few/a/0.txt")
    assert refused.returncode == 5 and "--local-root" in refused.stderr
    # A group of root only does not count as others.
    os.chown(folder, 0, 0)
    assert "few" in dcfs.ok("ls", cwd=catalog)


@pytest.mark.mount
@pytest.mark.root
def test_one_users_open_files_leave_room_for_others(dcfs, small_catalog, place):
    """With few descriptors, a user who keeps all he can open is refused at a share; others can still read."""
    few = (resource.RLIMIT_NOFILE, (200, 200))
    point = place / "mnt"
    point.mkdir()
    command = [mounts.DCFS, "mount", "--catalog", small_catalog, "--allow-other", "--local-root", small_catalog, point]
    environment = dcfs.environment
    subprocess.run(command, env=environment, check=True, preexec_fn=lambda: resource.setrlimit(*few), capture_output=True)
    try:
        script = "import os, sys, time\nopen_ = []\ntry:\n    while True: open_.append(os.open(sys.argv[1], os.O_RDONLY))\n"
        script += "except OSError as error: print(len(open_), error.errno, flush=True)\ntime.sleep(60)"
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        path = point / "datasets" / "few" / "_README.md"
        hog = subprocess.Popen([*become, sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True)
        try:
            count, number = map(int, hog.stdout.readline().split())
            assert 16 <= count < 100 and number == errno.EMFILE
            assert path.read_text()
            assert (point / "datasets" / "few" / "a" / "0.txt").read_bytes()
        finally:
            hog.kill()
            hog.wait()
    finally:
        dcfs.ok("unmount", "--force", point)


@pytest.mark.mount
def test_sixty_heavy_filters_leave_room_for_others(dcfs, small_catalog, tmp_path):
    """Filters that backtrack over long texts take few turns: a light one is answered while most of them wait."""
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    sql.multiply(catalog, "few", 60_000)
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        db.execute(f"UPDATE {sql.table_of('few')} SET file__etag = printf('%.*c', 12, 'a') || sys__id")
    with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "30s") as mount:
        few = mount.datasets / "few"
        os.listdir(few)
        heavy = [f"file.etag regexp '^(a|aa)+(?!a)b{{{n}}}$'" for n in range(1, 61)]
        asking = [subprocess.Popen(["ls", few / name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for name in heavy]
        try:
            assert (few / "sys.id < 10" / "_count").read_text()
            left = sum(process.poll() is None for process in asking)
            assert left > 30, f"only {left} of the heavy ones were still at it: they are not heavy enough"
        finally:
            for process in asking:
                process.kill()
                process.wait()


@pytest.mark.mount
def test_local_files_can_be_refused_altogether(dcfs, small_catalog, tmp_path):
    with dcfs.mount(small_catalog, tmp_path / "mnt", "-o", "no_local_files") as mount:
        with pytest.raises(PermissionError):
            (mount.datasets / "few" / "a" / "0.txt").read_bytes()
    refused = dcfs.run("cat", "--catalog", small_catalog, "--no-local-files", "few/a/0.txt")
    assert (refused.returncode, refused.stdout) == (5, "")
    bad = dcfs.run("mount", "--catalog", small_catalog, "--local-root", tmp_path / "none", tmp_path / "mnt")
    assert bad.returncode == 2 and "none" in bad.stderr


@pytest.mark.mount
def test_owner_and_modes_are_as_told(dcfs, small_catalog, tmp_path):
    options = "uid=1234,gid=4321,file_mode=0640,dir_mode=0750"
    with dcfs.mount(small_catalog, tmp_path / "mnt", "-o", options) as mount:
        found = os.stat(mount.datasets / "few" / "a" / "0.txt")
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777, found.st_nlink) == (1234, 4321, 0o640, 1)
        found = os.stat(mount.datasets / "few" / "a")
        assert (found.st_mode & 0o7777, found.st_nlink) == (0o750, 1), "one link: programs must not count subfolders"
    for wrong in ["file_mode=9", "dir_mode=1777", "uid=-1"]:
        assert dcfs.run("mount", "--catalog", small_catalog, tmp_path / "mnt", "-o", wrong).returncode == 2


@pytest.mark.root
def test_a_catalog_that_is_found_must_be_ours(dcfs, small_catalog, place):
    sql.copy_catalog(small_catalog, place / "shared")
    below = place / "shared" / "mine" / "private"
    below.mkdir(parents=True)
    (below / "salary.txt").write_text("1")
    give_away(place / "shared" / ".datachain")
    for command in [("ls",), ("index", "private", "--save", "p")]:
        refused = dcfs.run(*command, cwd=below.parent)
        assert refused.returncode == 5 and "belongs to nobody" in refused.stderr, command
    assert "few" in dcfs.ok("ls", "--catalog", place / "shared", cwd=below.parent)


def test_no_program_of_a_repository_runs(dcfs, small_catalog, tmp_path):
    if not shutil.which("git"):
        pytest.skip("no git")
    catalog = sql.copy_catalog(small_catalog, tmp_path / "repo")
    run = lambda *words: subprocess.run(["git", *words], cwd=catalog, check=True, capture_output=True)
    run("init", "-q")
    run("config", "user.name", "a")
    run("config", "user.email", "a@b")
    (catalog / "f.txt").write_text("one")
    (catalog / ".gitattributes").write_text("*.txt filter=x\n")
    run("add", "f.txt", ".gitattributes")
    run("commit", "-qm", "c")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=catalog, capture_output=True, text=True).stdout.strip()
    ran = f"sh -c 'touch {tmp_path}/ran'"
    for key in ["filter.x.clean", "filter.x.process", "core.fsmonitor", "core.sshCommand", "diff.external", "core.pager"]:
        run("config", key, ran)
    run("config", "extensions.partialClone", "origin")
    run("config", "remote.origin.url", "ssh://host/x")
    run("config", "remote.origin.promisor", "true")
    os.utime(catalog / "f.txt", (1, 1))
    dcfs.ok("save", "few", "--as", "other", cwd=catalog)
    assert commit in dcfs.ok("lineage", "other", "--json", cwd=catalog)
    assert not (tmp_path / "ran").exists()


@pytest.mark.root
def test_folders_that_a_stranger_made_a_link_are_not_written_to(dcfs, small_catalog, tmp_path):
    catalog, victim = sql.copy_catalog(small_catalog, tmp_path / "catalog"), tmp_path / "victim"
    victim.mkdir()
    for name, command in {
        "dc-knowledge": ["remember", "a line"],
        ".claude": ["skill", "install", "--project", "--target", "claude"],
        ".cursor": ["mcp", "install", "--target", "cursor"],
    }.items():
        link = catalog / name
        link.symlink_to(victim)
        os.lchown(link, NOBODY, NOBODY)
        refused = dcfs.run(*command, cwd=catalog)
        assert refused.returncode == 5 and "is a link that nobody made" in refused.stderr, (command, refused)
        assert os.listdir(victim) == []
        link.unlink()


def test_names_beside_a_catalog_are_not_followed(dcfs, small_catalog, tmp_path):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "shared")
    folder = catalog / ".datachain"
    (folder / f"db-dcfs-{'0' * 32}.lock").symlink_to(tmp_path / "made")
    os.mkfifo(folder / f"db-dcfs-{'1' * 32}.lock")
    dcfs.ok("describe", "few", "--catalog", catalog, "--description", "d", timeout=20)
    assert not (tmp_path / "made").exists()
    for ending in ["-journal", "-wal", "-shm"]:
        beside = folder / f"db{ending}"
        beside.unlink(missing_ok=True)
        os.mkfifo(beside)
        for command in [("ls",), ("describe", "few", "--description", "e")]:
            refused = dcfs.run(*command, "--catalog", catalog, timeout=20)
            assert refused.returncode != 0 and "is in the way" in refused.stderr, (ending, command)
        beside.unlink()
    assert "few" in dcfs.ok("ls", "--catalog", catalog)


@pytest.mark.root
def test_a_cache_that_others_could_change_is_refused(dcfs, small_catalog, place):
    cache = place / "cache"
    cache.mkdir(mode=0o700)
    count = lambda: dcfs.run("cat", "--catalog", small_catalog, "--cache-dir", cache, "few/a/0.txt")
    assert count().returncode == 0
    os.chmod(cache, 0o777)
    assert count().returncode == 5 and "chmod go-w" in count().stderr
    os.chmod(cache, 0o700)
    os.chown(cache, NOBODY, NOBODY)
    assert count().returncode == 5 and "belongs to nobody" in count().stderr
    os.chown(cache, 0, 0)
    shutil.rmtree(cache / "packs")
    os.symlink(place, cache / "packs")
    os.lchown(cache / "packs", NOBODY, NOBODY)
    assert count().returncode == 5 and "is a link" in count().stderr


def test_files_without_names_may_lie_in_any_folder(dcfs, tmp_path):
    """What `index` and `diff` do not hold in memory nobody else can open, so a cache that others could change does no harm to them."""
    folder = tmp_path / "open"
    folder.mkdir()
    os.chmod(folder, 0o777)
    files = tmp_path / "files"
    files.mkdir()
    for name in "ab":
        (files / name).write_text(name)
        dcfs.ok("index", files, "--save", "two", "--catalog", tmp_path, "--cache-dir", folder / "cache")
    assert "1 added" in dcfs.ok("diff", "two", "--catalog", tmp_path, "--cache-dir", folder / "cache")
    assert os.listdir(folder / "cache") == []


@pytest.mark.root
def test_a_quota_of_the_machine_binds_its_users(dcfs, small_catalog, place):
    """Whatever settings of their own users have; `/etc/dcfs/config.toml` is this test's, in a mount namespace of its own."""
    machine, home = place / "etc" / "dcfs", place / "nobody"
    machine.mkdir(parents=True)
    home.mkdir()
    (home / "config.toml").write_text("[mount]\ncache_size = '200G'\n")
    give_away(home)
    for folder in [small_catalog, small_catalog.parent]:
        os.chmod(folder, 0o755)
    environment = {**dcfs.environment, "HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_STATE_HOME": str(home), "DCFS_CONFIG": str(home / "config.toml")}

    def run(quota, *words, user="nobody"):
        (machine / "config.toml").write_text(quota)
        command = 'mount -t overlay -o "lowerdir=$1:/etc" overlay /etc && shift && exec "$@"'
        become = ["setpriv", f"--reuid={user}", "--clear-groups", "--"]
        inside = ["unshare", "--mount", "sh", "-c", command, "-", place / "etc", *become, mounts.DCFS, *words]
        return subprocess.run([*map(str, inside)], capture_output=True, text=True, env=environment)

    count = ["cat", "few/a/0.txt", "--catalog", small_catalog, "--cache-size"]
    told = run("[quota]\ncache_size = '1G'", *count, "2G")
    assert told.returncode == 0 and "1G of fetched objects are kept: your quota by `/etc/dcfs/config.toml`" in told.stderr, told
    assert run("[quota]\ncache_size = '1G'", *count, "512M").stderr == ""
    assert run("[quota]\ncache_size = '1G'\n[quota.users]\nnobody = '4G'", *count, "2G").stderr == ""
    assert "of which 1G are your quota" in run("[quota]\ncache_size = '1G'", "doctor", "--catalog", small_catalog).stdout
    wrong = run("[quota]\ncache_size = 'much'", *count, "2G")
    assert wrong.returncode == 2 and "`[quota]` in `/etc/dcfs/config.toml`: `much` is not a size" in wrong.stderr
    # A quota that users give themselves is none.
    (home / "config.toml").write_text("[quota]\ncache_size = '1T'\n")
    wrong = run("", *count, "2G")
    assert wrong.returncode == 2 and "`[quota]` counts in `/etc/dcfs/config.toml` alone" in wrong.stderr


@pytest.mark.mount
@pytest.mark.root
def test_a_disk_that_can_keep_nothing_is_told(dcfs, small_catalog, tmp_path):
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", tiny], check=True)
    try:
        told = dcfs.run("mount", "--catalog", small_catalog, "--cache-dir", tiny, tmp_path / "mnt")
        assert told.returncode == 0 and "so nothing is kept" in told.stderr
        assert "so nothing is kept" in dcfs.run("doctor", "--catalog", small_catalog, "--cache-dir", tiny).stdout
        dcfs.ok("unmount", tmp_path / "mnt")
    finally:
        subprocess.run(["umount", tiny], check=True)
