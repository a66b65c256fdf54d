"""Hubs in reach: switched off, behind a proxy, answering, silent."""

from __future__ import annotations

import socket

import pytest

from xinfer.sources.reach import hub_in_reach


@pytest.mark.parametrize(
    ("env", "answers", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"HF_HUB_OFFLINE": "1"}, True, False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, False, True),
        ({"HF_HUB_OFFLINE": "1", "HTTPS_PROXY": "http://proxy:3128"}, True, False),
    ],
)
def test_what_counts_as_in_reach(env: dict[str, str], answers: bool, expected: bool) -> None:
    assert hub_in_reach(env, lambda host, port: answers) is expected


def test_the_mirror_is_asked_when_one_is_named() -> None:
    asked: list[tuple[str, int]] = []
    hub_in_reach({"HF_ENDPOINT": "http://mirror.internal:8080"}, lambda host, port: asked.append((host, port)) is not None)
    assert asked[0] == ("mirror.internal", 8080)


def test_a_real_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
        assert hub_in_reach(env)
    assert not hub_in_reach({**env, "MODELSCOPE_DOMAIN": "127.0.0.1:1"})
