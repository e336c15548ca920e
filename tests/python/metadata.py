"""The metadata service of a machine that is slow to start: it answers once the file `READY` is there.

python metadata.py PORT READY
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, ready = int(sys.argv[1]), Path(sys.argv[2])

KEYS = {
    "AccessKeyId": "MACHINE",
    "SecretAccessKey": "hush",
    "Token": "token",
    "Expiration": "2099-01-01T00:00:00Z",
}


class Metadata(BaseHTTPRequestHandler):
    def do_GET(self):
        while self.path != "/" and not ready.exists():
            time.sleep(0.05)
        role = self.path.endswith("/security-credentials/role")
        body = json.dumps(KEYS) if role else "role"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    do_PUT = do_GET

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Metadata).serve_forever()
