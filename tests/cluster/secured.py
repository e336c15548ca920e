"""TLS in front of a server: a certificate of an authority of ours, for `localhost`."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading


def certificates(folder):
    """Makes an authority (`ca.pem`) and a certificate for `localhost` (`server.pem`, `server.key`)."""
    run = lambda *command: subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)  # noqa: E731
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=dcfs tests")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "30"]
    run("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    return folder


@contextlib.contextmanager
def proxy(folder, port):
    """A port that speaks TLS and passes on to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(plain):
        with contextlib.suppress(OSError, ssl.SSLError), context.wrap_socket(plain, server_side=True) as client:
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join()

    with listening(serve) as own:
        yield own


@contextlib.contextmanager
def listening(serve):
    """A port whose connections `serve` gets, each in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def speak_tls(postgres, folder):
    """Gives a running PostgreSQL the certificate in a folder."""
    data = postgres.folder / "data"
    for name, source in [("server.crt", "server.pem"), ("server.key", "server.key")]:
        shutil.copy(folder / source, data / name)
        (data / name).chmod(0o600)
        os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
    postgres.sql("ALTER SYSTEM SET ssl = on")
    postgres.sql("SELECT pg_reload_conf()")
