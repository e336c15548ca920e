"""A gate before a server: records requests, and refuses given keys.

python gate.py PORT UPSTREAM FOLDER [CERTIFICATE KEY]

Each request is one line of `FOLDER/asked`: method, path, access key id or `-`, service that the signature is for or `-`,
`payer` or `-`. `FOLDER/refused` names the key ids that get `ExpiredToken`; `-` there is who does not sign. It serves as a proxy
too: whatever host is asked for, `UPSTREAM` answers.
"""

import http.client
import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

port, upstream, folder, *tls = sys.argv[1:]
folder = Path(folder)

EXPIRED = b"<Error><Code>%s</Code><Message>not you</Message></Error>"


class Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        path = url.path + ("?" + url.query if url.query else "")
        signed = re.search(r"Credential=([^/]+)/\d+/[^/]+/(\w+)/", self.headers.get("Authorization", ""))
        who, service = signed.groups() if signed else ("-", "-")
        payer = "payer" if self.headers.get("x-amz-request-payer") == "requester" else "-"
        with open(folder / "asked", "a") as log:
            log.write(f"{self.command} {path} {who} {service} {payer}\n")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        refused = folder / "refused"
        if refused.exists() and who in refused.read_text().split():
            return self.answer(403, {}, EXPIRED % (b"AccessDenied" if who == "-" else b"ExpiredToken"))
        there = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
        there.request(self.command, path, body, {k: v for k, v in self.headers.items() if k.lower() != "host"})
        answer = there.getresponse()
        self.answer(answer.status, dict(answer.headers), answer.read())

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", len(body)) if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(port)), Gate)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
