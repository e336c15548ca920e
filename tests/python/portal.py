"""The portal of SSO and its OIDC service, as used by `aws sso`.

python portal.py PORT FOLDER

`FOLDER/good` is the one access token that the portal takes, `FOLDER/refresh` the one refresh token that is exchanged for
`new-hush-1`, `new-hush-2` and so on, each of which makes a new `refresh` and is `good` from then on. Each request is a line of
`FOLDER/asked`: method and path with its query. The keys are `SSOKEY1`, `SSOKEY2`, ...
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, folder = int(sys.argv[1]), Path(sys.argv[2])

LATE = 4_000_000_000_000
"""In milliseconds."""


def read(name):
    file = folder / name
    return file.read_text() if file.exists() else None


def count(start):
    return sum(line.startswith(start) for line in (folder / "asked").read_text().splitlines())


class Portal(BaseHTTPRequestHandler):
    def do_GET(self):
        with open(folder / "asked", "a") as log:
            log.write(f"{self.command} {self.path}\n")
        token = self.headers.get("x-amz-sso_bearer_token")
        if not self.path.startswith("/federation/credentials?"):
            return self.answer(404, {})
        if token is None or token != read("good"):
            return self.answer(401, {"message": f"Session token not found or invalid: {token}"})
        if "role_name=reader&account_id=123456789012" not in self.path:
            return self.answer(403, {"message": "No access"})
        number = count("GET /federation")
        keys = {"accessKeyId": f"SSOKEY{number}", "secretAccessKey": "hush", "sessionToken": "t", "expiration": LATE}
        self.answer(200, {"roleCredentials": keys})

    def do_POST(self):
        with open(folder / "asked", "a") as log:
            log.write(f"{self.command} {self.path}\n")
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {"grantType": "refresh_token", "clientId": "client", "clientSecret": "client-hush"}
        if asked != known | {"refreshToken": read("refresh")} or self.path != "/token":
            return self.answer(400, {"error": "invalid_grant", "error_description": "hush"})
        number = count("POST /token")
        (folder / "good").write_text(f"new-hush-{number}")
        (folder / "refresh").write_text(f"refresh-hush-{number}")
        self.answer(200, {
            "accessToken": f"new-hush-{number}", "expiresIn": 28800, "refreshToken": f"refresh-hush-{number}",
            "tokenType": "Bearer",
        })  # fmt: skip

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Portal).serve_forever()
