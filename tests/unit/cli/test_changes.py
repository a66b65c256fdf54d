"""`scale` and `move`."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import ADDRESS, FakeServer, error, replica, run
from xinfer.schemas.models import MoveReply, ProgressReply, ReplicaEntry, ReplicaProgress, ScaleReply

MOVED = MoveReply(replica_id=2, replica_model_uid="rr-2", worker_address=ADDRESS, slot=f"{ADDRESS}@2", moved="rr-0")


def progress(*stages: tuple[int, str]) -> ProgressReply:
    replicas = [
        ReplicaProgress(replica_id=n, replica_model_uid=f"rr-{n}", slot=f"{ADDRESS}@{n}", stage=stage, progress=1.0, status="")
        for n, stage in stages
    ]
    return ProgressReply(progress=1.0, stage=stages[0][1] if stages else "", download_files=[], replicas=replicas)


@pytest.fixture
def model(server: FakeServer) -> FakeServer:
    server.on("GET", "/v1/models/rr/ready", {"model_uid": "rr", "ready": True})
    server.on("POST", "/v1/models/rr/scale", ScaleReply(model_uid="rr", replica=2, min_replica=2, max_replica=2, added=["rr-1"]))
    server.on("POST", "/v1/models/rr/replicas/0/move", MOVED)
    return server


def there(server: FakeServer, *entries: ReplicaEntry) -> None:
    server.on("GET", "/v1/models/rr/replicas", [entry.model_dump() for entry in entries])
    server.on("GET", "/v1/models/rr/progress", progress(*((entry.replica_id, entry.phase) for entry in entries)))


def test_scale_says_what_comes_and_goes_and_shows_the_replicas(model: FakeServer) -> None:
    there(model, replica(0), replica(1))
    done = run("scale", "rr", "2")
    assert done.exit_code == 0
    assert model.sent("POST", "/v1/models/rr/scale") == {"replica": 2}
    assert "rr-1 is started." in done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()[1:]] == ["rr-0", "rr-1"]


def test_scale_waits_until_those_that_go_are_gone(model: FakeServer) -> None:
    there(model, replica(0))
    looks = iter([progress((0, "ready"), (1, "draining")), progress((0, "ready"))])
    model.on("GET", "/v1/models/rr/progress", lambda request: next(looks))
    assert run("scale", "rr", "1").exit_code == 0
    assert next(looks, None) is None


def test_scale_by_load_sends_the_bounds_and_says_them(model: FakeServer) -> None:
    there(model, replica(0))
    model.on("POST", "/v1/models/rr/scale", ScaleReply(model_uid="rr", replica=1, min_replica=0, max_replica=4))
    done = run("scale", "rr", "--min", "0", "--max", "4", "--idle", "60")
    assert done.exit_code == 0
    assert model.sent("POST", "/v1/models/rr/scale") == {"min_replica": 0, "max_replica": 4, "idle_seconds": 60}
    assert "rr has 0 to 4 replicas, as the load asks." in done.stderr


def test_scale_to_none_does_not_wait_for_a_replica(model: FakeServer) -> None:
    there(model)
    model.on("POST", "/v1/models/rr/scale", ScaleReply(model_uid="rr", replica=0, max_replica=1, removed=["rr-0"]))
    done = run("scale", "rr", "0")
    assert (done.exit_code, model.sent("POST", "/v1/models/rr/scale")) == (0, {"replica": 0})
    assert "rr is asleep; a request wakes it." in done.stderr


def test_scale_without_waiting(model: FakeServer) -> None:
    there(model, replica(0), replica(1, "spawning"))
    assert run("scale", "rr", "2", "--no-wait", "-q").stdout == "rr\n"
    assert ("GET", "/v1/models/rr/progress") not in [(r.method, r.url.path) for r in model.requests]


def test_move_sends_the_slot_and_ends_when_the_old_one_is_gone(model: FakeServer) -> None:
    there(model, replica(2))
    done = run("move", "rr", "0", "--pin", f"{ADDRESS}@2")
    assert done.exit_code == 0
    assert model.sent("POST", "/v1/models/rr/replicas/0/move") == {"slots": [f"{ADDRESS}@2"]}
    assert f"rr-0 stays until rr-2 is ready on {ADDRESS}@2." in done.stderr


def test_move_to_any_slot_of_a_worker(model: FakeServer) -> None:
    there(model, replica(2))
    assert run("move", "rr", "0", "--worker-ip", "10.0.0.2").exit_code == 0
    assert model.sent("POST", "/v1/models/rr/replicas/0/move") == {"worker_ip": "10.0.0.2"}


def test_a_failed_replica_can_be_moved_away(model: FakeServer) -> None:
    there(model, replica(2))
    looks = iter([progress((0, "failed"), (2, "loading")), progress((2, "ready"))])
    model.on("GET", "/v1/models/rr/progress", lambda request: next(looks))
    assert run("move", "rr", "0").exit_code == 0


def test_a_move_whose_successor_failed_says_why(model: FakeServer) -> None:
    there(model, replica(0, error_message="It was not moved: The files are bad."))
    done = run("move", "rr", "0")
    assert done.exit_code == 1
    assert "rr-0 was not moved: The files are bad." in done.stderr


def test_json_and_refusals(model: FakeServer) -> None:
    there(model, replica(0), replica(1))
    assert [r["replica_model_uid"] for r in json.loads(run("scale", "rr", "2", "--json").stdout)["replicas"]] == ["rr-0", "rr-1"]
    assert run("scale", "rr", "-1").exit_code == 2
    assert run("scale", "rr").exit_code == 2
    model.on("POST", "/v1/models/rr/scale", (404, error("model_not_found", "No model 'rr' is running.")))
    assert run("scale", "rr", "2").exit_code == 4
