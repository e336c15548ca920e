"""Real servers for a catalog: ClickHouse, and PostgreSQL of Debian. Everything below one folder, on free ports.

ClickHouse comes as the package `chdb-core` of PyPI, whose library is the server: told to listen, it is one process with the
server's own HTTP handler, users and storage (`tests/setup cluster` installs it into `.venv-cluster`). PostgreSQL does not run
as root: then it runs as the user `postgres`, which Debian makes.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("DCFS_CLUSTER_PYTHON", ROOT / ".venv-cluster/bin/python"))

OLDER = Path(os.environ.get("DCFS_CLUSTER_OLDER_PYTHON", ROOT / ".venv-cluster-25.8/bin/python"))
"""With ClickHouse 25.8, which does not serve by itself."""

PASSWORD = "pa:ss@word"
"""The password of every user, with characters that an address must escape."""

USERS = {"dcfs": "default", "reader": "reader", "nobody": "nobody", "short": "short", "small": "small", "fixed": "fixed", "odd": "odd", "sorting": "sorting", "empty": "empty"}
"""Users of ClickHouse and their profiles; `nobody` may read no table, answers to `short` may be truncated, `small` drops no table with rows
unless it says so, `fixed` none at all; `odd` and `sorting` have `SETTINGS`, `empty` has `REFUSED`."""

SETTINGS = {
    "odd": {
        "join_use_nulls": 1, "transform_null_in": 1, "any_join_distinct_right_table_keys": 1, "group_by_use_nulls": 1,
        "join_algorithm": "partial_merge,hash",
    },
    "sorting": {"join_use_nulls": 1, "join_algorithm": "full_sorting_merge"},
}  # fmt: skip
"""Settings that change what a statement means, or how it runs."""

REFUSED = {"empty": {"aggregate_functions_null_for_empty": 1}}
"""Settings with which no catalog is opened."""

OLDER_SETTINGS = {
    "odd": SETTINGS["odd"],
    "sorting": {**SETTINGS["sorting"], "enable_analyzer": 0},
    "nulls": {"transform_null_in": 1, "enable_analyzer": 0},
    **REFUSED,
}
"""The same for users of the older server, which can do without its analyzer."""

CONFIG = """<clickhouse>
  <logger><level>warning</level></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{port}</http_port>
  <path>{folder}/data/</path>
  <tmp_path>{folder}/tmp/</tmp_path>
  <max_server_memory_usage>4000000000</max_server_memory_usage>
  <users_config>{folder}/users.xml</users_config>
</clickhouse>
"""

SERVE = """
import os, sys
os.chdir(sys.argv[1])
import chdb
chdb._chdb.query(
    "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(3) FROM system.numbers FORMAT Null "
    "SETTINGS function_sleep_max_microseconds_per_block = 0, max_block_size = 1", "TabSeparated")
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def why_none():
    """Why there can be no servers here; `None` if there can."""
    if not PYTHON.exists():
        return f"no {PYTHON}: run `tests/setup cluster`"
    if not _postgres_program("initdb"):
        return "no PostgreSQL: run `tests/setup cluster`"
    return None


def until(ready, process, log, seconds=60):
    """Waits until `ready` returns something true; the log is shown if it never does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if ready():
                return
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"a server did not start:\n{Path(log).read_text()[-4000:]}")


class ClickHouse:
    """A separate server; `start` after `stop` or `kill` finds the same rows, on the same port."""

    def __init__(self, folder, port=None):
        self.folder = Path(folder)
        self.port = port or free_port()
        self.process = None

    @property
    def authority(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.xml").write_text(CONFIG.format(port=self.port, folder=self.folder))
        (self.folder / "users.xml").write_text(_users())
        log = self.folder / "log"
        with open(log, "ab") as out:
            command = self.command()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        until(lambda: self.ask("SELECT 1 FORMAT TSV") == b"1\n", self.process, log)
        return self

    def command(self):
        return [PYTHON, "-c", SERVE, self.folder]

    def ask(self, sql, data=b"", user="dcfs"):
        """The answer to a statement; rows to insert are `data`."""
        url = f"http://{self.authority}/?query={urllib.parse.quote(sql)}"
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": PASSWORD}
        request = urllib.request.Request(url, data=data, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{sql[:200]}: {error.read().decode()[:1000]}") from None

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    stop = kill
    """The embedded server has no orderly end; it loses nothing by this one."""


class Older(ClickHouse):
    """ClickHouse 25.8, for reading: whoever asks may, and one statement runs at a time."""

    def command(self):
        return [OLDER, Path(__file__).parent / "embedded.py", self.folder, str(self.port)]


def _users():
    user = "<{name}><password><![CDATA[{password}]]></password><networks><ip>127.0.0.1</ip></networks><profile>{profile}</profile><quota>default</quota>{more}</{name}>"
    more = {"nobody": "<grants><query>GRANT SELECT ON system.*</query></grants>"}
    users = "".join(
        user.format(name=name, password=PASSWORD, profile=profile, more=more.get(name, "")) for name, profile in USERS.items()
    )
    # The user that the library itself logs in as.
    own = "<default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>"
    short = "<short><readonly>1</readonly><result_overflow_mode>break</result_overflow_mode></short>"
    limit = "<max_table_size_to_drop>1</max_table_size_to_drop>"
    constraints = "<constraints><max_table_size_to_drop><readonly/></max_table_size_to_drop></constraints>"
    drops = f"<small>{limit}</small><fixed>{limit}{constraints}</fixed>"
    profiles = f"<default/><reader><readonly>1</readonly></reader><nobody><readonly>1</readonly></nobody>{short}{drops}"
    for name, settings in {**SETTINGS, **REFUSED}.items():
        inside = "".join(f"<{setting}>{value}</{setting}>" for setting, value in settings.items())
        profiles += f"<{name}><readonly>1</readonly>{inside}</{name}>"
    return f"<clickhouse><profiles>{profiles}</profiles><quotas><default/></quotas><users>{own}{users}</users></clickhouse>"


def _postgres_program(name):
    """Of the newest PostgreSQL that Debian installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return found[-1] if found else None


