"""A proxy in front of a real store that breaks its answers as told: a process of its own.

python fault_proxy.py STORE PORT CONTROL_PORT

Rules are a list of `{"match": REGEX, "fault": NAME, "times": N}`, sent by PUT to `/rules` of the
control port: the first whose `match` is found in the path of a request, and that has `times` left (no
`times`: always), breaks the answer. New rules replace all, and end what is being held. PUT to
`/refuse` closes the port (`true`) or opens it again (`false`). GET of `/counts` tells how many
requests came, and how often each fault was played.

A fault is one function: one that takes a `Request` changes what the store is asked, one that takes an
`Answer` changes what it says, one that takes a `Client` does with the connection what it likes.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import urllib.parse
from dataclasses import dataclass, field

STEP = 64 << 10


@dataclass
class Request:
    """One request of dcfs."""

    method: str
    path: str
    headers: list

    def drop(self, name):
        self.headers = [(key, value) for key, value in self.headers if key.lower() != name]

    def raw(self):
        """As sent to the store, which closes the connection after its answer."""
        self.drop("connection")
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{key}: {value}" for key, value in self.headers)]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


@dataclass
class Answer:
    """One answer of the store."""

    status: str
    headers: dict
    body: bytes

    def range(self):
        """First byte, last byte and total size in the answer."""
        given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers.get("content-range", ""))
        return tuple(map(int, given.groups())) if given else (0, len(self.body) - 1, len(self.body))

    def set_range(self, first, last, total):
        self.status = "206 Partial Content"
        self.headers["content-range"] = f"bytes {first}-{last}/{total}"

    def set_body(self, body):
        self.body = body
        self.headers["content-length"] = len(body)

    def head(self):
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class Client:
    """The connection that a request came over, and the right answer to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: Answer
    proxy: "Proxy"
    rule: dict

    async def send(self, *parts):
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def send_for_ever(self, part):
        """Limited to 32 MB/s: the test is about memory, not speed."""
        while True:
            await self.send(part)
            await asyncio.sleep(len(part) / 32e6)

    async def hold(self):
        """Nothing more, until the rules change or the other side goes."""
        gone = asyncio.ensure_future(self.reader.read(1))
        changed = asyncio.ensure_future(self.proxy.changed.wait())
        done, pending = await asyncio.wait([gone, changed], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if gone in done:
            raise ConnectionResetError


REQUESTS, ANSWERS, CLIENTS = {}, {}, {}


def fault(table):
    """Registers a function as the fault of its name."""

    def register(function):
        table[function.__name__] = function
        return function

    return register


@fault(REQUESTS)
def whole(request):
    """All of the object for a range."""
    request.drop("range")


@fault(REQUESTS)
def ignored_condition(request):
    """An answer whatever the condition says."""
    request.drop("if-match")


@fault(ANSWERS)
def changed_etag(answer):
    answer.headers["etag"] = '"0-0"'


@fault(ANSWERS)
def no_etag(answer):
    answer.headers.pop("etag", None)


@fault(ANSWERS)
def short(answer):
    answer.set_body(answer.body[:-100])


@fault(ANSWERS)
def long(answer):
    answer.set_body(answer.body + b"x" * 100)


@fault(ANSWERS)
def wrong_range(answer):
    """Claims that the bytes are from elsewhere, or only a part of the requested ones."""
    first, last, total = answer.range()
    answer.set_range(first + 100, last + 100, total + 100)


@fault(ANSWERS)
def wrong_total(answer):
    first, last, total = answer.range()
    answer.set_range(first, last, total + 1)


@fault(ANSWERS)
def absurd_range(answer):
    answer.set_range(2**64 - 1, 0, -1)


@fault(ANSWERS)
def part(answer):
    """A part, correctly labelled, whatever was requested."""
    first, last, total = answer.range()
    answer.set_body(answer.body[:-1000])
    answer.set_range(first, last - 1000, total)


@fault(ANSWERS)
def parts(answer):
    """Several ranges in one body, which nobody requested."""
    kind, text = "multipart/byteranges; boundary=x", answer.headers.pop("content-range", "bytes 0-1/2")
    head = f"\r\n--x\r\nContent-Range: {text}\r\n\r\n".encode()
    answer.status, answer.headers["content-type"] = "206 Partial Content", kind
    answer.set_body(head + answer.body + b"\r\n--x--\r\n")


@fault(ANSWERS)
def encoded(answer):
    """Claims that the bytes are compressed, which they are not."""
    answer.headers["content-encoding"] = "gzip"


@fault(ANSWERS)
def chunked(answer):
    """The right bytes without a length."""
    answer.headers.pop("content-length", None)
    answer.headers["transfer-encoding"] = "chunked"
    answer.body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer.body), answer.body)


