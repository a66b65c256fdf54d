"""The memory of recent requests: bounded, without their texts, by id."""

from __future__ import annotations

import gc
import json
import weakref

import pytest

from xinfer.api import stories
from xinfer.api.stories import Stories
from xinfer.batching.work import BatchTrace, WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import DeadlineExceeded
from xinfer.routing.pending import BULK, FailedAttempt, PendingRequest, ShardTrace
from xinfer.routing.tokens import Size

M = ModelUid("m")
CANDIDATES = ((ReplicaId("a"), 0.5), (ReplicaId("b"), 0.7))
BATCHES = (BatchTrace(2, 9, 18, 16, 0.1), BatchTrace(1, 5, 5, 5, 0.1))
TRACE = ShardTrace(
    ReplicaId("a"),
    "host@0",
    items=1,
    shard_items=3,
    tokens=7,
    shard_tokens=21,
    estimated_tokens=24,
    queue_seconds=0.1,
    wait_seconds=0.05,
    tokenize_seconds=0.02,
    compute_seconds=0.2,
    total_seconds=0.3,
    oom_splits=1,
    batch_count=2,
    batches=BATCHES,
    candidates=CANDIDATES,
)


SPEC = ModelSpec(name="m", type=ModelType.RERANK, engine="e", sources=(LocalSource(path="/m"),))
SECRET = "sk-do-not-tell"


def routes(count: int) -> ModelRoutes:
    each = [
        Route(ReplicaId(f"r{n}"), Epoch(3), f"r{n}@3", Address("10.0.0.1:1"), speed=900.0, budget_tokens=512, slot="h@0")
        for n in range(count)
    ]
    return ModelRoutes(M, SPEC, tuple(each))


def request(name: str, shards: int = 0) -> PendingRequest:
    made = PendingRequest(
        [(WorkItem("x"), Size(1, 0), 5), (WorkItem("y"), Size(1, 0), 6)], lane=BULK, arrived=10.0, request_id=name, key=SECRET
    )
    made.shards = [TRACE] * shards
    return made


def test_a_story_while_it_runs_and_afterwards() -> None:
    known, running = Stories(), request("r", 1)
    known.begin(M, running)
    told = known.tell("r", 11.0)
    assert told is not None
    assert (told["outcome"], told["seconds"], told["estimated_tokens"], told["items"]) == ("running", 1.0, 11, 2)
    assert told["shards"][0]["candidates"] == [
        {"replica_id": "a", "score": 0.5, "won": True},
        {"replica_id": "b", "score": 0.7, "won": False},
    ]
    running.error = DeadlineExceeded("too late")
    known.end(M, running, 12.0)
    told = known.tell("r", 99.0)
    assert told is not None
    assert (told["outcome"], told["message"], told["seconds"], told["shard_count"]) == ("deadline_exceeded", "too late", 2.0, 1)
    assert known.tell("other", 0.0) is None


def test_a_shard_is_told_with_its_batches_and_where_its_time_went() -> None:
    known, running = Stories(), request("r", 1)
    running.truncated[1] = True
    known.begin(M, running, routes(2))
    known.end(M, running, 12.0)
    told = known.tell("r", 99.0)
    assert told is not None
    (shard,) = told["shards"]
    assert shard["batches"][0] == {"items": 2, "longest": 9, "padded_tokens": 18, "real_tokens": 16, "seconds": 0.1}
    assert (shard["padded_tokens"], shard["estimated_tokens"], shard["shard_tokens"], shard["batch_count"]) == (23, 24, 21, 2)
    assert (shard["oom_splits"], told["truncated"]) == (1, 1)
    spent = [shard[f"{part}_seconds"] for part in ("wait", "tokenize", "compute", "network")]
    assert sum(spent) == pytest.approx(shard["total_seconds"])
    assert told["replicas"][1] == {"replica_id": "r1", "epoch": 3, "slot": "h@0", "speed": 900.0, "budget_tokens": 512}


def test_the_key_is_not_told() -> None:
    known, running = Stories(), request("r", 1)
    known.begin(M, running, routes(2))
    for now in (11.0, 12.0):
        told = known.tell("r", now)
        assert told is not None
        assert told["keyed"] is True
        assert SECRET not in json.dumps(told)
        known.end(M, running, now)


def test_failed_attempts_are_told() -> None:
    known, running = Stories(), request("r")
    running.failures = 20
    running.attempts = [FailedAttempt(ReplicaId("a"), "host@0", 2, 0.1, 0.5, "replica_lost", "gone")]
    known.begin(M, running)
    told = known.tell("r", 11.0)
    assert told is not None
    assert told["attempt_count"] == 20
    assert told["attempts"][0]["error"] == "replica_lost"
    assert told["attempts"][0]["replica_id"] == "a"


class Mark:
    """Requests and items cannot be watched by weak reference; this can."""


def test_texts_are_let_go_when_a_request_ends() -> None:
    known, running, mark = Stories(), request("r"), Mark()
    watched = weakref.ref(mark)
    running.meta["mark"] = mark
    known.begin(M, running)
    known.end(M, running, 12.0)
    del running, mark
    gc.collect()
    assert watched() is None


def test_the_ring_is_bounded_in_stories_and_in_their_parts() -> None:
    known = Stories()
    for number in range(stories.MOST + 10):
        known.begin(M, request(str(number)))
    assert known.tell("9", 0.0) is None
    assert known.tell("10", 0.0) is not None
    known = Stories()
    for number in range(200):
        large = request(str(number), 100)
        known.begin(M, large, routes(100))
        known.end(M, large, 11.0)
    kept = [told for number in range(200) if (told := known.tell(str(number), 0.0))]
    parts = sum(1 + len(shard["batches"]) + len(shard["candidates"]) for told in kept for shard in told["shards"])
    each = stories.SHARDS_EACH * (1 + len(BATCHES) + len(CANDIDATES))
    assert stories.PARTS_IN_ALL - each < parts <= stories.PARTS_IN_ALL
    assert (kept[-1]["shard_count"], len(kept[-1]["shards"])) == (100, stories.SHARDS_EACH)
    assert (kept[-1]["replica_count"], len(kept[-1]["replicas"])) == (100, stories.REPLICAS_EACH)
    for number in range(200):  # what is forgotten gives its room back
        known.begin(M, request(str(number)))
    assert known._parts == 0


def test_of_two_requests_with_one_id_the_later_is_told() -> None:
    known, first, second = Stories(), request("r"), request("r", 1)
    known.begin(M, first)
    known.begin(M, second)
    known.end(M, first, 11.0)
    told = known.tell("r", 11.0)
    assert told is not None
    assert told["outcome"] == "running"


def test_requests_without_an_id_are_not_kept() -> None:
    known, nameless = Stories(), request("")
    known.begin(M, nameless)
    known.end(M, nameless, 11.0)
    assert known.tell("", 11.0) is None
