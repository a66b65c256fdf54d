"""`drain`: follow what leaves, name what stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.cli.conftest import ADDRESS, FakeServer, run
from xinfer.cli import drain as module
from xinfer.schemas.cluster import DrainReply

PATH = f"/v1/workers/{ADDRESS}/drain"


def reply(*leaving: str, **fields: Any) -> DrainReply:
    return DrainReply(worker_id="w1", address=ADDRESS, draining=True, leaving=list(leaving), **fields)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.0)


def answers(server: FakeServer, *replies: DrainReply) -> Iterator[DrainReply]:
    """The first to the command, the others to its further looks."""
    left = iter(replies)
    server.on("POST", PATH, lambda request: next(left))
    server.on("GET", "/v1/workers/w1/drain", lambda request: next(left))
    return left


def test_it_waits_until_all_have_left(server: FakeServer) -> None:
    left = answers(server, reply("rr-0", "rr-1"), reply("rr-1"), reply())
    done = run("drain", ADDRESS)
    assert done.exit_code == 0
    assert [line for line in done.stderr.splitlines() if line] == ["rr-0 has left.", "rr-1 has left.", f"{ADDRESS} is empty."]
    assert next(left, None) is None
    assert server.sent("POST", PATH) == {"undo": False}


def test_a_reason_is_said_once_and_the_pinned_are_named(server: FakeServer) -> None:
    stuck = reply("rr-0", staying=["rr-1"], reasons={"rr-0": "No room."})
    answers(server, stuck, stuck, stuck, reply(staying=["rr-1"]))
    done = run("drain", ADDRESS)
    assert done.stderr.count("No room.") == 1
    assert "serving until they are moved: rr-1" in done.stderr
    assert "is empty" not in done.stderr


def test_without_waiting_and_undone(server: FakeServer) -> None:
    server.on("POST", PATH, reply("rr-0"))
    assert "rr-0 will leave." in run("drain", ADDRESS, "--no-wait").stderr
    assert json.loads(run("drain", ADDRESS, "--no-wait", "--json").stdout)["leaving"] == ["rr-0"]
    server.on("POST", PATH, DrainReply(worker_id="w1", address=ADDRESS, draining=False))
    assert "may be used again" in run("drain", ADDRESS, "--undo").stderr
    assert server.sent("POST", PATH) == {"undo": True}


def test_a_drain_that_somebody_ends_is_not_begun_again(server: FakeServer) -> None:
    answers(server, reply("rr-0"), DrainReply(worker_id="w1", address=ADDRESS, draining=False, leaving=["rr-0"]))
    done = run("drain", ADDRESS)
    assert done.exit_code == 0
    assert "Somebody has ended the draining." in done.stderr
    assert [r.method for r in server.requests] == ["POST", "GET"]
