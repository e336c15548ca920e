"""A tap between a program and a server: it counts what passes, and may do something at a given piece of it."""

import contextlib
import socket
import threading
import time


class Tap:
    """Listens on `port` and hands everything on to a server. `at` is called before each piece is, with its number from 1 and whether
    it goes to the server; where it answers `False`, all connections end instead."""

    def __init__(self, target, at=lambda number, is_asked: True, host="127.0.0.1", seconds=0.0):
        self.target = target
        self.at = at
        self.hold = lambda piece, is_asked: None
        """Called with each piece before it passes; while it waits, so does that connection, and no other."""
        self.seconds = seconds
        """How far away the server is: each piece comes so much later."""
        self.asked = self.answered = self.pieces = 0
        self.piece = b""
        """The piece that `at` is called for."""
        self.lock = threading.Lock()
        self.listening = socket.create_server((host, 0))
        self.port = self.listening.getsockname()[1]
        self.open = set()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listening.close()
        self.cut()

    def go(self):
        """Ends all connections, and accepts no more: the server is gone."""
        # Closing alone would not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.cut()

    def cut(self):
        """Ends all connections."""
        for end in list(self.open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open |= {client, server}
            for source, sink, is_asked in [(client, server, True), (server, client, False)]:
                threading.Thread(target=self._hand_on, args=(source, sink, is_asked), daemon=True).start()

    def _hand_on(self, source, sink, is_asked):
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                self.hold(piece, is_asked)
                with self.lock:
                    self.pieces += 1
                    self.piece = piece
                    goes_on = self.at(self.pieces, is_asked)
                    if is_asked:
                        self.asked += len(piece)
                    else:
                        self.answered += len(piece)
                if not goes_on:
                    self.cut()
                    break
                time.sleep(self.seconds)
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
