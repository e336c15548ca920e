"""Servers that say only of which version they are: for versions that cannot be had."""

import contextlib
import http.server
import socket
import struct
import threading

import secured


@contextlib.contextmanager
def clickhouse(version):
    """A server that answers every statement with a version: its port, and what it was asked."""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            body = f"{version}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def postgres(version):
    """A server that lets everybody in and says its version: its port, and what it was asked behind that."""
    asked = []

    def message(kind, body):
        return kind + struct.pack(">i", len(body) + 4) + body

    def serve(client):
        with contextlib.suppress(OSError), client:
            (length,) = struct.unpack(">i", client.recv(4, socket.MSG_WAITALL))
            client.recv(length - 4, socket.MSG_WAITALL)
            parameters = [("server_version", version), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")]
            client.sendall(message(b"R", struct.pack(">i", 0)))
            for name, value in parameters:
                client.sendall(message(b"S", f"{name}\0{value}\0".encode()))
            client.sendall(message(b"Z", b"I"))
            while kind := client.recv(1, socket.MSG_WAITALL):
                (length,) = struct.unpack(">i", client.recv(4, socket.MSG_WAITALL))
                body = client.recv(length - 4, socket.MSG_WAITALL)
                # X ends a session.
                if kind != b"X":
                    asked.append(body)
                    client.sendall(message(b"E", b"SERROR\0C42601\0Msyntax error\0\0") + message(b"Z", b"I"))

    with secured.listening(serve) as port:
        yield port, asked
