"""Real servers on loopback, each a process of its own on a port of its own.

Never in a thread of the tests: a page fault on a mount holds Python's lock while it waits, and the
server that should answer it would wait for that lock.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import boto3
import pytest


def free_port():
    """A free port. Workers of pytest-xdist share out all ports, so that none takes another's before its server does."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # By pairs: Linux prefers ports of one parity.
        if port // 2 % workers == worker:
            return port


@contextlib.contextmanager
def serving(command, url, log):
    """Runs a server until the block ends; it answers `url` before the block begins."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(url, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                # It waits for requests that nobody ends.
                process.kill()
                process.wait(10)


def wait_for(url, process, log):
    """Waits until something answers HTTP at `url`, with any status."""
    for _ in range(300):
        assert process.poll() is None, Path(log).read_text()
        with contextlib.suppress(OSError):
            if answers(url):
                return
        time.sleep(0.1)
    raise AssertionError(f"no answer from {url}: {Path(log).read_text()}")


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        pass
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    return True


class S3:
    """A moto server: versions, version ids, If-Match and listings as S3 has them."""

    KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

    def __init__(self, url):
        self.url = url
        self.client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )

    def bucket(self, name, versioned):
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, bucket, key, body):
        """Stores an object and returns the store's description of it."""
        return self.client.put_object(Bucket=bucket, Key=key, Body=body)


@contextlib.contextmanager
def moto(folder):
    """An empty S3."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rsplit(":")[-1]]
    with serving(command, url, folder / "moto.log"):
        yield S3(url)


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
  log_format asked '$connection "$request" $status'; access_log {folder}/access.log asked; sendfile on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; {more} }}
}}
"""


@contextlib.contextmanager
def nginx(folder, root, more=""):
    """A static server: bucket `b` is the folder `root/b`, read without a signature.

    `more` are further lines for its configuration.
    """
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(folder=folder, root=root, port=port, user=user, more=more))
    url = f"http://127.0.0.1:{port}"
    with serving(["nginx", "-c", config, "-e", folder / "error.log"], url, folder / "nginx.log"):
        yield url


@contextlib.contextmanager
def web(folder, root, tls=None):
    """`web.py` over `root`; `tls` are a certificate for `localhost` and its key."""
    port = free_port()
    script = Path(__file__).parent / "web.py"
    command = [sys.executable, script, str(port), root, *(["--tls", *tls] if tls else [])]
    # With TLS this client trusts nobody, and its error is answer enough.
    url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    with serving(command, url, folder / f"web-{port}.log"):
        yield url


class Studio:
    """A `studio.py`, how it is told to fail, and what it was asked."""

    TOKEN = "of-the-tests"

    def __init__(self, url, root):
        self.url, self.root = url, root

    def order(self, **what):
        """How it fails from now on; nothing, and it does not."""
        (self.root / "new").write_text(json.dumps(what))
        (self.root / "new").replace(self.root / "orders")

    def asked(self, path=""):
        """`[path, query, authorization]` of the requests whose path has `path` in it."""
        log = self.root / "requests"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.split(" ", 2) for line in lines if path in line.split(" ", 1)[0]]

    @property
    def environment(self):
        return {"DATACHAIN_STUDIO_URL": self.url, "DATACHAIN_STUDIO_TOKEN": self.TOKEN, "DATACHAIN_STUDIO_TEAM": "team"}


@contextlib.contextmanager
def studio(folder, catalog, port=None):
    """`studio.py` over the catalog in the folder `catalog`."""
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, Path(__file__).parent / "studio.py", str(port), folder, catalog]
    with serving(command, url, folder / "studio.log"):
        (folder / "requests").unlink(missing_ok=True)
        yield Studio(url, folder)


def over_tls(folder):
    """The lines with which `nginx` also speaks TLS, its address then, and the authority to trust."""
    authority, key = certificate(folder)
    port = free_port()
    return f"listen 127.0.0.1:{port} ssl; ssl_certificate {authority}; ssl_certificate_key {key};", f"https://localhost:{port}", authority


