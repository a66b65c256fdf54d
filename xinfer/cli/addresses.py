"""Which addresses a server listens on when it was not told."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"


def actor_host(rest_host: str) -> str:
    """Where actors listen beside a REST socket on ``rest_host``: there if it is one concrete address, else on loopback."""
    try:
        address = ipaddress.ip_address(rest_host.strip("[]"))
    except ValueError:
        return LOOPBACK
    return LOOPBACK if address.is_unspecified else str(address)


def route_to(endpoint: str) -> str:
    """This machine's address as the host of ``endpoint`` sees it; loopback if that is this machine or cannot be resolved."""
    host = urlsplit(endpoint).hostname or LOOPBACK
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, urlsplit(endpoint).port or 80, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # chooses a route, sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return LOOPBACK


def url_of(host: str, port: int, *, secure: bool = False) -> str:
    """The REST address as one types it on this machine."""
    bare, scheme = host.strip("[]"), "https" if secure else "http"
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return f"{scheme}://{bare}:{port}"
    if address.is_unspecified:
        return f"{scheme}://{LOOPBACK}:{port}"
    return f"{scheme}://[{bare}]:{port}" if address.version == 6 else f"{scheme}://{bare}:{port}"
