"""The memory of recent requests: bounded, without their texts, by id."""

from __future__ import annotations

import gc
import weakref

from xinfer.api import stories
from xinfer.api.stories import Stories
from xinfer.batching.work import WorkItem
from xinfer.cluster.ids import ModelUid, ReplicaId
from xinfer.errors import DeadlineExceeded
from xinfer.routing.pending import BULK, PendingRequest, ShardTrace

M = ModelUid("m")
TRACE = ShardTrace(ReplicaId("a"), "host@0", 1, 2, 7, 20, 0.1, 0.0, 0.0, 0.2, 0.3, 1, ((ReplicaId("a"), 0.5), (ReplicaId("b"), 0.7)))


def request(name: str, shards: int = 0) -> PendingRequest:
    made = PendingRequest([(WorkItem("x"), 1, 5), (WorkItem("y"), 1, 6)], lane=BULK, arrived=10.0, request_id=name)
    made.shards = [TRACE] * shards
    return made


def test_a_story_while_it_runs_and_afterwards() -> None:
    known, running = Stories(), request("r", 1)
    known.begin(M, running)
    told = known.tell("r", 11.0)
    assert told is not None
    assert (told["outcome"], told["seconds"], told["estimated_tokens"], told["items"]) == ("running", 1.0, 11, 2)
    assert told["shards"][0]["candidates"] == [["a", 0.5], ["b", 0.7]]
    running.error = DeadlineExceeded("too late")
    known.end(M, running, 12.0)
    told = known.tell("r", 99.0)
    assert told is not None
    assert (told["outcome"], told["message"], told["seconds"], told["shard_count"]) == ("deadline_exceeded", "too late", 2.0, 1)
    assert known.tell("other", 0.0) is None


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


def test_the_ring_is_bounded_in_stories_and_in_shards() -> None:
    known = Stories()
    for number in range(stories.MOST + 10):
        known.begin(M, request(str(number)))
    assert known.tell("9", 0.0) is None
    assert known.tell("10", 0.0) is not None
    known = Stories()
    for number in range(200):
        large = request(str(number), 100)
        known.begin(M, large)
        known.end(M, large, 11.0)
    kept = [told for number in range(200) if (told := known.tell(str(number), 0.0))]
    assert sum(len(told["shards"]) for told in kept) == stories.SHARDS_IN_ALL
    assert kept[-1]["shard_count"] == 100


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
