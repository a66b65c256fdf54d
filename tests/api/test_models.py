"""Launch, listings and replicas over their fakes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.test_disconnect import Hung
from xinfer.errors import LaunchFailed, NoFit, SupervisorUnreachable
from xinfer.schemas.models import ScaleRequest

LAUNCH: dict[str, Any] = {"model_name": "tiny", "model_type": "rerank", "model_uid": "new"}


async def test_launch_waits_until_ready(api: Api) -> None:
    api.control.ready = [True]
    reply = await api.http.post("/v1/models", json=LAUNCH)
    assert (reply.status_code, reply.json()) == (200, {"model_uid": "new"})
    assert api.control.ready == []


@pytest.mark.parametrize("spelling", ["false", "False", "0"])
async def test_launch_without_waiting(api: Api, spelling: str) -> None:
    api.control.ready = [False]
    reply = await api.http.post(f"/v1/models?wait_ready={spelling}", json=LAUNCH)
    assert (reply.status_code, reply.json()) == (200, {"model_uid": "new"})
    assert api.control.ready == [False]


async def test_a_wait_that_ends_too_early_or_badly(api: Api) -> None:
    api.control.ready = [False, LaunchFailed("replica new-0 failed: no such file", stderr_tail="x")]
    late = await api.http.post("/v1/models?timeout=0.5", json=LAUNCH)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    failed = await api.http.post("/v1/models", json={**LAUNCH, "model_uid": "other"})
    assert failed.status_code == 500
    assert failed.json()["detail"] == "replica new-0 failed: no such file"
    assert failed.json()["error"]["details"] == {"stderr_tail": "x"}


async def test_a_client_that_hangs_up_does_not_cancel_the_launch(api: Api) -> None:
    api.control.block = asyncio.Event()
    hung = Hung(api.app, "POST", "/v1/models", LAUNCH)
    await asyncio.wait_for(api.control.waiting.wait(), 5)
    hung.hang_up()
    await asyncio.wait_for(hung.over, 5)
    assert "new" in api.control.state.deployments


async def test_a_duplicate_is_400(api: Api) -> None:
    reply = await api.http.post("/v1/models", json={**LAUNCH, "model_uid": "ce"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "already_exists")


async def test_what_the_published_client_sends_by_default(api: Api) -> None:
    """Null and empty fields that are not ours are no fields; those with a value are options for the engine to judge."""
    nulls = dict.fromkeys(("peft_model_config", "model_size_in_billions", "request_limits", "enable_thinking", "envs", "worker_ip"))
    reply = await api.http.post(
        "/v1/models", json={**LAUNCH, **nulls, "virtual_env_packages": [], "n_gpu": "auto", "n_worker": 1, "intra": 4}
    )
    assert reply.status_code == 200, reply.text
    request = api.control.launched[0]
    assert (request.options, request.top_level, request.n_gpu) == ({"intra": 4}, frozenset({"intra"}), "auto")


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"replica": 0}, "replica", "at least 1, not 0"),
        ({"replica": -3}, "replica", "at least 1, not -3"),
        ({"replica": True}, "replica", "a whole number, not true"),
        ({"replica": "two"}, "replica", "a whole number, not 'two'"),
        ({"slot": ["10.0.0.1:24002@0"]}, "slot", "did you mean slots"),
        ({"gpu_ids": [0]}, "gpu_ids", "did you mean gpu_idx"),
        ({"replicas": 2}, "replicas", "did you mean replica"),
        ({"Replica": 2}, "Replica", "did you mean replica"),
        ({"worker_IP": "x"}, "worker_IP", "did you mean worker_ip"),
        ({"replica_config": [{"devices": [{"worker_ip": "x", "gpu_ix": 1}]}]}, "replica_config[0].devices[0].gpu_ix", "not a known field"),
        ({"replica_config": [{"devices": []}]}, "replica_config[0].devices", "at least one entry"),
        ({"replica_config": [{}]}, "replica_config[0].devices", "required"),
        ({"dtype": "int4"}, "dtype", "one of 'auto', 'float32'"),
        ({"slots": "10.0.0.1:24002@0"}, "slots", "a list"),
        ({"model_name": 7}, "model_name", "a string, not 7"),
        ({"options": {"a": 1}, "a": 2}, "a", "given once"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/plan"])
async def test_bad_launches_are_one_sentence_and_change_nothing(
    api: Api, path: str, fields: dict[str, Any], param: str, words: str
) -> None:
    before = api.control.state
    reply = await api.http.post(path, json={**LAUNCH, **fields})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param
    assert words in reply.json()["detail"]
    assert reply.json()["detail"].startswith(param)
    assert api.control.state is before
    assert not api.control.launched


async def test_refused_slots_come_as_details(api: Api) -> None:
    api.control.down = NoFit("No device has 40 GiB free.", param="replica", refusals=[{"slot": "a@0", "reason": "24 GiB"}])
    reply = await api.http.post("/v1/models", json=LAUNCH)
    assert reply.status_code == 400
    assert reply.json()["error"]["details"]["refusals"] == [{"slot": "a@0", "reason": "24 GiB"}]


async def test_a_plan_that_does_not_fit_is_an_answer(api: Api) -> None:
    reply = await api.http.post("/v1/plan", json={**LAUNCH, "replica": 9})
    assert reply.status_code == 200
    assert (reply.json()["fits"], reply.json()["refused"][0]["reason"]) == (False, "too small")
    assert api.control.launched[0].replica == 9
    assert "new" not in api.control.state.deployments


async def test_listing_and_showing(api: Api) -> None:
    listed = (await api.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [(m["id"], m["model_type"], m["model_ability"], m["status"], m["replica"]) for m in listed["data"]] == [
        ("ce", "rerank", ["rerank"], "READY", 2),
        ("emb", "embedding", ["embed"], "READY", 1),
        ("plain", "embedding", ["embed"], "READY", 1),
    ]
    shown = (await api.http.get("/v1/models/ce")).json()
    assert shown == listed["data"][0]
    assert (shown["accelerators"], shown["address"], shown["model_engine"]) == (["0", "1"], "10.0.0.1:24002", "onnxruntime")
    missing = await api.http.get("/v1/models/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_listing_goes_on_without_a_supervisor(api: Api) -> None:
    api.control.down = SupervisorUnreachable("the control process is away")
    listed = await api.http.get("/v1/models")
    assert [(m["id"], m["ready_replicas"], m["status"]) for m in listed.json()["data"]] == [
        ("ce", 2, "READY"),
        ("emb", 1, "READY"),
        ("plain", 1, "READY"),
    ]
    assert (await api.http.get("/v1/models/ce")).json()["model_type"] == "rerank"
    assert (await api.http.get("/v1/models/nobody")).status_code == 404
    assert (await api.http.post("/v1/rerank", json={"model": "ce", "query": "q", "documents": ["a"]})).status_code == 200
    away = await api.http.get("/v1/models/ce/replicas")
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")


async def test_stopping_and_cancelling(api: Api) -> None:
    assert (await api.http.delete("/v1/models/ce")).status_code == 200
    assert "ce" not in api.control.state.deployments
    assert (await api.http.delete("/v1/models/ce")).status_code == 404
    cancelled = await api.http.post("/v1/models/emb/cancel")
    assert (cancelled.status_code, cancelled.json()) == (200, None)


async def test_a_uid_with_a_slash(api: Api) -> None:
    await api.http.post("/v1/models", json={**LAUNCH, "model_uid": "org/model"})
    assert (await api.http.get("/v1/models/org/model")).json()["id"] == "org/model"
    assert (await api.http.get("/v1/models/org%2Fmodel/replicas")).json() == []
    assert (await api.http.delete("/v1/models/org%2Fmodel")).status_code == 200


async def test_replicas_show_what_they_reported(api: Api) -> None:
    first, second = (await api.http.get("/v1/models/ce/replicas")).json()
    assert first["device"] == {"kind": "simulated", "index": 0, "uuid": "a-0", "name": "Sim 24"}
    wanted = {
        "replica_id": 0,
        "replica_model_uid": "ce-0",
        "slot": "10.0.0.1:24002@0",
        "gpu_idx": [0],
        "status": "READY",
        "phase": "ready",
        "pid": 100,
    }
    assert first | wanted == first
    assert (first["documents"], first["busy_seconds"], first["queue"], first["in_flight"]) == (7, 1.5, 2, 9)
    assert (second["slot"], second["queue"], second["busy_seconds"]) == ("10.0.0.1:24002@1", None, None)
    assert (await api.http.get("/v1/models/nobody/replicas")).status_code == 404


async def test_adding_one_and_several(api: Api) -> None:
    one = (
        await api.http.post("/v1/models/ce/replicas", json={"replica_config": {"devices": [{"worker_ip": "10.0.0.1", "gpu_idx": [3]}]}})
    ).json()
    assert (one["replica_id"], one["replica_model_uid"], one["worker_address"]) == (2, "ce-2", "10.0.0.1:24002")
    assert [c.devices[0].gpu_idx for c in api.control.placements[0].replica_config or ()] == [[3]]
    two = (await api.http.post("/v1/models/ce/replicas", json={"replica": 2})).json()
    assert (two["replica"], [r["replica_id"] for r in two["replicas"]]) == (2, [3, 4])


@pytest.mark.parametrize(
    ("body", "param"), [({"replica": 0}, "replica"), ({"slot": ["x"]}, "slot"), ({"model_engine": "vllm"}, "model_engine"), ([], "")]
)
async def test_additions_that_are_refused(api: Api, body: Any, param: str) -> None:
    reply = await api.http.post("/v1/models/ce/replicas", json=body)
    assert (reply.status_code, reply.json()["error"]["param"] or "") == (400, param)
    assert not api.control.placements


@pytest.mark.parametrize("name", ["1", "ce-1"])
async def test_removing_by_number_or_id(api: Api, name: str) -> None:
    reply = await api.http.delete(f"/v1/models/ce/replicas/{name}")
    assert reply.json() == {"remaining_replicas": 1}
    assert "ce-1" not in api.control.state.replicas
    again = await api.http.delete(f"/v1/models/ce/replicas/{name}")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "replica_not_found")


async def test_instances_are_filtered(api: Api) -> None:
    every = (await api.http.get("/v1/models/instances")).json()
    assert [i["model_uid"] for i in every] == ["ce", "emb", "plain"]
    one = (await api.http.get("/v1/models/instances", params={"model_name": "tiny-embedder", "model_uid": "plain"})).json()
    assert [(i["model_uid"], i["n_worker"], len(i["replica_statuses"])) for i in one] == [("plain", 1, 1)]


async def test_progress_and_ready(api: Api) -> None:
    progress = (await api.http.get("/v1/models/ce/progress")).json()
    assert (progress["progress"], progress["stage"], len(progress["replicas"])) == (1.0, "ready", 2)
    assert (await api.http.get("/v1/models/nobody/progress")).status_code == 404
    api.control.ready = [False, True]
    assert (await api.http.get("/v1/models/ce/ready?timeout=1")).json() == {"model_uid": "ce", "ready": False}
    assert (await api.http.get("/v1/models/ce/ready?timeout=1")).json()["ready"] is True
    bad = await api.http.get("/v1/models/ce/ready?timeout=soon")
    assert (bad.status_code, bad.json()["detail"]) == (400, "timeout must be a number, not 'soon'.")


async def test_scaling_says_what_it_came_to(api: Api) -> None:
    reply = await api.http.post("/v1/models/ce/scale", json={"replica": 3})
    said = {"model_uid": "ce", "replica": 3, "min_replica": 3, "max_replica": 3, "added": ["ce-9"], "removed": []}
    assert reply.json() == said
    assert api.control.scaled == [("ce", ScaleRequest(replica=3))]
    bounds = {"min_replica": 0, "max_replica": 4, "idle_seconds": 60}
    reply = await api.http.post("/v1/models/ce/scale", json=bounds)
    assert (reply.json()["min_replica"], reply.json()["max_replica"]) == (0, 4)
    assert api.control.scaled[-1] == ("ce", ScaleRequest(**bounds))
    assert (await api.http.post("/v1/models/nobody/scale", json={"replica": 3})).status_code == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"replica": -1}, "replica must be at least 0, not -1."),
        ({"min_replica": True}, "min_replica must be a whole number, not true."),
        ({"replica": True}, "replica must be a whole number, not true."),
        ({"replica": 10_001}, "replica must be between 1 and 10000, not 10001."),
        ({"idle_seconds": "long"}, "idle_seconds must be a number, not 'long'."),
        ({"replica": 2, "slots": ["x"]}, "slots is not a known field; known are replica, min_replica, max_replica, idle_seconds."),
    ],
)
async def test_scalings_that_are_refused(api: Api, body: Any, sentence: str) -> None:
    reply = await api.http.post("/v1/models/ce/scale", json=body)
    assert (reply.status_code, reply.json()["detail"]) == (400, sentence)
    assert not api.control.scaled


@pytest.mark.parametrize("name", ["1", "ce-1"])
async def test_moving_by_number_or_id(api: Api, name: str) -> None:
    reply = await api.http.post(f"/v1/models/ce/replicas/{name}/move", json={"slots": ["10.0.0.1:24002@3"]})
    wanted = {"replica_id": 2, "replica_model_uid": "ce-2", "worker_address": "10.0.0.1:24002", "slot": "10.0.0.1:24002@3", "moved": "ce-1"}
    assert reply.json() == wanted
    assert api.control.moved == ["ce-1"]
    assert api.control.placements[0].slots == ["10.0.0.1:24002@3"]


async def test_moves_that_are_refused(api: Api) -> None:
    unknown = await api.http.post("/v1/models/ce/replicas/7/move", json={})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "replica_not_found")
    misspelt = await api.http.post("/v1/models/ce/replicas/1/move", json={"slot": "10.0.0.1@3"})
    assert (misspelt.status_code, misspelt.json()["error"]["param"]) == (400, "slot")
    assert not api.control.moved


async def test_logs_of_a_replica_by_number_or_id(api: Api) -> None:
    by_number = (await api.http.get("/v1/models/ce/replicas/0/logs?lines=2")).json()
    assert by_number == {"replica_model_uid": "ce-0", "worker_id": "worker-a", "position": 7, "text": "ce-0 wrote 0\nce-0 wrote 1\n"}
    assert (await api.http.get("/v1/models/ce/replicas/ce-0/logs")).json()["text"].count("\n") == 3
    more = await api.http.get("/v1/models/ce/replicas/0/logs?after=7&worker_id=worker-a")
    assert more.json()["text"] == "('worker-a', 7) is followed\n"
    assert (await api.http.get("/v1/models/ce/replicas/0/logs?after=-1")).status_code == 400
    assert (await api.http.get("/v1/models/ce/replicas/77/logs")).status_code == 404
    assert (await api.http.get("/v1/models/nope/replicas/0/logs")).status_code == 404
    for lines in ("0", "5001", "x"):
        assert (await api.http.get(f"/v1/models/ce/replicas/0/logs?lines={lines}")).status_code == 400


async def test_packages_are_a_launch_field_and_shown(api: Api) -> None:
    wrong = await api.http.post("/v1/models", json={**LAUNCH, "packages": "einops"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "packages")
    misspelt = await api.http.post("/v1/models", json={**LAUNCH, "package": ["einops"]})
    assert "did you mean packages?" in misspelt.json()["detail"]
    assert (await api.http.get("/v1/models/ce")).json()["packages"] == []
