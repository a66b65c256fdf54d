"""`events` and `top`: what is listed, what is followed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import FakeServer, error, run

HISTORY = "/v1/cluster/history"


def event(number: int, text: str = "Replica rr-0 is ready.", level: str = "info") -> dict[str, Any]:
    return {"id": f"1-{number}", "at": 1000.0 + number, "kind": "replica", "key": "rr-0", "level": level, "text": text}


def listed(*events: dict[str, Any]) -> dict[str, Any]:
    return {"data": list(events), "complete": True}


def test_the_last_events_are_listed_and_filters_are_sent(server: FakeServer) -> None:
    server.on("GET", HISTORY, listed(event(1), event(2, "Replica rr-0 has failed.", "error")))
    done = run("events", "-n", "7", "-u", "rr", "--replica", "rr-0")
    assert done.stdout.splitlines() == [
        "at\tlevel\tid\tevent",
        "1001.000\tinfo\t1-1\tReplica rr-0 is ready.",
        "1002.000\terror\t1-2\tReplica rr-0 has failed.",
    ]
    assert dict(server.requests[-1].url.params) == {"limit": "7", "model_uid": "rr", "replica": "rr-0"}


def test_the_server_is_asked_who_a_worker_is(server: FakeServer) -> None:
    server.on("GET", HISTORY, listed())
    run("events", "--worker", "gpu-host")
    assert server.requests[-1].url.params["worker"] == "gpu-host"


def test_following_goes_on_after_the_last_event_through_an_outage(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xinfer.cli.events.EVERY", 0.0)
    away = (503, error("supervisor_unreachable", "The supervisor does not answer."))
    gone = (401, error("unauthorized", "That key is no longer good."))
    given = iter([listed(event(1)), away, listed(event(2)), listed(), listed(event(3)), gone])
    server.on("GET", HISTORY, lambda _: next(given))
    done = run("events", "-f", "--json")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["1-1", "1-2", "1-3"]
    assert [request.url.params.get("after") for request in server.requests][-4:] == ["1-1", "1-2", "1-2", "1-3"]
    assert done.stderr.count("Waiting.") <= 1
    assert done.exit_code != 0


def test_top_joins_what_is_there_with_what_was_measured(server: FakeServer) -> None:
    held = [
        {"replica_id": n, "replica_model_uid": f"rr-{n}", "model_uid": "rr", "phase": phase, "pid": 1, "reserved_bytes": 1, "used_bytes": 1}
        for n, phase in enumerate(("ready", "ready", "loading"))
    ]
    sizes = {"kind": "gpu", "total_bytes": 100, "reserved_bytes": 10, "free_bytes": 90}
    devices = [
        {"slot": f"w:1@{i}", "index": i, "uuid": f"u{i}", "name": "H100", "replicas": held if not i else [], **sizes} for i in range(2)
    ]
    worker = {"worker_id": "w", "address": "w:1", "host": "h", "state": "alive", "engines": [], "devices": devices}
    server.on("GET", "/v1/cluster/slots", {"workers": [worker], "waiting": []})
    figures = {"queue": 3, "calls": 1.0, "items": 20.0, "tokens": 900.0, "p50": 0.1, "p95": 0.2}
    replicas = [{"replica_model_uid": f"rr-{n}", "busy": 0.25 + n / 2, **figures} for n in range(2)]
    reading = {"worker_id": "w", "at": 1.0, "devices": [{"uuid": "u0", "utilization": 0.5, "free_bytes": 7}], "replicas": replicas}
    server.on("GET", "/v1/cluster/readings", {"data": [reading]})
    rows = [line.split("\t") for line in run("top").stdout.splitlines()]
    assert [(row[0], row[4], row[5], row[9]) for row in rows[1:]] == [
        ("w:1@0", "rr-1", "ready", "0.75"),
        ("w:1@0", "rr-0", "ready", "0.25"),
        ("w:1@0", "rr-2", "loading", ""),
        ("w:1@1", "", "", ""),
    ]
    assert rows[1][2:4] == ["0.5", "7"]
    assert json.loads(run("top", "--json").stdout)[0]["p95"] == 0.2
