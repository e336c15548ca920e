"""A server of files for tests, in a process of its own: as a web server, as the Hugging Face hub, as Google Cloud
Storage, as a proxy.

python web.py PORT ROOT [--tls CERTIFICATE KEY]

- `/files/...` are the files below ROOT/files. `?bare` leaves out the validators, `?weak` weakens the etag; both
  answer HEAD and GET, ranges and If-Match.
- `/datasets/OWNER/NAME/resolve/COMMIT/PATH` are the files below ROOT/hub/COMMIT, which must be what is asked for;
  those of 1,000 bytes and more are sent on to `/cdn/`, as the hub does. `main` is the newest commit, by name.
- `/api/datasets/...` is as much of the hub's API as a listing by DataChain needs.
- `/storage/v1/b/BUCKET/o` and below it is as much of Google's JSON API as a listing by DataChain needs, and
  `/gs-.../KEY` its XML API, for buckets of that name: ROOT/gs/BUCKET/KEY (quoted)/GENERATION holds every generation.
- A request for a whole URL is one for a proxy: its host does not matter.

Each request is a line of ROOT/requests: method, target as it came, token.
"""

import base64
import hashlib
import http.server
import json
import os
import ssl
import sys
from datetime import datetime, timezone
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = 1000


def blob_id(body):
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        token = self.headers.get("Authorization", "-").replace(" ", "_")
        with open(self.server.root / "requests", "a") as log:
            log.write(f"{self.command} {self.path} {token}\n")
        kind, _, rest = unquote(parts.path).lstrip("/").partition("/")
        answer = self.answer_gs if kind.startswith("gs-") else getattr(self, f"answer_{kind}", None)
        if answer is None:
            self.refuse(404)
        else:
            answer(rest if answer != self.answer_gs else f"{kind}/{rest}", parts.query)

    do_HEAD = do_POST = do_GET

    def answer_files(self, path, query):
        file = self.server.root / "files" / path
        if not file.is_file():
            return self.refuse(404)
        body = file.read_bytes()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(file.stat().st_mtime, usegmt=True)}
        if query == "bare":
            headers = {}
        elif query == "weak":
            headers["ETag"] = f"W/{etag}"
        elif query == "timed":
            del headers["ETag"]
        self.send(body, headers)

    def answer_datasets(self, path, _query):
        owner, name, resolve, commit, file = path.split("/", 4)
        assert resolve == "resolve"
        commit = self.commit(commit)
        found = commit and self.server.root / "hub" / commit / file
        if not found or not found.is_file():
            return self.refuse(404, {"X-Error-Code": "EntryNotFound"})
        body = found.read_bytes()
        if len(body) < LARGE:
            return self.send(body, {"ETag": f'"{blob_id(body)}"', "X-Repo-Commit": commit})
        linked = f'"{hashlib.sha256(body).hexdigest()}"'
        self.respond(302, b"", {
            "Location": f"/cdn/{commit}/{quote(file)}?signed=secret",
            "X-Repo-Commit": commit, "X-Linked-Etag": linked, "X-Linked-Size": str(len(body)), "ETag": linked,
        })  # fmt: skip

    def answer_cdn(self, path, _query):
        body = (self.server.root / "hub" / path).read_bytes()
        self.send(body, {"ETag": '"of-the-cdn"'})

    def answer_gs(self, path, query):
        bucket, key = path.split("/", 1)
        kept = self.generations(bucket, key)
        wanted = query.removeprefix("generation=") or max(kept, default=None)
        if wanted not in kept:
            return self.refuse(404)
        body, item = kept[wanted].read_bytes(), self.item(bucket, key, wanted)
        updated = datetime.fromisoformat(item["updated"])
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "x-goog-generation": wanted}
        self.send(body, headers | {"Last-Modified": formatdate(updated.timestamp(), usegmt=True)})

    def answer_storage(self, path, query):
        _v1, _b, bucket, *rest = path.split("/", 4)
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if len(rest) > 1:
            kept = self.generations(bucket, rest[1])
            return self.send_json(self.item(bucket, rest[1], max(kept))) if kept else self.refuse(404)
        keys = sorted(unquote(folder.name) for folder in (self.server.root / "gs" / bucket).iterdir())
        keys = [key for key in keys if key.startswith(asked.get("prefix", "")) and key >= asked.get("startOffset", "")]
        keys = [key for key in keys if "endOffset" not in asked or key < asked["endOffset"]]
        all_of = asked.get("versions") == "true"
        items = []
        for key in keys:
            *old, latest = sorted(self.generations(bucket, key))
            deleted = [self.item(bucket, key, generation) for generation in old if all_of]
            items += [item | {"timeDeleted": item["updated"]} for item in deleted]
            items.append(self.item(bucket, key, latest))
        self.send_json({"kind": "storage#objects", "items": items})

    def generations(self, bucket, key):
        folder = self.server.root / "gs" / bucket / quote(key, safe="")
        return {file.name: file for file in folder.iterdir()} if folder.is_dir() else {}

    def item(self, bucket, key, generation):
        file = self.generations(bucket, key)[generation]
        updated = datetime.fromtimestamp(int(generation) / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        etag = base64.b64encode(generation.encode()).decode()
        return {
            "kind": "storage#object", "bucket": bucket, "name": key, "size": str(file.stat().st_size),
            "generation": generation, "etag": etag, "updated": updated,
        }  # fmt: skip

    def answer_api(self, path, _query):
        kind, *parts = path.split("/")
        if kind != "datasets":
            return self.refuse(404)
        owner, name, *rest = parts
        if not rest or rest[0] == "revision":
            commit = self.commit(rest[1] if rest else "main")
            return self.send_json({"id": f"{owner}/{name}", "sha": commit, "siblings": []})
        what, revision, *below = rest
        commit = self.commit(revision)
        root = self.server.root / "hub" / commit
        if what == "tree":
            entries = sorted((root / "/".join(below)).iterdir())
        else:
            length = int(self.headers["Content-Length"])
            asked = json.loads(self.rfile.read(length))["paths"]
            entries = [root / asked] if isinstance(asked, str) else [root / path for path in asked]
        self.send_json([self.entry(root, path, commit) for path in entries if path.exists()])

    def entry(self, root, path, commit):
        last = {"id": commit, "title": "t", "date": "2024-01-02T03:04:05.000Z"}
        entry = {"path": str(path.relative_to(root)), "lastCommit": last}
        if path.is_dir():
            return entry | {"type": "directory", "oid": "0" * 40, "size": 0}
        body = path.read_bytes()
        return entry | {"type": "file", "oid": blob_id(body), "size": len(body)}

    def commit(self, revision):
        commits = sorted(os.listdir(self.server.root / "hub"))
        return commits[-1] if revision == "main" else revision if revision in commits else None

    def send(self, body, headers):
        """The whole body or the requested part, if the condition holds."""
        wanted = self.headers.get("If-Match")
        if wanted and wanted != headers.get("ETag"):
            return self.refuse(412)
        if asked := self.headers.get("Range"):
            start, last = asked.removeprefix("bytes=").split("-")
            start, end = int(start), min(int(last) + 1, len(body))
            if start >= len(body):
                return self.refuse(416)
            headers = headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
            return self.respond(206, body[start:end], headers)
        self.respond(200, body, headers)

    def send_json(self, value):
        self.respond(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status, headers=None):
        self.respond(status, b"", headers or {})

    def respond(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port, root, *tls = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.root = Path(root)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls[1:])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main()