def refusal(status, code):
    """An error as S3 sends it."""

    def refuse(answer):
        answer.status, answer.headers = status, {"content-type": "application/xml"}
        answer.set_body(f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())

    return refuse


ANSWERS |= {
    "status_400": refusal("400 Bad Request", "InvalidRequest"),
    "status_403": refusal("403 Forbidden", "AccessDenied"),
    "status_404": refusal("404 Not Found", "NoSuchKey"),
    "status_412": refusal("412 Precondition Failed", "PreconditionFailed"),
    "status_416": refusal("416 Range Not Satisfiable", "InvalidRange"),
    "status_429": refusal("429 Too Many Requests", "TooManyRequests"),
    "status_500": refusal("500 Internal Server Error", "InternalError"),
    "status_503": refusal("503 Slow Down", "SlowDown"),
    "redirect_bare": refusal("301 Moved Permanently", "PermanentRedirect"),
    "error_in_200": refusal("200 OK", "InternalError"),
}


@fault(CLIENTS)
async def delay(client):
    await asyncio.sleep(client.rule.get("seconds", 0.5))
    await client.send(client.answer.head(), client.answer.body)


@fault(CLIENTS)
async def hold(client):
    """No answer before the rules change; then the right one."""
    await client.hold()
    await client.send(client.answer.head(), client.answer.body)


@fault(CLIENTS)
async def hold_head(client):
    """The beginning of a head."""
    await client.send(client.answer.head()[:30])
    await client.hold()


