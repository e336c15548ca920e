"""One S3 server on loopback with the objects that the benches of bytes read: near, and 20 ms away.

nginx answers every GET and HEAD of an object from its page cache, with etags of time and size. What asks for
listings gets them from `rclone serve s3` behind it. For distance, `bench_delay` stands before it.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import catalog
import machine

BUCKET = "bench"
LARGE = "large.bin"
SMALL = "small"
DELAY = 20  # Milliseconds.
OTHER = ["taskset", "-c", "1"]  # The CPU of the server when reader and daemon are pinned.

NGINX = """
{modules}
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port}; root {root};
    listen 127.0.0.1:{secure} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    location ~ ^/{bucket}/. {{ if (-d $request_filename) {{ return 404; }} }}
    location / {{ proxy_pass http://127.0.0.1:{lister}; }}
    {dashless}
  }}
}}
"""

MORE = Path("/usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so")
ETAG = "0123456789abcdef0123456789abcdef"
DASHLESS = """
    if ($http_user_agent ~ mountpoint) {{ rewrite ^ /dashless$uri last; }}
    location /dashless/ {{ internal; alias {root}/; etag off; more_clear_input_headers If-Match; add_header ETag '"{etag}"'; }}
"""
"""For mountpoint-s3, whose client takes what follows a dash in an etag for a number of parts, and reads nothing where it is none: every
object has [`ETAG`] there."""


@dataclass(frozen=True)
class Data:
    """The objects as files: one large, many small in one directory, and a catalog of all."""

    folder: Path
    size: int
    names: list

    @property
    def root(self):
        return self.folder / "root"

    @property
    def bucket(self):
        return self.root / BUCKET

    @property
    def bytes(self):
        """Bytes of all small files."""
        return sum((self.bucket / SMALL / name).stat().st_size for name in self.names)

    def shuffled(self):
        names = list(self.names)
        random.Random(63).shuffle(names)
        return names


def make(folder, size, count):
    """`size` bytes in one object, and `count` of 20 to 150 KB."""
    data = Data(folder, size, [f"{n:06}.jpg" for n in range(count)])
    draw = random.Random(62)
    (data.bucket / SMALL).mkdir(parents=True)
    with open(data.bucket / LARGE, "wb") as large:
        for _ in range(size >> 20):
            large.write(draw.randbytes(1 << 20))
    for name in data.names:
        (data.bucket / SMALL / name).write_bytes(draw.randbytes(draw.randrange(20_000, 150_001)))
    paths = [LARGE, *(f"{SMALL}/{name}" for name in data.names)]
    catalog.make_of(folder / "catalog", [_row(data.bucket, path) for path in paths])
    tree = "".join(f"{path}\t{(data.bucket / path).stat().st_size}\n" for path in paths)
    (folder / "tree").write_text(tree)
    return data


def _row(bucket, path):
    """A row as DataChain writes it, with the etag that nginx gives the file."""
    found = (bucket / path).stat()
    return f"s3://{BUCKET}", path, found.st_size, f"{int(found.st_mtime):x}-{found.st_size:x}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Store:
    """The server; its ports stay the same, so that a cache filled once is good for all runs."""

    def __init__(self, data, delay, rclone):
        self.data, self.delay, self.rclone = data, delay, rclone
        self.near, self.far, self.lister, self.secure = (free_port() for _ in range(4))

    @contextlib.contextmanager
    def serving(self, distant, pinned, secure=False):
        """Runs until the block ends; returns its address. `pinned`: not on the CPU of the readers. `secure`: over TLS, with a
        certificate of an authority that programs find in the environment meanwhile."""
        prefix = OTHER if pinned else []
        with contextlib.ExitStack() as stack:
            if self.rclone:
                stack.enter_context(running([*prefix, *self._lister()], self.lister))
            stack.enter_context(running([*prefix, *self._nginx()], self.near))
            if distant:
                command = [*prefix, self.delay, self.far, self.near, DELAY]
                stack.enter_context(running(command, self.far))
            if secure:
                stack.enter_context(trusting(self.data.folder / "nginx" / "ca.pem"))
                yield f"https://127.0.0.1:{self.secure}"
            else:
                yield f"http://127.0.0.1:{self.far if distant else self.near}"

    def _nginx(self):
        folder = self.data.folder / "nginx"
        folder.mkdir(exist_ok=True)
        certify(folder)
        user = "user root;" if os.geteuid() == 0 else ""
        names = dict(folder=folder, root=self.data.root, bucket=BUCKET, user=user, modules="", dashless="")
        if MORE.exists():
            names |= dict(modules=f"load_module {MORE};", dashless=DASHLESS.format(root=self.data.root, etag=ETAG))
        text = NGINX.format(port=self.near, secure=self.secure, lister=self.lister, **names)
        (folder / "nginx.conf").write_text(text)
        return ["nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log"]

    def _lister(self):
        address = f"127.0.0.1:{self.lister}"
        return [self.rclone, "serve", "s3", "--config", "", "--etag-hash", "", "--addr", address, self.data.root]


def certify(folder):
    """A certificate authority of our own, `ca.pem`, and its certificate for 127.0.0.1, `server.pem`."""
    if (folder / "server.pem").exists():
        return
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for command in (
        [*new, "-x509", "-days", "30", "-subj", "/CN=bench", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"],
        ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", "30", "-extfile", "names", "-out", "server.pem"],
    ):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def trusting(bundle):
    """Programs that start in the block trust an authority, by their own environment variables."""
    names = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(bundle)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def running(command, port):
    """A server in the foreground; it takes connections before the block begins."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"`{command}` ended with {process.returncode}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        machine.end(process)


def _answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def missing():
    """Why this machine can run no server; `None` if it can."""
    return None if shutil.which("nginx") else "no nginx (tests/setup bench)"
