"""Sockets to listen on and ports that are free."""

from __future__ import annotations

import errno
import os
import socket

import psutil

from xinfer.errors import ConfigError

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket that children can inherit; port 0 takes any free one; IPv6 with or without brackets.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is none of this machine's.
    """
    try:
        sock = _bind(host, port)
    except OSError as error:
        raise explain(error, host, port) from error
    sock.listen(_BACKLOG)
    sock.set_inheritable(True)
    return sock


def pick_port(host: str, port_range: tuple[int, int] | None = None) -> int:
    """A port on which nobody listens now: of the inclusive range, or any.

    Processes that pick at the same moment start at different places of the range.

    Raises:
        ConfigError: no free port in the range, or the host is none of this machine's.
    """
    if port_range is None:
        return _probe(host, 0)
    low, high = port_range
    if not 0 < low <= high < 65536:
        raise ConfigError(f"--port-range must be LOW-HIGH within 1-65535, not {low}-{high}.", param="--port-range")
    size = high - low + 1
    for step in range(size):
        port = low + (os.getpid() + step) % size
        try:
            return _probe(host, port)
        except ConfigError as error:
            if error.details.get("errno") not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise ConfigError(f"--port-range {low}-{high} has no free port on {host}: choose a wider one.", param="--port-range")


def _probe(host: str, port: int) -> int:
    try:
        with _bind(host, port) as sock:
            return int(sock.getsockname()[1])
    except OSError as error:
        raise explain(error, host, port, name_holder=False) from error


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host.strip("[]") == "::" else 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def explain(error: OSError, host: str, port: int, flag: str = "--port", *, name_holder: bool = True) -> ConfigError:
    """Why ``port``, given by ``flag``, cannot be listened on, and what would help."""
    if error.errno == errno.EADDRINUSE:
        holder = _holder(port) if name_holder else ""
        message, param = f"{flag} {port} on {host} is in use{holder}: stop that process or choose another port.", flag
    elif error.errno == errno.EACCES:
        message, param = f"{flag} {port} is not allowed for this user: choose one above 1023.", flag
    elif isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        message, param = f"--host {host} must be an address of this machine.", "--host"
    else:
        message, param = f"--host {host} {flag} {port} cannot be listened on: {error.strerror}.", "--host"
    return ConfigError(message, param=param, errno=error.errno)


def _holder(port: int) -> str:
    """`` by NAME (pid N)``, if the system tells us."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