def certificate(folder, is_authority=False):
    """A certificate for `localhost` that nobody trusts, and its key; an authority, as `openssl` makes it by itself."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    lasting = ["-days", "36500", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    usage = ["-addext", f"basicConstraints=critical,CA:{str(is_authority).upper()}"]
    command = ["openssl", "req", "-x509", *lasting, *subject, *usage, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


AZURITE = Path(
    os.environ.get("AZURITE", Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / "azurite-blob")
)
"""Where `tests/setup` installs it."""

AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of Azurite's only account, known to everybody."""


@contextlib.contextmanager
def azurite(folder):
    """An empty Azure; its connection string."""
    port = free_port()
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder / "azurite"]
    command += ["--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    url = f"http://127.0.0.1:{port}"
    with serving(command, url, folder / "azurite.log"):
        yield (
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
            f"AccountKey={AZURITE_KEY};BlobEndpoint={url}/devstoreaccount1;"
        )


@contextlib.contextmanager
def azure_box(folder, keys):
    """The container `box` of an Azure, with an object for each key; the connection string."""
    if not AZURITE.exists():
        pytest.skip("no azurite (tests/setup test)")
    blob = pytest.importorskip("azure.storage.blob")
    with azurite(folder) as connection:
        client = blob.BlobServiceClient.from_connection_string(connection)
        client.create_container("box")
        for number, key in enumerate(keys):
            client.get_blob_client("box", key).upload_blob(b"x" * number)
        yield connection


class Faults:
    """A running `fault_proxy.py`, and its control interface."""

    def __init__(self, url, control):
        self.url, self.control = url, control

    def order(self, path, what=None):
        """Sends a command; returns the proxy's counts so far."""
        data = None if what is None else json.dumps(what).encode()
        request = urllib.request.Request(self.control + path, data, method="GET" if data is None else "PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def rules(self, *rules):
        """`(regex, fault, more)` for each: the faults from now on, and no others."""
        self.order("/rules", [{"match": match, "fault": fault, **dict(*more)} for match, fault, *more in rules])

    def counts(self):
        return self.order("/counts")

    def refuse(self, whether):
        """Whether connections are refused."""
        self.order("/refuse", whether)


@contextlib.contextmanager
def faulty(folder, store):
    """A proxy in front of the server at `store`, which passes everything on until told otherwise."""
    port, control = free_port(), free_port()
    while control == port:
        control = free_port()
    script = Path(__file__).parent / "fault_proxy.py"
    command = [sys.executable, script, store.removeprefix("http://"), str(port), str(control)]
    faults = Faults(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control}")
    with serving(command, faults.control, folder / "faults.log"):
        yield faults


class Portal:
    """SSO: its requests, and the tokens that it accepts."""

    def __init__(self, url, folder):
        self.url, self.folder = url, folder

    def asked(self):
        """`METHOD /path` of each request."""
        return [line.split("?")[0] for line in (self.folder / "asked").read_text().splitlines()]

    def takes(self, access=None, refresh=None):
        (self.folder / "good").write_text(access or "")
        (self.folder / "refresh").write_text(refresh or "")


@contextlib.contextmanager
def portal(folder):
    """`portal.py`, which accepts no token yet."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with serving([sys.executable, Path(__file__).parent / "portal.py", str(port), folder], url, folder / "portal.log"):
        (folder / "asked").write_text("")
        yield Portal(url, folder)


class Gate:
    """A gate before a server: who sent requests, and who is refused."""

    def __init__(self, url, folder):
        self.url, self.folder = url, folder

    def asked(self):
        """`[method, path, key id or "-", service or "-", "payer" or "-"]` of each request."""
        log = self.folder / "asked"
        return [line.split(" ") for line in log.read_text().splitlines()] if log.exists() else []

    def ids(self, path="/"):
        """The key ids of requests for paths that begin with `path`, in order, without repetition in a row."""
        ids = [line[2] for line in self.asked() if line[1].startswith(path)]
        return [who for n, who in enumerate(ids) if n == 0 or ids[n - 1] != who]

    def refuse(self, *ids):
        (self.folder / "refused").write_text(" ".join(ids))


@contextlib.contextmanager
def gate(folder, upstream, *certificate):
    """A gate before `upstream`; with a certificate and its key, by TLS."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    script = Path(__file__).parent / "gate.py"
    command = [sys.executable, script, str(port), upstream, folder, *certificate]
    url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    with serving(command, url + "/", folder / "gate.log"):
        (folder / "asked").unlink(missing_ok=True)
        yield Gate(url, folder)
