"""Google Cloud Storage, Azure, web servers and the Hugging Face hub: catalogs listed by DataChain, read by mounts.

Azure is azurite; the others are `web.py`, which answers as they do, and nginx for a web server that many run.
Answers that are wrong are held in `tests/it/stores.rs`.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from types import SimpleNamespace
from urllib.parse import quote

import pytest

import datachain_runs
import mounts
import servers
import sql

pytestmark = pytest.mark.mount

SIZES = {"small.bin": 700, "a b/caf\u00e9 %20+#.bin": 2000, "large.bin": 3 << 20, "empty.bin": 0}

FIRST, SECOND = "0" * 39 + "1", "f" * 39 + "2"
"""Commits of the hub, in order."""


LATER = 1_800_000_000_000_000
"""A generation of an object that replaced the recorded one."""


def body(key, turn=0):
    """The contents of the object `key`, initially and after a change."""
    return (b"bytes of %d " % turn + key.encode() + b" ").ljust(SIZES[key], b".")[: SIZES[key]]


def read_all(path):
    with open(path, "rb") as file:
        return file.read()


def expect_stale(mounted, path, *parts):
    before = len(mounted.dcfs.worries())
    with pytest.raises(OSError) as error:
        read_all(path)
    assert error.value.errno == errno.ESTALE
    line = mounted.dcfs.worries()[before:][0]
    assert all(part in line for part in parts), line


def pin(path):
    return os.getxattr(path, "user.dcfs.pin").decode()


def list_and_mount(folder, name, uris, config=None, environment=None, more=None):
    """A dataset of `uris` by DataChain, and a mount of it; both with `environment`, the mount with `more`."""
    uris = [uris] if isinstance(uris, str) else uris
    datachain_runs.run("stores", folder, name, json.dumps(config or {}), *uris, environment=environment)
    dcfs = mounts.Dcfs(folder / "home", **(environment or {}), **(more or {}))
    return dcfs, dcfs.mount(folder, folder / "mnt", "-o", "xattr", "--timeout", "20s")


def root_of(mount, name, path=""):
    return mount.datasets / f"{name}@1.0.0" / path


# Google Cloud Storage


class Google:
    """Objects of the bucket `gs-b`, in every generation."""

    def __init__(self, root, url):
        self.folder, self.url = root / "gs" / "gs-b", url

    def put(self, key, content, generation=1_700_000_000_123_456):
        """A generation is also its time of writing, in microseconds."""
        kept = self.folder / quote(key, safe="")
        kept.mkdir(parents=True, exist_ok=True)
        (kept / str(generation)).write_bytes(content)

    def delete(self, key):
        shutil.rmtree(self.folder / quote(key, safe=""))


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    folder = tmp_path_factory.mktemp("google")
    with servers.web(folder, folder) as url:
        store = Google(folder, url)
        for key in [*SIZES, "gone.bin", "timed.bin", "changed.bin"]:
            store.put(key, body(key) if key in SIZES else b"here")
        # Else gcsfs asks Google itself what kind of bucket it is.
        environment = {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        dcfs, mount = list_and_mount(folder, "g", "gs://gs-b/", {"anon": True}, environment)
        with mount:
            yield SimpleNamespace(dcfs=dcfs, mount=mount, store=store, folder=folder)


def test_google_reads_the_generation_recorded(google):
    for key in SIZES:
        path = root_of(google.mount, "g", key)
        google.store.put(key, b"another", LATER)
        assert read_all(path) == body(key)
        assert pin(path) == "version"
    google.store.delete("gone.bin")
    expect_stale(google, root_of(google.mount, "g", "gone.bin"), "gs://gs-b/gone.bin", "404")


def test_google_without_generations_is_held_to_size_and_time(google, tmp_path):
    catalog = sql.copy_catalog(google.folder / ".datachain", tmp_path / "c" / ".datachain").parent
    sql.change(catalog, f"UPDATE {sql.table_of('g')} SET file__version = ''")
    dcfs = mounts.Dcfs(tmp_path / "home", STORAGE_EMULATOR_HOST=google.store.url)
    with dcfs.mount(catalog, tmp_path / "mnt", "-o", "xattr") as mount:
        path = root_of(mount, "g", "timed.bin")
        assert pin(path) == "size and time"
        assert read_all(path) == b"here"
        google.store.put("changed.bin", b"else", LATER)
        expect_stale(SimpleNamespace(dcfs=dcfs), root_of(mount, "g", "changed.bin"), "its time of change was")


# Azure


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    if not servers.AZURITE.exists():
        pytest.skip("no azurite (tests/setup test)")
    blob = pytest.importorskip("azure.storage.blob")
    folder = tmp_path_factory.mktemp("azure")
    with servers.azurite(folder) as connection:
        client = blob.BlobServiceClient.from_connection_string(connection)
        client.create_container("private")
        client.create_container("public", public_access="blob")
        for container in ("private", "public"):
            for key in [*SIZES, "changing.bin", "gone.bin"]:
                client.get_blob_client(container, key).upload_blob(body(key) if key in SIZES else b"here")
        environment = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        config = {"connection_string": connection}
        uris = ["az://private/", "az://public/"]
        dcfs, mount = list_and_mount(folder, "a", uris, config, environment)
        with mount:
            yield SimpleNamespace(dcfs=dcfs, mount=mount, client=client, folder=folder, connection=connection)


def blob_of(mount, container, key):
    """Two sources in one dataset have a directory each."""
    return next(path for path in root_of(mount, "a").rglob("*") if container in str(path) and str(path).endswith(key))


@pytest.mark.parametrize("container", ["private", "public"])
def test_azure_reads_what_was_recorded(azure, container):
    for key in SIZES:
        path = blob_of(azure.mount, container, key)
        assert read_all(path) == body(key)
        assert pin(path) == "etag"


def test_azure_tells_what_changed_and_what_is_gone(azure):
    azure.client.get_blob_client("private", "changing.bin").upload_blob(b"else", overwrite=True)
    etag = azure.client.get_blob_client("private", "changing.bin").get_blob_properties().etag.strip('"')
    expect_stale(azure, blob_of(azure.mount, "private", "changing.bin"), etag)
    azure.client.get_blob_client("private", "gone.bin").delete_blob()
    expect_stale(azure, blob_of(azure.mount, "private", "gone.bin"), "the store answers 404")
    assert servers.AZURITE_KEY not in azure.dcfs.log()


def test_azure_without_credentials(azure, tmp_path):
    """A public container is read, a private one is EACCES."""
    endpoint = azure.connection.split("BlobEndpoint=")[1].rstrip(";")
    environment = {"AZURE_STORAGE_ACCOUNT": "devstoreaccount1", "AZURE_STORAGE_ENDPOINT": endpoint}
    dcfs = mounts.Dcfs(tmp_path / "home", **environment)
    with dcfs.mount(azure.folder, tmp_path / "mnt", "--anon") as mount:
        assert read_all(blob_of(mount, "public", "large.bin")) == body("large.bin")
        with pytest.raises(OSError) as error:
            read_all(blob_of(mount, "private", "large.bin"))
        assert error.value.errno == errno.EACCES
        assert "AZURE_STORAGE_CONNECTION_STRING" in dcfs.worries()[0]


# Web servers


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Files of nginx."""
    if not shutil.which("nginx"):
        pytest.skip("no nginx (apt install nginx-light)")
    folder = tmp_path_factory.mktemp("page")
    files = folder / "root"
    for key in [*SIZES, "changing.bin", "gone.bin"]:
        (files / key).parent.mkdir(parents=True, exist_ok=True)
        (files / key).write_bytes(body(key) if key in SIZES else b"here")
    with servers.nginx(folder, files) as url:
        keys = ["small.bin", "large.bin", "changing.bin", "gone.bin"]
        dcfs, mount = list_and_mount(folder, "p", [f"{url}/{key}" for key in keys])
        with mount:
            yield SimpleNamespace(dcfs=dcfs, mount=mount, files=files, url=url)


