"""What a host and its servers spend: requests, bytes, seconds of processors, memory."""

import contextlib
import importlib.util
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import servers
import taps

TESTS = Path(__file__).resolve().parents[1]

sys.path.append(str(TESTS / "bench"))
import machine  # noqa: E402

# The module of that name here is another.
_spec = importlib.util.spec_from_file_location("stores", TESTS / "python" / "servers.py")
stores = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stores)

DELAY = 20
"""Milliseconds to the bucket and back."""

SIZE = 20_000
"""Bytes of each object of the dataset."""

METHODS = (b"GET ", b"PUT ", b"HEAD ", b"POST ", b"DELETE ")

TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
  log_format spent '$status $bytes_sent $request_method'; access_log {folder}/access.log spent;
  sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; location /bench/ {{ try_files /object =404; }} }}
}}
"""


class Bucket:
    """`team`, which a writing host fills through moto, and reading hosts then get from nginx; and `bench`, whose every key is one
    object. Both are [`DELAY`] away."""

    def __init__(self, folder, delay, stack):
        self.folder, self.delay, self.stack = folder, delay, stack
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        folder.chmod(0o755)
        (self.root / "object").write_bytes(os.urandom(SIZE))
        os.utime(self.root / "object", (1_700_000_000, 1_700_000_000))
        self.s3 = stack.enter_context(stores.moto(folder))
        self.s3.bucket("team", versioned=False)
        self.writes = 0
        self.tap = stack.enter_context(taps.Tap(int(self.s3.url.rsplit(":", 1)[1]), self._at))
        self.written_at = self._away(self.tap.port)
        port = servers.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, root=self.root, port=port, user=user))
        command = ["nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log"]
        stack.enter_context(stores.serving(command, f"http://127.0.0.1:{port}", folder / "nginx.log"))
        self.read_at = self._away(port)

    @property
    def etag(self):
        """As nginx has it, of time and size."""
        return f"{1_700_000_000:x}-{SIZE:x}"

    def _at(self, _, is_asked):
        self.writes += is_asked and self.tap.piece.startswith(METHODS)
        return True

    def _away(self, server):
        port = servers.free_port()
        process = subprocess.Popen([self.delay, str(port), str(server), str(DELAY)])
        self.stack.callback(machine.end, process)
        self.stack.callback(process.terminate)
        servers.until(lambda: _connects(port), process, self.folder / "nginx.conf")
        return f"http://127.0.0.1:{port}"

    def publish(self):
        """What was written so far is what readers get."""
        pages = self.s3.client.get_paginator("list_objects_v2").paginate(Bucket="team")
        for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
            path = self.root / "team" / key
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                self.s3.client.download_file("team", key, str(path))

    def spent(self):
        """Requests and bytes."""
        lines = [line.split() for line in (self.folder / "access.log").read_text().splitlines()]
        return self.writes + len(lines), self.tap.asked + self.tap.answered + sum(int(line[1]) for line in lines)


def _connects(port):
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def cpu(pid):
    """Seconds of a process, its threads, and its children, dead or alive; of dead children in steps of a tick."""
    seconds = 0.0
    with contextlib.suppress(OSError):
        # The clock of another process, by its number in the kernel.
        seconds = time.clock_gettime((~pid << 3) | 2)
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += sum(int(fields[at]) for at in (13, 14)) / TICKS
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        seconds += sum(cpu(int(child)) for child in children)
    return seconds


@dataclass
class Spent:
    """Of one step."""

    seconds: float = 0.0
    host: float = 0.0
    requests: int = 0
    bytes: int = 0
    queries: int = 0
    answered: int = 0
    server: float = 0.0
    messages: int = 0
    said: int = 0
    names: float = 0.0

    def cells(self):
        return (
            f"{self.seconds:.3f}", f"{self.host:.2f}", f"{self.requests:,}", f"{self.bytes / 1e6:,.2f}", f"{self.queries:,}",
            f"{self.answered / 1e6:,.2f}", f"{self.server:.2f}", f"{self.messages:,}", f"{self.said / 1e3:,.1f}", f"{self.names:.2f}",
        )  # fmt: skip


COLUMNS = (
    "seconds", "CPU of the host, s", "requests to the bucket", "MB", "queries to ClickHouse", "MB sent", "CPU, s",
    "messages to PostgreSQL", "kB", "CPU, s",
)  # fmt: skip

EVENTS = "SELECT sumIf(value, event = 'Query'), sumIf(value, event = 'NetworkSendBytes') FROM system.events FORMAT TSV"


class Meters:
    """Of a cluster and a bucket, while a host does something."""

    def __init__(self, cluster, bucket, postgres):
        self.cluster, self.bucket, self.postgres = cluster, bucket, postgres
        main = Path(cluster.postgres.folder / "data" / "postmaster.pid").read_text().split()[0]
        self.pids = cluster.clickhouse.process.pid, int(main)

    def _read(self, pid):
        queries, sent = map(int, self.cluster.clickhouse.ask(EVENTS).split())
        host = cpu(pid) if pid else sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        tap = self.postgres
        servers = [cpu(one) for one in self.pids]
        return [host, *self.bucket.spent(), queries, sent, servers[0], tap.requests, tap.asked + tap.answered, servers[1]]

    @contextlib.contextmanager
    def of(self, pid=None):
        """What a block spends; `pid` is the host's process, else it is one that the block runs to its end."""
        spent = Spent()
        before = self._read(pid)
        began = time.perf_counter()
        yield spent
        spent.seconds = time.perf_counter() - began
        after = self._read(pid)
        names = ("host", "requests", "bytes", "queries", "answered", "server", "messages", "said", "names")
        for name, was, now in zip(names, before, after):
            setattr(spent, name, now - was)
        # The second reading is a query itself.
        spent.queries -= 1


class Messages(taps.Tap):
    """Before PostgreSQL: pieces that are sent to it, each of which waits for an answer."""

    def __init__(self, port):
        super().__init__(port, self._count)
        self.requests = 0

    def _count(self, _, is_asked):
        self.requests += is_asked
        return True