class Postgres:
    """A server of its own, with the user and database `datachain`."""

    def __init__(self, folder, port=None):
        self.folder = Path(folder)
        self.port = port or free_port()

    @property
    def authority(self):
        return f"127.0.0.1:{self.port}"

    def _run(self, *command, **more):
        if os.geteuid() == 0:
            command = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command)
        return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, cwd="/", **more)

    def start(self):
        data = self.folder / "data"
        if not data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            password = self.folder / "password"
            password.write_text(PASSWORD)
            if os.geteuid() == 0:
                shutil.chown(self.folder, "postgres")
                shutil.chown(password, "postgres")
            self._run(
                _postgres_program("initdb"), "-D", data, "-U", "datachain", "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8",
                "--locale", "C.UTF-8", "-N", stdout=subprocess.DEVNULL,
            )  # fmt: skip
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        log = self.folder / "log"
        self._run(_postgres_program("pg_ctl"), "-D", data, "-l", log, "-o", options, "-w", "start", stdout=subprocess.DEVNULL)
        return self

    def stop(self):
        data = self.folder / "data"
        if (data / "postmaster.pid").exists():
            self._run(_postgres_program("pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop", stdout=subprocess.DEVNULL)

    def sql(self, text, database="datachain", user="datachain"):
        """Runs statements; the answer as psql prints it."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, database]
        done = subprocess.run(command, input=text.encode(), capture_output=True, env={**os.environ, "PGPASSWORD": PASSWORD})
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[:2000])
        return done.stdout.decode()


class Cluster:
    """Both halves of a catalog."""

    def __init__(self, folder, ports=(None, None)):
        self.folder = Path(folder)
        self.clickhouse = ClickHouse(self.folder / "clickhouse", ports[0])
        self.postgres = Postgres(self.folder / "postgres", ports[1])

    def start(self):
        # The user `postgres` goes through it.
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in [self.folder, *self.folder.parents]:
            if part.stat().st_uid == os.geteuid() and not part.stat().st_mode & 0o001 and part != Path("/"):
                part.chmod(part.stat().st_mode | 0o011)
        self.postgres.start()
        if not self.postgres.sql("SELECT 1 FROM pg_database WHERE datname = 'datachain'", database="postgres"):
            self.postgres.sql("CREATE DATABASE datachain", database="postgres")
        self.clickhouse.start()
        self.clickhouse.ask("CREATE DATABASE IF NOT EXISTS datachain")
        return self

    def stop(self):
        self.clickhouse.stop()
        self.postgres.stop()

    def address(self, user="reader", names="datachain"):
        """The value of `--catalog`."""
        metastore = f"postgresql://{names}@{self.postgres.authority}/datachain"
        return f"clickhouse://{user}@{self.clickhouse.authority}/datachain?metastore={metastore}"

    def database(self, kind):
        """The address of a catalog with nothing in it yet, in a fresh database of both, to write to."""
        name = f"{kind}{time.monotonic_ns()}"
        self.clickhouse.ask(f"CREATE DATABASE {name}")
        self.postgres.sql(f"CREATE DATABASE {name}", database="postgres")
        return f"clickhouse://dcfs@{self.clickhouse.authority}/{name}?metastore=postgresql://datachain@{self.postgres.authority}/{name}"

    @property
    def environment(self):
        """The passwords, in the places where dcfs looks for them."""
        return {"CLICKHOUSE_PASSWORD": PASSWORD, "PGPASSWORD": PASSWORD}


def up(folder, catalog):
    """Starts servers that outlive this process, and copies a catalog to them."""
    import copied

    folder = Path(folder).resolve()
    state = folder / "ports"
    ports = tuple(int(port) for port in state.read_text().split()[:2]) if state.exists() else (None, None)
    cluster = Cluster(folder, ports).start()
    state.write_text(f"{cluster.clickhouse.port} {cluster.postgres.port} {cluster.clickhouse.process.pid}\n")
    copied.copy(catalog, cluster)
    print(f"export CLICKHOUSE_PASSWORD='{PASSWORD}' PGPASSWORD='{PASSWORD}'")
    print(f"dcfs mount --catalog '{cluster.address()}' --local-root '{Path(catalog).resolve()}' /mnt/dc")


def down(folder):
    """Ends the processes that `up` started, by their pids."""
    folder = Path(folder).resolve()
    state = folder / "ports"
    if state.exists():
        clickhouse, postgres, pid = map(int, state.read_text().split())
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and str(folder).encode() in command.read_bytes():
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + 30
            while command.exists() and command.read_bytes() and time.monotonic() < end:
                time.sleep(0.1)
        Postgres(folder / "postgres", postgres).stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]](*sys.argv[2:])
