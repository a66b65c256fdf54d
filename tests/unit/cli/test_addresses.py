"""Which addresses servers choose by themselves."""

from __future__ import annotations

import pytest

from xinfer.cli.addresses import actor_host, route_to, url_of


@pytest.mark.parametrize(
    ("rest", "actors"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("10.0.0.2", "10.0.0.2"),
        ("[fd00::2]", "fd00::2"),
        ("box", "127.0.0.1"),
    ],
)
def test_actor_host(rest: str, actors: str) -> None:
    assert actor_host(rest) == actors


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9997", "http://localhost", "http://no-such-host.invalid:1", "nonsense"])
def test_a_supervisor_on_this_machine_or_nowhere_is_reached_by_loopback(endpoint: str) -> None:
    assert route_to(endpoint) == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://127.0.0.1:1"),
        ("fd00::2", "http://[fd00::2]:1"),
        ("box", "http://box:1"),
    ],
)
def test_url(host: str, url: str) -> None:
    assert url_of(host, 1) == url
