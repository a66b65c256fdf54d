"""The event stream, its history and the readings over HTTP."""

from __future__ import annotations

from dataclasses import replace

import httpx

from tests.api.conftest import Api, Server
from tests.api.fakes import in_phase
from xinfer.cluster.ids import DeviceUuid, ReplicaId, WorkerId
from xinfer.cluster.reading import DeviceReading, Reading, ReplicaReading
from xinfer.cluster.replica import Phase
from xinfer.errors import SupervisorUnreachable

A = WorkerId("a")


def test_the_stream_over_http_is_one_of_events(server: Server) -> None:
    with httpx.stream("GET", f"{server.url}/v1/cluster/events", timeout=20) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-store"
        lines = reply.iter_lines()
        assert [next(lines) for _ in range(2)] == ["id: 3-0", "event: snapshot"]


async def test_a_stream_that_cannot_begin_is_a_proper_error(api: Api) -> None:
    api.control.down = SupervisorUnreachable("The supervisor does not answer.")
    reply = await api.http.get("/v1/cluster/events")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "supervisor_unreachable")


async def test_the_history_has_a_sentence_for_each_change_and_can_be_filtered(api: Api) -> None:
    assert (await api.http.get("/v1/cluster/history")).json() == {"data": [], "complete": True}
    in_phase(api.control, "ce-1", Phase.BACKOFF, error="It was killed.")
    in_phase(api.control, "emb-0", Phase.DRAINING)
    in_phase(api.control, "emb-0", Phase.DRAINING, speed=3.0)
    whole = (await api.http.get("/v1/cluster/history")).json()
    assert [(e["id"], e["level"], e["text"]) for e in whole["data"]] == [
        ("3-1", "error", "Replica ce-1 ended and will be started again: It was killed."),
        ("3-2", "info", "Replica emb-0 takes no new work."),
    ]
    for query, keys in [
        ({"model_uid": "ce"}, ["ce-1"]),
        ({"worker": "a"}, ["ce-1", "emb-0"]),
        ({"worker": "10.0.0.1"}, ["ce-1", "emb-0"]),
        ({"replica": "emb-0"}, ["emb-0"]),
        ({"limit": 1}, ["emb-0"]),
        ({"model_uid": "other"}, []),
    ]:
        found = (await api.http.get("/v1/cluster/history", params=query)).json()
        assert [e["key"] for e in found["data"]] == keys, query
    assert (await api.http.get("/v1/cluster/history", params={"limit": 1})).json()["complete"] is False
    assert (await api.http.get("/v1/cluster/history", params={"limit": 0})).status_code == 400
    unknown = await api.http.get("/v1/cluster/history", params={"worker": "10.9.9.9"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "worker")
    for after, keys in [
        ("3-0", ["ce-1", "emb-0"]),
        ("3-1", ["emb-0"]),
        ("3-2", []),
        ("2-1", ["ce-1", "emb-0"]),
        ("2-9", ["ce-1", "emb-0"]),
        ("x", ["ce-1", "emb-0"]),
    ]:
        found = (await api.http.get("/v1/cluster/history", params={"after": after})).json()
        assert [e["key"] for e in found["data"]] == keys, after


async def test_a_worker_that_is_gone_is_found_by_its_id(api: Api) -> None:
    in_phase(api.control, "ce-1", Phase.BACKOFF, error="It was killed.")
    api.control.become(replace(api.control.state, workers={}))
    found = (await api.http.get("/v1/cluster/history", params={"worker": "a"})).json()
    assert [e["key"] for e in found["data"]] == ["ce-1", "a"]
    assert (await api.http.get("/v1/cluster/history", params={"worker": "b"})).status_code == 400


async def test_the_newest_reading_of_each_worker(api: Api) -> None:
    assert (await api.http.get("/v1/cluster/readings")).json() == {"data": []}
    for at in (5.0, 7.0):
        api.control.watch.heard(A, Reading(at, (DeviceReading(DeviceUuid("a-0"), 0.75, 100),)))
    found = (await api.http.get("/v1/cluster/readings")).json()["data"]
    assert [(r["worker_id"], r["at"], r["devices"][0]["utilization"]) for r in found] == [("a", 7.0, 0.75)]


async def test_the_last_minutes_of_a_worker_as_columns(api: Api) -> None:
    epoch = api.control.state.replicas[ReplicaId("ce-0")].epoch
    one = Reading(1.0, (DeviceReading(DeviceUuid("a-0"), 0.5, 7),), (ReplicaReading(ReplicaId("ce-0"), epoch, queue=2),))
    api.control.kept[A] = (one, replace(one, at=3.0, replicas=()))
    reply = (await api.http.get("/v1/cluster/series", params={"worker": "10.0.0.1"})).json()
    assert reply["devices"] == [{"key": "a-0", "at": [1.0, 3.0], "values": {"utilization": [0.5, 0.5], "free_bytes": [7, 7]}}]
    assert (reply["replicas"][0]["key"], reply["replicas"][0]["at"], reply["replicas"][0]["values"]["queue"]) == ("ce-0", [1.0], [2])
    unknown = await api.http.get("/v1/cluster/series", params={"worker": "10.9.9.9"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "worker")
