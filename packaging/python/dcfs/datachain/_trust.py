"""The certificate authorities that servers are checked against: those of the program `dcfs`.

`SSL_CERT_FILE` and `SSL_CERT_DIR` if set, else the system's.
"""

from __future__ import annotations

import os
from pathlib import Path

BUNDLES = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/opt/etc/ssl/certs/ca-certificates.crt",
]
"""Files of distributions, in the order of the crate `openssl-probe`, which `dcfs` uses."""


def bundle() -> str | None:
    """The file of authorities; `None` if only OpenSSL itself can find them.

    The path is always given where it is known: the OpenSSL in the wheel of psycopg looks for the system's authorities
    in a folder that exists on no system.
    """
    if os.environ.get("SSL_CERT_DIR"):
        return None  # OpenSSL reads both variables itself.
    if file := os.environ.get("SSL_CERT_FILE"):
        return file
    return next((file for file in BUNDLES if Path(file).exists()), None)
