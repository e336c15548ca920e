"""A server for tests that answers as DataChain Studio does to DataChain's own client, in a process of its own.

python studio.py PORT ROOT CATALOG

- `/api/datachain/datasets`, and below it `/info`, `/export` and `/export-status`, answer over CATALOG, a folder with a
  catalog that DataChain made. Datasets of `local.local` are called `team.prod` here, as a team's are.
- `/store/EXPORT/PART` are the parts: Parquet within an LZ4 frame, datetimes as whole seconds, `sys__id` with gaps.
- ROOT/orders, JSON, says how to fail; ROOT/requests has a line for each request: path, query, authorization.
"""

import http.server
import io
import json
import socket
import sqlite3
import sys
import threading
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import lz4.frame
import pyarrow as pa
from pyarrow import parquet

PARTS = 3

API = "/api/datachain/datasets"

ARROW = {
    "String": pa.string(), "Boolean": pa.bool_(), "Int": pa.int64(), "Int32": pa.int32(), "UInt32": pa.uint32(),
    "Int64": pa.int64(), "UInt64": pa.uint64(), "Float": pa.float64(), "Float32": pa.float32(), "Float64": pa.float64(),
    "JSON": pa.string(), "DateTime": pa.int64(), "Binary": pa.binary(),
}  # fmt: skip


def arrow(told):
    return pa.list_(arrow(told["item_type"])) if told["type"] == "Array" else ARROW[told["type"]]


def value(cell, told):
    """A cell of SQLite as Studio's table holds it."""
    if cell is None:
        return None
    match told["type"]:
        case "Array":
            items = json.loads(cell)
            return [item if isinstance(item, list) else value(item, told["item_type"]) for item in items]
        case "DateTime":
            return int(datetime.fromisoformat(cell).replace(tzinfo=timezone.utc).timestamp())
        case "Boolean":
            return bool(cell)
        case "String" | "JSON":
            if isinstance(cell, bytes):
                return cell.decode(errors="replace")
            return cell if isinstance(cell, str) else json.dumps(cell)
    return cell


class Catalog:
    """The catalog that is shown."""

    def __init__(self, folder):
        self.file = Path(folder) / ".datachain" / "db"

    def ask(self, sql, *bound):
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            db.text_factory = lambda data: data.decode(errors="replace")
            return db.execute(sql, bound).fetchall()

    def datasets(self, is_whole, name=None):
        """Records as `DatasetListRecord` has them, or `DatasetRecord`."""
        found = []
        for row in self.ask("SELECT * FROM datasets WHERE name NOT LIKE 'lst\\_\\_%' ESCAPE '\\' ORDER BY id"):
            if name not in (None, row["name"]):
                continue
            record = {
                "id": row["id"] + 1000, "uuid": row["uuid"], "name": row["name"], "project": self.project(),
                "description": row["description"], "attrs": json.loads(row["attrs"] or "[]"),
                "created_at": iso(row["created_at"]),
            }  # fmt: skip
            if is_whole:
                record |= self.whole(row)
            versions = self.ask("SELECT * FROM datasets_versions WHERE dataset_id = ? ORDER BY id", row["id"])
            found.append(record | {"versions": [self.version(version, is_whole) for version in versions]})
        return found

    def project(self):
        now = "2024-01-01T00:00:00+00:00"
        namespace = {"id": 7, "uuid": "of-the-namespace", "name": "team", "descr": "A team", "created_at": now}
        return {"id": 8, "uuid": "of-the-project", "name": "prod", "descr": None, "created_at": now, "namespace": namespace}

    def version(self, row, is_whole):
        record = {
            "id": row["id"] + 5000, "dataset_id": row["dataset_id"] + 1000, "query_script": row["query_script"],
            "created_at": iso(row["created_at"]), "finished_at": iso(row["finished_at"]), "job_id": row["job_id"],
        }  # fmt: skip
        same = ("uuid", "version", "status", "num_objects", "size", "error_message", "error_stack")
        record |= {name: row[name] for name in same}
        if is_whole:
            record |= self.whole(row) | {"preview": row["preview"]}
        return record

    def whole(self, row):
        schema, features = json.loads(row["schema"] or "{}"), json.loads(row["feature_schema"] or "{}")
        return {
            "schema": schema, "feature_schema": features, "status": row["status"], "finished_at": iso(row["finished_at"]),
            "error_message": "", "error_stack": "", "script_output": "", "sources": "", "query_script": row["query_script"],
            "job_id": None, "_versions_loaded": True, "_preview_loaded": True,
        }  # fmt: skip

    def table(self, name, version):
        """The rows as the Parquet of an export has them."""
        sql = "SELECT v.schema FROM datasets_versions v JOIN datasets d ON d.id = v.dataset_id WHERE d.name = ? AND v.version = ?"
        ((schema,),) = self.ask(sql, name, version)
        number = version.replace(".", "_")
        tables = [f"ds_local_local_{name}_{number}", f"ds_team_prod_{name}_{number}"]
        ((table,),) = self.ask("SELECT name FROM sqlite_schema WHERE name IN (?, ?)", *tables)
        quoted = table.replace('"', '""')
        rows = self.ask(f'SELECT * FROM "{quoted}" ORDER BY sys__id')
        schema = {"sys__id": {"type": "UInt64"}, "sys__rand": {"type": "UInt64"}} | json.loads(schema)
        columns = {}
        for column, told in schema.items():
            cells = [7 * row[column] if column == "sys__id" else value(row[column], told) for row in rows]
            columns[column] = pa.array(cells, arrow(told))
        return pa.table(columns)


