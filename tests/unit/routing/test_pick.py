"""Load, window and pick."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from xinfer.batching.work import BatchTrace, ShardResult, WorkItem
from xinfer.cluster.ids import Address, Epoch, ReplicaId
from xinfer.cluster.routes import Route
from xinfer.routing.load import Flight, ReplicaLoad
from xinfer.routing.pending import PendingRequest
from xinfer.routing.pick import pick
from xinfer.routing.shards import share
from xinfer.routing.speeds import speeds
from xinfer.routing.tokens import Size


def load(name: str, speed: float = 1000.0, budget: int = 1000) -> ReplicaLoad:
    return ReplicaLoad(Route(ReplicaId(name), Epoch(1), f"{name}@1", Address("a:1"), speed, budget, name))


def flown(where: ReplicaLoad, tokens: int, now: float = 0.0, urgent: bool = False) -> Flight:
    request = PendingRequest([(WorkItem("x"), Size(tokens, 0), tokens)], lane="bulk", arrived=0.0)
    flight = Flight(where, request.items, tokens, now, urgent)
    where.send(flight)
    return flight


def test_least_time_to_finish_wins_not_least_tokens() -> None:
    fast, slow = load("fast", 4000.0), load("slow", 1000.0)
    flown(fast, 1000)
    assert pick([fast, slow], 500, random.Random(1), 0.0)[0] is fast
    assert pick([fast, slow], 100, random.Random(1), 0.0)[0] is slow


def test_slowdown_counts_and_an_unknown_speed_is_the_median() -> None:
    a, b, c = load("a", 1000.0), load("b", 3000.0), load("c", 0.0)
    b.slowdown = 2.0
    assert speeds([a, b, c]) == [1000.0, 1500.0, 1500.0]
    assert speeds([c, c]) == [1.0, 1.0]


def test_ties_fall_by_dice() -> None:
    loads = [load("a"), load("b")]
    dice = random.Random(2)
    counts = Counter(pick(loads, 10, dice, 0.0)[0].route.replica_id for _ in range(400))
    assert min(counts.values()) > 150


@pytest.mark.parametrize(("count", "two", "compared"), [(16, False, 16), (17, False, 2), (5, True, 2)])
def test_full_scan_up_to_sixteen_then_two(count: int, two: bool, compared: int) -> None:
    loads = [load(str(n)) for n in range(count)]
    dice = random.Random(3)
    _, scored = pick(loads, 10, dice, 0.0, two=two)
    assert len({each.route.replica_id for each, _ in scored}) == compared
    drawn = {pick(loads, 10, dice, 0.0, two=two)[0].route.replica_id for _ in range(600)}
    assert len(drawn) == count


def test_window_of_two_shards_shared_by_api_processes() -> None:
    replica = load("a")
    assert replica.room(1, 0.0) == 1000
    first = flown(replica, 1000)
    assert replica.room(1, 0.0) == 1000
    assert replica.room(2, 0.0) == 0
    flown(replica, 900)
    assert replica.room(1, 0.0) == 0
    replica.returned(first, 1.0)
    assert replica.room(1, 1.0) == 1000
    assert load("b").room(4, 0.0) == 500


def answered(where: ReplicaLoad, flight: Flight, now: float, **fields: Any) -> None:
    """An answer of that flight."""
    where.returned(flight, now)
    rows = len(flight.items)
    where.succeeded(flight, ShardResult(np.zeros(rows, np.float32), np.ones(rows, np.int32), np.zeros(rows, bool), **fields))


def test_interactive_shards_have_a_window_of_their_own() -> None:
    replica = load("a")
    flown(replica, 1000)
    flown(replica, 1000)
    assert replica.room(1, 0.0) == 0
    assert replica.room(1, 0.0, urgent=True) == 1000
    flown(replica, 300, urgent=True)
    assert replica.room(1, 0.0, urgent=True) == 1000
    flown(replica, 100, urgent=True)
    assert replica.room(1, 0.0, urgent=True) == 0


def test_an_interactive_shard_waits_for_the_running_one_and_its_own_kind_only() -> None:
    replica = load("a", speed=1000.0)
    flown(replica, 1000)
    flown(replica, 900)
    flown(replica, 50, urgent=True)
    assert replica.remaining(0.4) == pytest.approx(1550)
    assert replica.remaining(0.4, urgent=True) == pytest.approx(650)


def test_a_shard_of_two_batches_has_a_window_of_four() -> None:
    replica = load("a")
    assert replica.room(1, 0.0, batches=2) == 2000
    flown(replica, 2000)
    assert replica.room(1, 0.0) == 0
    assert replica.room(1, 0.0, batches=2) == 2000
    flown(replica, 1900)
    assert replica.room(1, 0.0, batches=2) == 0


def test_interactive_work_waits_for_one_batch_of_a_shard_of_two() -> None:
    replica = load("a", speed=1000.0)
    flown(replica, 2000)
    assert replica.remaining(0.4, urgent=True) == pytest.approx(1000)
    assert replica.remaining(1.4, urgent=True) == pytest.approx(600)


def test_an_answer_teaches_the_budget() -> None:
    replica = load("a")
    answered(replica, flown(replica, 1000), 1.0, budget_tokens=440)
    assert replica.budget == 440
    assert replica.room(1, 1.0) == 440


def test_what_other_api_processes_leave_unused_may_be_used() -> None:
    replica = load("a")
    first, _ = flown(replica, 400), flown(replica, 100)
    answered(replica, first, 1.0, budget_tokens=1000, queued_tokens=100)  # nothing but ours
    assert replica.room(4, 1.0) == 1000
    second = flown(replica, 900)
    answered(replica, second, 2.0, budget_tokens=1000, queued_tokens=1900)
    assert replica.room(4, 2.0) == 0  # one shard each while the others keep it busy
    empty = load("b")
    answered(empty, flown(empty, 100), 1.0, budget_tokens=1000, queued_tokens=1800)
    assert empty.room(4, 1.0) == 500


def test_busy_closes_until_a_reply_or_for_a_moment() -> None:
    replica = load("a")
    first = flown(replica, 100)
    replica.busy(1.0)
    assert replica.room(1, 1.01) == 0
    assert replica.room(1, 1.06) > 0
    replica.busy(2.0)
    replica.returned(first, 2.01)
    assert replica.room(1, 2.01) == 1000


def test_remaining_shrinks_with_time_but_never_vanishes() -> None:
    replica = load("a", speed=1000.0)
    flown(replica, 1000, now=5.0)
    flown(replica, 500, now=5.0)
    assert replica.remaining(5.0) == 1500
    assert replica.remaining(5.5) == pytest.approx(1000)
    assert replica.remaining(60.0) == pytest.approx(600)


def test_an_answer_teaches_slowdown_and_rate() -> None:
    replica = load("a", speed=0.0)
    flight = flown(replica, 100)
    replica.returned(flight, 1.0)
    trace = BatchTrace(1, 100, 100, 90, 0.1)
    result = ShardResult(
        np.zeros(1, np.float32), np.array([90], np.int32), np.zeros(1, bool), batches=(trace,), slowdown=2.0, busy_seconds=7.0
    )
    replica.succeeded(flight, result)
    assert replica.measured == pytest.approx(1000.0)
    assert (replica.slowdown, replica.counters.tokens, replica.counters.busy_seconds) == (2.0, 90, 7.0)


def test_share_lets_all_end_together() -> None:
    # 900 waiting, 300 and 0 under way, twice the speed: everything ends after 1200/3 seconds
    assert share(900, 300, 300, 2, 3) == pytest.approx(500)
    assert share(900, 0, 300, 1, 3) == pytest.approx(400)
    assert share(10, 1000, 1000, 1, 2) < 0
