"""Queue and request times, and where the dispatcher's figures have them."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.event_replicas import Call, FakeReplicas, M, docs, route, table
from xinfer.api.dispatch import Dispatcher
from xinfer.api.latency import Latency
from xinfer.batching.work import WorkItem
from xinfer.cluster.ids import ReplicaId
from xinfer.errors import EngineError, ReplicaLost
from xinfer.routing.pending import BULK, PendingRequest, ShardTrace
from xinfer.routing.tokens import Size


def trace(queue: float) -> ShardTrace:
    return ShardTrace(ReplicaId("a"), "h@0", 1, 1, 5, 5, 5, queue, 0.0, 0.0, 0.0, 0.1)


def test_each_shard_s_wait_and_the_whole_request_are_counted() -> None:
    latency = Latency()
    for arrived, waits in ((10.0, [0.02, 0.3]), (11.0, [0.02])):
        request = PendingRequest([(WorkItem("x"), Size(1, 0), 5)], lane=BULK, arrived=arrived)
        request.shards = [trace(wait) for wait in waits]
        latency.ended(request, 13.0)
    found = latency.histograms()
    assert (found["queue_seconds"].count, found["request_seconds"].count) == (3, 2)
    assert found["queue_seconds"].total == pytest.approx(0.34)
    assert found["request_seconds"].total == pytest.approx(5.0)
    assert dict(found["queue_seconds"].cumulative())["0.025"] == 2


async def test_the_dispatcher_counts_every_request_that_it_queued(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    replicas.auto = Call.ok
    results = await asyncio.gather(*(dispatcher.run(M, docs(3), request_id=str(n)) for n in range(5)))
    replicas.auto = lambda call: call.fail(EngineError("no"))
    with pytest.raises(EngineError):
        await dispatcher.run(M, docs(1))
    found = dispatcher.stats()["latency"]["m"]
    assert found["request_seconds"].count == 6
    assert found["queue_seconds"].count == sum(len(result.shards) for result in results)


async def test_why_names_the_replicas_that_failed_first(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    """One is lost, one fails, the third answers."""
    dispatcher.update_routes(table(route("a"), route("b"), route("c")))
    failures = [ReplicaLost("its process ended"), EngineError("it choked")]

    def answer(call: Call) -> None:
        if failures:
            call.fail(failures.pop(0))
        else:
            call.ok()

    replicas.auto = answer
    await dispatcher.run(M, docs(1), request_id="r", key="sk-secret")
    story = dispatcher.why("r")
    assert story is not None
    assert [attempt["error"] for attempt in story["attempts"]] == ["replica_lost", "engine_error"]
    assert [attempt["message"] for attempt in story["attempts"]] == ["its process ended", "it choked"]
    assert {attempt["replica_id"] for attempt in story["attempts"]} | {story["shards"][0]["replica_id"]} == {"a", "b", "c"}
    assert (story["outcome"], story["attempt_count"], story["keyed"]) == ("ok", 2, True)
    assert [replica["replica_id"] for replica in story["replicas"]] == ["a", "b", "c"]
    assert "sk-secret" not in str(story)


async def test_calls_that_are_lost_with_their_replica_are_attempts_too(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    """Two shards in flight there; only one of the calls has heard of it."""
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(20), request_id="r"))
    await replicas.until(lambda: len(replicas.calls) == 2)
    replicas.calls[0].fail(ReplicaLost("its process ended"))
    dispatcher.update_routes(table(route("a"), route("b"), version=2))
    replicas.auto = Call.ok
    await running
    story = dispatcher.why("r")
    assert story is not None
    assert [(attempt["replica_id"], attempt["error"]) for attempt in story["attempts"]] == [("a", "replica_lost")] * 2