def iso(text):
    return text and datetime.fromisoformat(text).replace(tzinfo=timezone.utc).isoformat()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with open(self.server.root / "requests", "a") as log:
            log.write(f"{parts.path} {parts.query} {self.headers.get('Authorization', '-')}\n")
        orders = self.server.root / "orders"
        self.orders = json.loads(orders.read_text()) if orders.exists() else {}
        route = parts.path.removeprefix(API).strip("/") or "datasets"
        if parts.path.startswith("/store/"):
            return self.part(*parts.path.split("/")[2:])
        if not parts.path.startswith(API):
            return self.say(404, {"message": "no such page"})
        if self.headers.get("Authorization") != "token of-the-tests":
            return self.say(401, {"detail": "Invalid token."})
        if asked.get("team_name") != "team":
            return self.say(403, {"message": "not yours"})
        if self.fails(route):
            return None
        if route in self.orders.get("says", {}):
            return self.say(200, self.orders["says"][route])
        catalog = self.server.catalog
        if route == "datasets":
            return self.say(200, catalog.datasets(is_whole=False))
        if route == "info":
            found = catalog.datasets(is_whole=True, name=asked["name"])
            is_there = (asked["namespace"], asked["project"]) == ("team", "prod")
            return self.say(200, found[0]) if found and is_there else self.say(404, {"message": "not found"})
        if route == "export":
            return self.export(asked)
        done = self.orders.get("done", PARTS)
        return self.say(200, {"status": self.orders.get("status", "running"), "files_done": done, "num_files": PARTS})

    def fails(self, route):
        """Whether it failed as ROOT/orders says of the route."""
        how = self.orders.get("fail", {}).get(route)
        if how is None or self.count(f"fail {route}") > how.get("times", 1 << 30):
            return False
        match how["how"]:
            case "status":
                self.say(how["status"], {"message": how.get("message", "of the tests")}, how.get("headers", {}))
            case "cut":
                self.answer(200, b'[{"name"', {"Content-Length": "1000"})
                self.drop()
            case "text":
                self.answer(200, how["text"].encode())
            case "endless":
                self.endless(b" " * 65536)
            case "hang":
                time.sleep(120)
                self.close_connection = True
        return True

    def export(self, asked):
        key = (asked["name"], asked["version"], self.orders.get("again", 0))
        exports = self.server.exports
        exports.setdefault(key, len(exports) + 1)
        number = exports[key]
        host = f"http://127.0.0.1:{self.server.server_port}"
        links = [f"{host}/store/{number}/{part}?signature=of-a-link" for part in range(PARTS)]
        self.say(200, {"export_id": number, "signed_urls": self.orders.get("links", links)})

    def part(self, export, part):
        ((name, version, _),) = [key for key, number in self.server.exports.items() if number == int(export)]
        if self.count(f"late {export} {part}") <= self.orders.get("late", 0):
            return self.say(404, {"message": "not yet"})
        how = self.orders.get("parts", {})
        if part != how.get("part", part) or self.count(f"part {export} {part}") > how.get("times", 1 << 30):
            how = {}
        # One that is held waits until so many others were asked for: a client keeps what it has begun.
        if "held" in how:
            self.wait_for(f"asked {export}", how["held"])
        else:
            self.count(f"asked {export}")
        table = self.server.catalog.table(name, version)
        size = -(-table.num_rows // PARTS)
        table = table.slice(int(part) * size, size)
        match how.get("how"):
            case "status":
                return self.say(how["status"], {"message": "no"})
            case "extra":
                table = table.append_column("surprise", pa.array([1] * table.num_rows))
            case "missing":
                table = table.drop_columns([how["column"]])
            case "typed":
                at = table.column_names.index(how["column"])
                table = table.set_column(at, how["column"], pa.array(["no such"] * table.num_rows))
            case "fewer":
                table = table.slice(1)
            case "more":
                table = pa.concat_tables([table] * 100)
        out = io.BytesIO()
        parquet.write_table(table, out, compression=self.orders.get("codec", "zstd"))
        body = lz4.frame.compress(out.getvalue())
        match how.get("how"):
            case "cut":
                self.answer(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
                return self.drop()
            case "half":
                body = body[: len(body) // 2]
            case "plain":
                body = out.getvalue()
            case "other":
                body = lz4.frame.compress(b"no Parquet" * 1000)
            case "damaged":
                body = lz4.frame.compress(out.getvalue()[:-50] + b"PAR1")
            case "endless":
                return self.endless(b"\xff" * 65536)
            case "redirect":
                return self.answer(302, b"", {"Location": how["to"]})
            case "loop":
                return self.answer(302, b"", {"Location": self.path})
            case "stall":
                self.answer(200, body[:10], {"Content-Length": str(len(body))})
                while True:
                    time.sleep(1)
        self.answer(200, body)

    def count(self, what):
        with self.server.lock:
            self.server.counts[what] = self.server.counts.get(what, 0) + 1
            return self.server.counts[what]

    def wait_for(self, what, count):
        for _ in range(600):
            with self.server.lock:
                if self.server.counts.get(what, 0) >= count:
                    return
            time.sleep(0.1)

    def endless(self, chunk):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(chunk)

    def say(self, status, what, headers={}):
        self.answer(status, json.dumps(what).encode(), headers)

    def answer(self, status, body, headers={}):
        self.send_response(status)
        for name, text in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


def main():
    port, root, catalog = sys.argv[1:]
    server = Server(("127.0.0.1", int(port)), Handler)
    server.root, server.catalog = Path(root), Catalog(catalog)
    server.exports, server.counts, server.lock = {}, {}, threading.Lock()
    server.serve_forever()


if __name__ == "__main__":
    main()
