"""Row of those who have no business at an internal port."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import pickle
import resource
import socket
import struct
import time
from pathlib import Path

from scripts.fault_suite.ground import Ground
from scripts.fault_suite.network import Port, listening
from scripts.fault_suite.row import Row

SAID = "stranger shown out"
PATIENCE = 10.0
IDLE = 1000
"""Connections on every port."""


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def frames(bomb: bytes) -> dict[str, bytes]:
    """What strangers send: noise, and a pickle in every wrapping that the transport knows."""
    manifest = struct.pack("<QQ", len(bomb), 0)
    prefix = struct.pack("<BQH", 2, len(manifest), 0)
    macs = [hmac.new(b"another token than ours", part, hashlib.sha256).digest() for part in (prefix + manifest, prefix + manifest + bomb)]
    return {
        "noise": os.urandom(65536),
        "zeros": bytes(4096),
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "a bare pickle": bomb,
        "a pickle with its length": struct.pack("<Q", len(bomb)) + bomb,
        "an unsigned frame": struct.pack("<BQH", 1, len(bomb), 0) + bomb,
        "a frame signed with another token": prefix + b"".join(macs) + manifest + bomb,
        "a frame of 2^60 bytes": struct.pack("<BQH", 2, 1 << 60, 0) + bytes(4096),
    }


def strangers(ground: Ground) -> str:
    """No code runs, nothing crashes, nothing waits, and each process names the stranger once."""
    mark = ground.cluster.home / "ran"
    before, processes = ground.ready(), _listeners(ground)
    ports = sorted(processes)
    assert len(ports) >= 5, f"internal ports: {ports}"
    named = _named(ground)
    with ground.load() as load, contextlib.ExitStack() as held:
        for port in ports:
            for frame in frames(pickle.dumps(Bomb(mark))).values():
                _send(port, frame)
        for port in ports:
            half = held.enter_context(socket.create_connection(port, PATIENCE))
            half.sendall(b"\x02\x60")  # the beginning of a frame, and never more
        each = min(IDLE, _room() // len(ports))
        began = time.monotonic()
        for port in ports:
            for _ in range(each):
                held.enter_context(socket.create_connection(port, PATIENCE))
        opened = time.monotonic() - began
        load.wait(32)
        ground.cluster.run("slots")  # asks the supervisor, and that every worker
    assert not mark.exists(), "code of a stranger ran"
    assert ground.ready() == before, f"{before} became {ground.ready()}"
    assert _listeners(ground) == processes, f"{processes} became {_listeners(ground)}"
    said = _named(ground) - named
    assert said == len(ports), f"{len(ports)} processes named the stranger {said} times"
    return f"{len(ports)} ports, {each} idle connections on each (opened in {opened:.1f} s), no code ran, each process said so once"


def _listeners(ground: Ground) -> dict[Port, int]:
    """Internal ports, and the process behind each."""
    found: dict[Port, int] = {}
    for home in (ground.cluster, *ground.homes):
        for command in home.commands:
            for process in command.tree():
                found.update({port: process.pid for port in listening(process.pid) if port[1] != ground.cluster.port})
    return found


def _send(port: Port, frame: bytes) -> None:
    """Send it and see that the other side hangs up."""
    with socket.create_connection(port, PATIENCE) as link:
        link.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            link.sendall(frame)
            link.shutdown(socket.SHUT_WR)
            while link.recv(65536):
                pass


def _named(ground: Ground) -> int:
    """How often strangers were named, in all logs."""
    logs = [command.log for home in (ground.cluster, *ground.homes) for command in home.commands]
    logs += [path for home in (ground.cluster, *ground.homes) for path in home.home.glob("logs/*/*.stderr")]
    return sum(path.read_text(errors="replace").count(SAID) for path in logs if path.exists())


def _room() -> int:
    """Descriptors that this process may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(hard, 1 << 20) - 1000


ROWS = (Row("strangers", "garbage, a pickle bomb, the wrong token, half-open and idle connections", "hosts", strangers, "pair"),)