@fault(CLIENTS)
async def hold_body(client):
    """Half the body."""
    body = client.answer.body
    await client.send(client.answer.head(), body[: len(body) // 2])
    await client.hold()


@fault(CLIENTS)
async def trickle(client):
    """The right bytes, a few at a time."""
    await client.send(client.answer.head())
    for byte in client.answer.body:
        await client.send(bytes([byte]))
        await asyncio.sleep(0.1)


@fault(CLIENTS)
async def cut(client):
    """Half the body, and the end of the connection."""
    body = client.answer.body
    await client.send(client.answer.head(), body[: len(body) // 2])
    raise ConnectionResetError


@fault(CLIENTS)
async def reset(client):
    """Closes the connection instead of answering."""
    client.writer.transport.abort()
    raise ConnectionResetError


@fault(CLIENTS)
async def garbage(client):
    await client.send(os.urandom(1000))
    raise ConnectionResetError


@fault(CLIENTS)
async def garbage_chunk(client):
    """A body whose chunks have no lengths."""
    chunked(client.answer)
    await client.send(client.answer.head(), b"zzzz\r\n", client.answer.body)
    raise ConnectionResetError


@fault(CLIENTS)
async def no_length(client):
    """The right bytes up to the end of the connection."""
    client.answer.headers.pop("content-length", None)
    await client.send(client.answer.head(), client.answer.body)
    raise ConnectionResetError


@fault(CLIENTS)
async def extra(client):
    """The right answer, followed by unsolicited bytes."""
    await client.send(client.answer.head() + client.answer.body + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")


@fault(CLIENTS)
async def redirect(client):
    """A redirect to the same place."""
    client.answer.status, client.answer.headers["location"] = "302 Found", client.rule["path"]
    client.answer.set_body(b"")
    await client.send(client.answer.head())


@fault(CLIENTS)
async def endless_head(client):
    await client.send(b"HTTP/1.1 200 OK\r\n")
    await client.send_for_ever(b"x-more: " + b"x" * 8000 + b"\r\n")


@fault(CLIENTS)
async def endless_promise(client):
    await client.send_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@fault(CLIENTS)
async def endless_body(client):
    client.answer.headers.pop("content-length", None)
    client.answer.headers["transfer-encoding"] = "chunked"
    await client.send(client.answer.head())
    await client.send_for_ever(b"%x\r\n%s\r\n" % (STEP, b"x" * STEP))


@fault(CLIENTS)
async def endless_error(client):
    client.answer.status = "403 Forbidden"
    await endless_body(client)


@fault(CLIENTS)
async def endless_failure(client):
    client.answer.status = "500 Internal Server Error"
    await endless_body(client)


@dataclass
class Proxy:
    """Passes requests on to `store`, `host:port`, and plays the faults."""

    store: str
    rules: list = field(default_factory=list)
    counts: dict = field(default_factory=lambda: {"requests": 0})
    open: set = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set_rules(self, rules):
        self.rules = rules
        self.changed.set()
        self.changed = asyncio.Event()

    def rule_for(self, path):
        """The first matching rule that is not used up."""
        for rule in self.rules:
            if re.search(rule["match"], urllib.parse.unquote(path)) and rule.get("times", 1) > 0:
                if "times" in rule:
                    rule["times"] -= 1
                return rule
        return {}

    async def serve(self, reader, writer):
        """One connection."""
        self.open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self.answer(reader, writer):
                pass
        self.open.discard(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def answer(self, reader, writer):
        """One request; returns whether the connection stays open."""
        request = parse(await reader.readuntil(b"\r\n\r\n"))
        rule = self.rule_for(request.path)
        name = rule.get("fault")
        self.counts["requests"] += 1
        if name:
            self.counts[name] = self.counts.get(name, 0) + 1
        REQUESTS.get(name, lambda request: None)(request)
        path, head = request.path, request.method == "HEAD"
        answer = await self.ask(request)
        ANSWERS.get(name, lambda answer: None)(answer)
        if name in CLIENTS:
            await CLIENTS[name](Client(reader, writer, answer, self, rule | {"path": path}))
        else:
            writer.write(answer.head() + (b"" if head else answer.body))
            await writer.drain()
        return True

    async def ask(self, request):
        """The answer of the store."""
        reader, writer = await asyncio.open_connection(*self.store.split(":"))
        try:
            writer.write(request.raw())
            status, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
            headers = {name.lower(): value for name, value in headers if name.lower() != "connection"}
            return Answer(status.split(" ", 1)[1], headers, await reader.read())
        finally:
            writer.close()


def parse_head(head):
    """The first line, and the headers."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    named = (line.partition(":") for line in lines)
    return first, [(name, value.strip()) for name, _, value in named]


def parse(head):
    first, headers = parse_head(head)
    method, path, _ = first.split(" ")
    return Request(method, path, headers)


@dataclass
class Control:
    """Takes orders, one a connection."""

    proxy: Proxy
    port: int
    server: asyncio.Server | None = None

    async def listen(self):
        self.server = await asyncio.start_server(self.proxy.serve, "127.0.0.1", self.port, backlog=512)

    async def serve(self, reader, writer):
        first, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
        length = int(dict(headers).get("Content-Length", 0))
        order = json.loads(await reader.readexactly(length) or b"null")
        body = json.dumps(await self.obey(first.split(" ")[1], order)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def obey(self, path, order):
        if path == "/rules":
            self.proxy.set_rules(order)
        elif path == "/refuse" and order:
            self.server.close()
            for writer in list(self.proxy.open):
                writer.transport.abort()
        elif path == "/refuse":
            await self.listen()
        return self.proxy.counts


async def main(store, port, control_port):
    control = Control(Proxy(store), int(port))
    await control.listen()
    orders = await asyncio.start_server(control.serve, "127.0.0.1", int(control_port))
    await orders.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
