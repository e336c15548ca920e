"""Addresses of servers, read as the program `dcfs` reads them: user names, but no passwords."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from datachain.error import DataChainError

SSL_MODES = {"disable": False, "require": True, "verify-ca": True, "verify-full": True}
"""Whether PostgreSQL is reached over TLS."""


@dataclass(frozen=True)
class Server:
    """One database of a server. `secure` is TLS, which always checks the server's certificate and host name."""

    host: str
    port: int
    database: str
    user: str | None
    secure: bool


def warehouse(uri: str) -> Server:
    """The server of rows of `clickhouse://[USER@]HOST[:PORT]/DATABASE[?secure=...]`, which may be the whole address of a catalog."""
    scheme, server, options = _parts(uri)
    if scheme != "clickhouse":
        raise _wrong(uri, "it does not begin with `clickhouse://`")
    if unknown := options.keys() - {"metastore", "secure"}:
        raise _wrong(uri, f"its options are `metastore` and `secure`, not `{unknown.pop()}`")
    said = {"true": True, "1": True, "false": False, "0": False, None: None}
    if (given := options.get("secure")) not in said:
        raise _wrong(uri, "`secure` is `true` or `false`")
    secure = said[given]
    if secure is None:
        secure = not _is_loopback(server.host) or server.port in (443, 8443)
    port = server.port or (8443 if secure else 8123)
    return Server(server.host, port, server.database or "default", server.user or os.environ.get("CLICKHOUSE_USER"), secure)


def metastore(uri: str) -> Server:
    """The server of names of `postgresql://[USER@]HOST[:PORT]/DATABASE`, or of the whole address of a catalog."""
    scheme, server, options = _parts(uri)
    if scheme == "clickhouse":
        warehouse(uri)  # Its own options are those of a whole address.
        if (inner := options.get("metastore")) is None:
            raise _wrong(uri, "it does not say where the names are (`?metastore=postgresql://...`)")
        if "://" not in inner:
            raise _wrong(uri, "its names are in a SQLite file, which DataChain opens itself: unset DATACHAIN_METASTORE")
        return metastore(inner)
    if scheme not in ("postgresql", "postgres"):
        raise _wrong(uri, "it does not begin with `postgresql://`")
    secure = not _is_loopback(server.host)
    for name, value in options.items():
        if name != "sslmode" or value not in SSL_MODES:
            # The value may be a password.
            raise _wrong(uri, f"the metastore's options are `sslmode=disable` and `sslmode=require`, not this `{name}`")
        secure = SSL_MODES[value]
    return Server(server.host, server.port or 5432, server.database or "datachain", server.user, secure)


def clickhouse_password() -> str:
    """`CLICKHOUSE_PASSWORD`, or the first line of `CLICKHOUSE_PASSWORD_FILE`."""
    if password := os.environ.get("CLICKHOUSE_PASSWORD"):
        return password
    if file := os.environ.get("CLICKHOUSE_PASSWORD_FILE"):
        return "".join(Path(file).read_text().splitlines()[:1])
    return ""


def _parts(uri: str) -> tuple[str, Server, dict[str, str]]:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise _wrong(uri, "it is malformed") from None
    if parts.password is not None:
        raise DataChainError(
            "an address has no password: set CLICKHOUSE_PASSWORD or CLICKHOUSE_PASSWORD_FILE, and PGPASSWORD or ~/.pgpass"
        )
    if not parts.hostname:
        raise _wrong(uri, "it names no host")
    database = unquote(parts.path.strip("/"))
    if "/" in database:
        raise _wrong(uri, "a database is one name")
    user = None if parts.username is None else unquote(parts.username)
    # A metastore's own options follow a second `?`.
    options = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    options = {name: unquote(value) for name, value in options.items()}
    return parts.scheme, Server(parts.hostname, port or 0, database, user, False), options


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wrong(uri: str, why: str) -> DataChainError:
    """Without anything that may be a password."""
    scheme, _, rest = uri.partition("://")
    return DataChainError(f"`{scheme}://{rest.rpartition('@')[2].partition('?')[0]}` is not the address of a catalog: {why}")
