"""Listening sockets and free ports, on real loopback addresses."""

from __future__ import annotations

import os
import socket

import pytest

from xinfer.errors import ConfigError
from xinfer.processes.ports import listen, pick_port


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("[::1]", socket.AF_INET6)])
def test_listen_accepts_and_can_be_inherited(host: str, family: socket.AddressFamily) -> None:
    with listen(host, 0) as server:
        assert server.family == family
        assert server.get_inheritable()
        with socket.create_connection(server.getsockname()[:2]):
            server.accept()[0].close()


def test_a_port_is_free_again_at_once() -> None:
    with listen("127.0.0.1", 0) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # this side closes first and stays in TIME_WAIT
    listen("127.0.0.1", port).close()


def test_all_addresses_of_both_families() -> None:
    with listen("::", 0) as server:
        with socket.create_connection(("127.0.0.1", server.getsockname()[1])):
            server.accept()[0].close()


def test_a_taken_port_names_its_holder() -> None:
    with listen("127.0.0.1", 0) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port} on 127.0.0.1 is in use by .* \(pid {os.getpid()}\): stop") as caught:
            listen("127.0.0.1", port)
    assert caught.value.param == "--port"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_foreign_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="must be an address of this machine") as caught:
        listen(host, 0)
    assert caught.value.param == "--host"


def test_pick_port_stays_in_its_range_and_skips_taken_ones() -> None:
    with listen("127.0.0.1", 0) as server:
        taken = server.getsockname()[1]
        low, high = (taken, taken + 1) if taken < 65535 else (taken - 1, taken)
        other = low if taken == high else high
        assert pick_port("127.0.0.1", (low, high)) == other
        with pytest.raises(ConfigError, match=rf"--port-range {taken}-{taken} has no free port"):
            pick_port("127.0.0.1", (taken, taken))


def test_pick_port_without_a_range_is_usable() -> None:
    port = pick_port("127.0.0.1")
    with listen("127.0.0.1", port) as server:
        assert server.getsockname()[1] == port


@pytest.mark.parametrize("port_range", [(0, 10), (20, 10), (1, 65536)])
def test_a_nonsensical_range_is_refused(port_range: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="--port-range must be LOW-HIGH"):
        pick_port("127.0.0.1", port_range)


def test_a_foreign_host_is_not_taken_for_a_full_range() -> None:
    with pytest.raises(ConfigError, match="must be an address of this machine"):
        pick_port("192.0.2.1", (20000, 20010))