def test_a_page_is_held_to_its_etag(page):
    for key in ("small.bin", "large.bin"):
        path = root_of(page.mount, "p", key)
        assert read_all(path) == body(key)
        assert pin(path) == "etag"
    (page.files / "changing.bin").write_bytes(b"else")
    os.utime(page.files / "changing.bin", (1, 1))
    expect_stale(page, root_of(page.mount, "p", "changing.bin"), f"{page.url}/changing.bin", "its etag was")
    (page.files / "gone.bin").unlink()
    expect_stale(page, root_of(page.mount, "p", "gone.bin"), "404")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Files of a server that gives the validators that a query asks for."""
    folder = tmp_path_factory.mktemp("bare")
    files = folder / "files"
    files.mkdir()
    for name in ("timed", "late", "bare", "weak", "signed"):
        (files / name).write_bytes(body("small.bin"))
        os.utime(files / name, (1_500_000_000, 1_500_000_000))
    with servers.web(folder, folder) as url:
        dcfs, mount = list_and_mount(folder, "w", f"{url}/files/signed")
        with mount:
            yield SimpleNamespace(dcfs=dcfs, mount=mount, folder=folder, files=files, url=url)


QUERIES = {"timed": "timed", "late": "timed", "bare": "bare", "weak": "weak"}


def test_a_page_that_cannot_be_pinned_is_read_and_says_so(bare, tmp_path):
    """With a row for each kind of server, as DataChain writes it."""
    catalog = sql.copy_catalog(bare.folder / ".datachain", tmp_path / "c" / ".datachain").parent
    etag = hashlib.md5(body("small.bin")).hexdigest()
    rows = [
        {"file__path": f"files/{name}?{query}", "file__etag": f'W/"{etag}' if name == "weak" else ""}
        for name, query in QUERIES.items()
    ]
    sql.add_rows(catalog, "w", rows)
    dcfs = mounts.Dcfs(tmp_path / "home")
    with dcfs.mount(catalog, tmp_path / "mnt", "-o", "xattr") as mount:
        at = {name: root_of(mount, "w", f"files/{name}?{query}") for name, query in QUERIES.items()}
        for name, path in at.items():
            assert pin(path) == ("weak etag" if name == "weak" else "size only")
            if name != "late":
                assert read_all(path) == body("small.bin")
        assert dcfs.worries() == []
        (bare.files / "late").write_bytes(body("small.bin", 1))
        future = time.time() + 3600
        os.utime(bare.files / "late", (future, future))
        expect_stale(SimpleNamespace(dcfs=dcfs), at["late"], "files/late?...", "when it was indexed")
        schema = json.loads(root_of(mount, "w", "_schema.json").read_text())
        assert schema["files"][0]["pin"] == ["version", "etag", "size and time"]


# The Hugging Face hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    for key in SIZES:
        path = folder / "hub" / FIRST / "data" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body(key))
    with servers.web(folder, folder) as url:
        environment = {"HF_ENDPOINT": url, "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1"}
        dcfs, mount = list_and_mount(folder, "h", "hf://datasets/own/na.me/data/", None, environment)
        with mount:
            yield SimpleNamespace(dcfs=dcfs, mount=mount, folder=folder, url=url)


def hub_file(hub, key):
    return root_of(hub.mount, "h", f"own/na.me/data/{key}")


def test_the_hub_reads_the_commit_recorded(hub):
    shutil.copytree(hub.folder / "hub" / FIRST, hub.folder / "hub" / SECOND)
    for key in SIZES:
        (hub.folder / "hub" / SECOND / "data" / key).write_bytes(b"another")
        assert read_all(hub_file(hub, key)) == body(key)
        assert pin(hub_file(hub, key)) == "version"


def test_the_token_goes_to_the_hub_and_nowhere_else(hub):
    read_all(hub_file(hub, "large.bin"))
    lines = [line.split() for line in (hub.folder / "requests").read_text().splitlines()]
    resolved = [token for method, target, token in lines if "/resolve/" in target and method == "GET"]
    assert set(resolved) == {"Bearer_hf_secret"}
    assert "secret" not in hub.dcfs.log()


def test_a_file_that_left_the_hub_is_stale(hub):
    path = hub_file(hub, "a b/caf\u00e9 %20+#.bin")
    (hub.folder / "hub" / FIRST / "data" / "a b" / path.name).unlink()
    dcfs = mounts.Dcfs(hub.folder / "other", HF_ENDPOINT=hub.url)
    with dcfs.mount(hub.folder, hub.folder / "other-mnt") as mount:
        there = root_of(mount, "h", f"own/na.me/data/{path.relative_to(root_of(hub.mount, 'h', 'own/na.me/data'))}")
        expect_stale(SimpleNamespace(dcfs=dcfs), there, "404 EntryNotFound")


# Settings of `config.toml`


def settled(folder, text):
    """`--config` with a file of settings."""
    file = folder / "config.toml"
    file.write_text(text)
    return "--config", file


def expect_denied(dcfs, path, *parts):
    with pytest.raises(OSError) as error:
        read_all(path)
    assert error.value.errno == errno.EACCES
    assert all(part in dcfs.worries()[-1] for part in parts), dcfs.worries()


def test_a_table_says_where_google_is_and_as_whom(google, tmp_path):
    """Whatever the environment says, for one prefix only."""
    options = settled(tmp_path, f'["gs://gs-b/small.bin"]\nendpoint_url = "{google.store.url}"\nanon = true\n')
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    dcfs = mounts.Dcfs(tmp_path / "home", STORAGE_EMULATOR_HOST=nowhere, GOOGLE_BEARER_TOKEN="hush")
    with dcfs.mount(google.folder, tmp_path / "mnt", "--timeout", "2s", *options) as mount:
        assert read_all(root_of(mount, "g", "small.bin")) == body("small.bin")
        with pytest.raises(OSError):
            read_all(root_of(mount, "g", "timed.bin"))
    assert "hush" not in dcfs.log()
    assert not any("Bearer" in line for line in (google.folder / "requests").read_text().splitlines())


@pytest.mark.parametrize("where", ["file", "env"])
def test_tables_name_accounts_of_azure(azure, tmp_path, where):
    """One container by a connection string, one by account and endpoint without any; the environment is of another."""
    endpoint = azure.connection.split("BlobEndpoint=")[1].rstrip(";")
    (tmp_path / "string").write_text(azure.connection + "\n")
    value = tmp_path / "string" if where == "file" else "OURS"
    options = settled(
        tmp_path,
        f'["az://private"]\nconnection_string_{where} = "{value}"\n'
        f'["az://public"]\naccount = "devstoreaccount1"\nendpoint_url = "{endpoint}"\nanon = true\n',
    )
    theirs = "AccountName=theirs;AccountKey=aHVzaA==;BlobEndpoint=http://127.0.0.1:1/theirs"
    dcfs = mounts.Dcfs(tmp_path / "home", AZURE_STORAGE_CONNECTION_STRING=theirs, OURS=azure.connection)
    with dcfs.mount(azure.folder, tmp_path / "mnt", *options) as mount:
        for container in ("private", "public"):
            assert read_all(blob_of(mount, container, "large.bin")) == body("large.bin")
    said = dcfs.run("doctor", "--json", "--catalog", azure.folder, *options).stdout
    assert "the connection string that the table names" in said and endpoint in said
    assert servers.AZURITE_KEY not in dcfs.log() + said
    anonymous = settled(tmp_path, f'["az://"]\naccount = "devstoreaccount1"\nendpoint_url = "{endpoint}"\nanon = true\n')
    with dcfs.mount(azure.folder, tmp_path / "mnt", *anonymous) as mount:
        expect_denied(dcfs, blob_of(mount, "private", "small.bin"), "az://private")


def test_tables_name_hubs_and_tokens(hub, tmp_path):
    (tmp_path / "token").write_text("hf_hush\n")
    dcfs = mounts.Dcfs(tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:1", HF_TOKEN="hf_other")
    table = f'["hf://datasets/own/na.me"]\nendpoint_url = "{hub.url}"\n'
    cases = [(f'token_file = "{tmp_path}/token"', "Bearer_hf_hush"), ("", "-"), ("anon = true", "-")]
    for number, (more, token) in enumerate(cases):
        before = len((hub.folder / "requests").read_text().splitlines())
        options = settled(tmp_path, table + more + "\n")
        with dcfs.mount(hub.folder, tmp_path / "mnt", "--cache-dir", tmp_path / f"cache{number}", *options) as mount:
            assert read_all(hub_file(SimpleNamespace(mount=mount), "large.bin")) == body("large.bin")
        lines = [line.split() for line in (hub.folder / "requests").read_text().splitlines()[before:]]
        assert {line[2] for line in lines if "/resolve/" in line[1]} == {token}
    assert "hush" not in dcfs.log()


def test_a_table_names_certificates_for_one_server(bare, tmp_path):
    certificate, key = servers.certificate(tmp_path)
    with servers.web(tmp_path, bare.folder, tls=(certificate, key)) as url:
        catalog = sql.copy_catalog(bare.folder / ".datachain", tmp_path / "c" / ".datachain").parent
        sql.change(catalog, f"UPDATE {sql.table_of('w')} SET file__source = '{url}'")
        dcfs = mounts.Dcfs(tmp_path / "home")
        for name, is_read in ((f"{url}/files/", True), (f"{url}/other", False), ("https://", True)):
            options = settled(tmp_path, f'["{name}"]\nca_bundle = "{certificate}"\n')
            flags = ("--catalog", catalog, "--timeout", "3s", "--cache-size", "0", *options)
            result = dcfs.run("cat", *flags, "w/files/signed")
            assert (result.returncode == 0) == is_read, (name, result.stderr)
            assert is_read or "certificate" in result.stderr


WRONG = [
    ('["gs://b"]\ncredentials_file = "/nonexistent"', "settings of `gs://b`: the settings for Google Cloud Storage"),
    ('["az://b"]\nconnection_string_env = "NONE"', "settings of `az://b`: the variable `NONE` is not set"),
    ('["https://h"]\nca_bundle = "/nonexistent"', "settings of `https://h`: the CA bundle `/nonexistent` cannot be used"),
    ('["hf://"]\ntoken_file = "/nonexistent"', "settings of `hf://`: `/nonexistent` cannot be used"),
    ('["hf://"]\n\ntoken = "hush"', "config.toml`, line 3: there is no setting `token`; keys do not belong here"),
    ('["gs://b"]\nendpoint_url = "http://u:hush@h"', "settings of `gs://b`: `h` is not an endpoint"),
]


@pytest.mark.parametrize("text, message", WRONG)
def test_a_table_that_is_wrong_is_told_at_mount(small_catalog, tmp_path, text, message):
    (tmp_path / "mnt").mkdir()
    result = mounts.Dcfs(tmp_path / "home").run("mount", "--catalog", small_catalog, *settled(tmp_path, text), tmp_path / "mnt")
    assert result.returncode == 2 and not mounts.mounted(tmp_path / "mnt")
    assert message in result.stderr and "hush" not in result.stderr, result.stderr


# Common to all of them


@pytest.mark.parametrize(
    "variable, is_authority",
    [(None, False), ("SSL_CERT_FILE", False), ("AWS_CA_BUNDLE", False), ("AWS_CA_BUNDLE", True)],
)
def test_certificates_are_those_of_the_environment(bare, tmp_path, variable, is_authority):
    certificate, key = servers.certificate(tmp_path, is_authority)
    with servers.web(tmp_path, bare.folder, tls=(certificate, key)) as url:
        catalog = sql.copy_catalog(bare.folder / ".datachain", tmp_path / "c" / ".datachain").parent
        sql.change(catalog, f"UPDATE {sql.table_of('w')} SET file__source = '{url}'")
        dcfs = mounts.Dcfs(tmp_path / "home", **({variable: str(certificate)} if variable else {}))
        with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "3s") as mount:
            path = root_of(mount, "w", "files/signed")
            if variable:
                assert read_all(path) == body("small.bin")
                return
            with pytest.raises(OSError) as error:
                read_all(path)
            assert error.value.errno == errno.EIO
            assert "certificate" in dcfs.worries()[0]


@pytest.mark.parametrize("left_out", [False, True])
def test_proxies_are_those_of_the_environment(bare, tmp_path, left_out):
    catalog = sql.copy_catalog(bare.folder / ".datachain", tmp_path / "c" / ".datachain").parent
    sql.change(catalog, f"UPDATE {sql.table_of('w')} SET file__source = 'http://nowhere.invalid'")
    environment = {"HTTP_PROXY": bare.url, "http_proxy": bare.url}
    if left_out:
        environment["NO_PROXY"] = "nowhere.invalid"
    dcfs = mounts.Dcfs(tmp_path / "home", **environment)
    with dcfs.mount(catalog, tmp_path / "mnt", "--timeout", "3s") as mount:
        path = root_of(mount, "w", "files/signed")
        if not left_out:
            assert read_all(path) == body("small.bin")
            return
        with pytest.raises(OSError) as error:
            read_all(path)
        assert error.value.errno == errno.EIO
