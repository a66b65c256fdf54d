"""Hosts in network namespaces on one bridge, whose links can be cut. Needs root and iproute2."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

import psutil

PREFIX = "xf"
LISTEN = "0A"
Port = tuple[str, int]
_OURS = re.compile(rf"^{PREFIX}(\d+)")


class Network:
    """One bridge in this namespace, one namespace with one address per host. Everything is named after this process.

    Raises:
        OSError: it cannot be made here (``why_not`` tells beforehand).
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)
        self._base = f"{PREFIX}{os.getpid() % 1_000_000}"
        self._net = _free_net()

    def __enter__(self) -> Network:
        sweep()
        try:
            _ip("link", "add", self._base, "type", "bridge")
            _ip("address", "add", f"{self._net[-2]}/24", "dev", self._base)
            _ip("link", "set", self._base, "up")
            for host in self._hosts:
                self._add(host)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _add(self, host: str) -> None:
        space, outer = self._space(host), self._outer(host)
        _ip("netns", "add", space)
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", outer, "master", self._base, "up")
        for command in (
            ("address", "add", f"{self.address(host)}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", space, *command)

    def _remove(self) -> None:
        for host in self._hosts:
            with contextlib.suppress(OSError):
                _ip("netns", "delete", self._space(host))
            with contextlib.suppress(OSError):
                _ip("link", "delete", self._outer(host))
        with contextlib.suppress(OSError):
            _ip("link", "delete", self._base)

    def _space(self, host: str) -> str:
        return f"{self._base}-{host}"

    def _outer(self, host: str) -> str:
        return f"{self._base}{host}"

    def address(self, host: str) -> str:
        """Its IP address."""
        return str(self._net[1 + self._hosts.index(host)])

    def inside(self, host: str) -> tuple[str, ...]:
        """What goes before a command that is to run on that host."""
        return ("ip", "netns", "exec", self._space(host))

    def cut(self, host: str) -> None:
        """Nothing reaches the host or leaves it, and nobody is told."""
        _ip("link", "set", self._outer(host), "down")

    def heal(self, host: str) -> None:
        """The link is there again."""
        _ip("link", "set", self._outer(host), "up")


@cache
def why_not() -> str:
    """Why there can be no such network here; "" if there can."""
    if os.getuid() != 0:
        return "needs root"
    if shutil.which("ip") is None:
        return "needs iproute2"
    try:
        with Network(("t",)):
            return ""
    except OSError as error:
        return f"no network namespaces here: {error}"


def listening(pid: int) -> set[Port]:
    """IPv4 addresses that a process listens on, also one in a namespace of its own; none if it has gone."""
    try:
        inodes = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        lines = Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return set()
    found = set()
    for fields in map(str.split, lines):
        host, _, port = fields[1].partition(":")
        if fields[3] == LISTEN and f"socket:[{fields[9]}]" in inodes:
            found.add((socket.inet_ntoa(struct.pack("=I", int(host, 16))), int(port, 16)))
    return found


def sweep() -> None:
    """Remove what a run left that was killed."""
    with contextlib.suppress(OSError):
        for line in _ip("netns", "list").splitlines():
            name = line.split()[0] if line.strip() else ""
            if (found := _OURS.match(name)) and not psutil.pid_exists(int(found[1])):
                _ip("netns", "delete", name)
        for line in _ip("-o", "link", "show", "type", "bridge").splitlines():
            name = line.split(":")[1].strip()
            if (found := _OURS.match(name)) and not psutil.pid_exists(int(found[1])):
                _ip("link", "delete", name)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _free_net() -> ipaddress.IPv4Network:
    """A /24 that no interface of this machine is in."""
    taken = {ipaddress.ip_address(a.address) for each in psutil.net_if_addrs().values() for a in each if a.family.name == "AF_INET"}
    dice = random.Random(os.getpid())
    while True:
        net = ipaddress.IPv4Network(f"10.{dice.randint(100, 250)}.{dice.randint(0, 255)}.0/24")
        if not any(address in net for address in taken):
            return net
