"""`logs`: of one replica as it is, of all under their names, and what comes after."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import FakeServer, error, replica, run


def part(name: str, text: str, position: int = 9) -> dict[str, Any]:
    return {"replica_model_uid": name, "worker_id": "w", "position": position, "text": text}


def answers(server: FakeServer) -> None:
    server.on("GET", "/v1/models/rr/replicas", [replica(0).model_dump(), replica(1).model_dump()])
    for name in ("rr-0", "rr-1", "1"):
        server.on("GET", f"/v1/models/rr/replicas/{name}/logs", part(name, "" if name == "rr-1" else f"{name} a\n[b] c\n"))


def test_one_replica_is_printed_as_it_is(server: FakeServer) -> None:
    answers(server)
    done = run("logs", "rr", "1", "--tail", "7")
    assert done.stdout == "1 a\n[b] c\n"
    assert server.requests[-1].url.params["lines"] == "7"


def test_all_replicas_stand_under_their_names(server: FakeServer) -> None:
    answers(server)
    done = run("logs", "rr")
    assert done.stdout == "==> rr-0 <==\nrr-0 a\n[b] c\n==> rr-1 <==\n"
    assert "rr-1 has written nothing." in done.stderr
    assert json.loads(run("logs", "rr", "--json").stdout) == {"rr-0": ["rr-0 a", "[b] c"], "rr-1": []}


def test_following_goes_on_where_the_last_reply_ended_until_the_model_is_gone(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xinfer.cli.logs.EVERY", 0.0)
    parts = [part("1", "one\n", 4), part("1", "", 4), part("1", "two\n", 8), part("1", "three", 13), part("1", "", 13)]
    given = iter(parts)
    gone = (404, error("model_not_found", "No model 'rr' is running."))
    server.on("GET", "/v1/models/rr/replicas/1/logs", lambda _: next(given, gone))
    done = run("logs", "rr", "1", "-f")
    assert done.stdout == "one\ntwo\nthree\n"
    assert done.exit_code == 4
    assert [request.url.params.get("after") for request in server.requests] == [None, "4", "4", "8", "13", "13"]
    assert server.requests[1].url.params["worker_id"] == "w"


def test_following_and_json_exclude_each_other(server: FakeServer) -> None:
    done = run("logs", "rr", "-f", "--json")
    assert (done.exit_code, "--follow and --json exclude each other" in done.stderr) == (2, True)


def test_an_unknown_model_exits_with_4(server: FakeServer) -> None:
    server.on("GET", "/v1/models/rr/replicas", (404, error("model_not_found", "No model 'rr' is running.")))
    assert run("logs", "rr").exit_code == 4
