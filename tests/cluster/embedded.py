"""An older ClickHouse that does not serve: the library in this process, behind a small HTTP server that answers as the real one does.

    python embedded.py FOLDER PORT
"""

import http.server
import os
import re
import sys
import threading
import urllib.parse
from pathlib import Path

from chdb.session import Session

import servers


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    session = None
    lock = threading.Lock()

    def do_POST(self):
        given = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sql = given.get("query")
        data = body if sql is not None else None
        try:
            with self.lock:
                answer = self.ask_as(self.headers.get("X-ClickHouse-User"), sql if sql is not None else body.decode(), given, data)
        except RuntimeError as error:
            code = re.search(r"Code: (\d+)", str(error))
            self.say(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code[1]} if code else {})
        else:
            self.say(200, answer, {})

    def ask_as(self, user, sql, given, data):
        """With the settings of the user, for this statement alone: there is one session."""
        settings = servers.OLDER_SETTINGS.get(user, {})
        try:
            for name, value in settings.items():
                self.session.query(f"SET {name} = '{value}'")
            return self.ask(sql, given, data)
        finally:
            for name in settings:
                self.session.query(f"SET {name} = DEFAULT")

    def ask(self, sql, given, data):
        # A value is un-escaped twice: as a literal, and as what a parameter of a request is.
        for name, value in given.items():
            if name.startswith("param_"):
                literal = value.replace("\\", "\\\\").replace("'", "\\'")
                self.session.query(f"SET {name} = '{literal}'")
        if data:
            file = Path(sys.argv[1]) / "rows"
            file.write_bytes(data)
            sql = re.sub(r" FORMAT (\w+)$", rf" FROM INFILE '{file}' FORMAT \1", sql)
        return self.session.query(sql, "TabSeparated").bytes() or b""

    def say(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    os.chdir(folder)
    Answer.session = Session(str(Path(folder) / "data"))
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
