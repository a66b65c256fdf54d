"""`launches`: what was launched lately."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.cli.conftest import FakeServer, run


def entry(number: int, uid: str, **request: Any) -> dict[str, Any]:
    return {"id": number, "at": 1000.0 + number, "model_uid": uid, "request": request}


PAST = [
    entry(4, "rr", model_name="ms-marco", model_type="rerank", model_engine="torch", replica=2, slots=["h:1@0", "auto"]),
    entry(3, "rr", model_path="/models/x", gpu_idx=[0, 2], worker_ip="h"),
    entry(2, "rr", model_name="ms-marco", gpu_idx=1),
    entry(1, "rr", model_name="ms-marco", worker_ip="h"),
]


def test_each_launch_says_what_and_where(server: FakeServer) -> None:
    server.on("GET", "/v1/launches", {"data": PAST})
    rows = [line.split("\t") for line in run("launches", "-n", "7").stdout.splitlines()]
    assert rows == [
        ["at", "model", "what", "type", "engine", "replicas", "places", "id"],
        ["1004.000", "rr", "ms-marco", "rerank", "torch", "2", "h:1@0,auto", "4"],
        ["1003.000", "rr", "/models/x", "", "", "", "h@0,h@2", "3"],
        ["1002.000", "rr", "ms-marco", "", "", "", "@1", "2"],
        ["1001.000", "rr", "ms-marco", "", "", "", "h", "1"],
    ]
    assert dict(server.requests[-1].url.params) == {"limit": "7"}


def test_json_has_the_bodies_and_quiet_the_ids(server: FakeServer) -> None:
    server.on("GET", "/v1/launches", {"data": PAST})
    assert json.loads(run("launches", "--json").stdout) == PAST
    assert run("launches", "-q").stdout.split() == ["4", "3", "2", "1"]
