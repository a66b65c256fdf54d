"""The item queue: order, lanes, fairness between keys, bounds, and nothing lost or doubled."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.work import WorkItem
from xinfer.errors import TooManyRequests
from xinfer.routing.pending import BULK, INTERACTIVE, PendingItem, PendingRequest
from xinfer.routing.queue import Group, ItemQueue
from xinfer.routing.tokens import Size
from xinfer.settings import Limits

MANY = 10**9


def request(tokens: Sequence[int], key: str = "", lane: str = BULK) -> PendingRequest:
    return PendingRequest([(WorkItem("x"), Size(n, 0), n) for n in tokens], lane=lane, arrived=0.0, key=key)


def pushed(queue: ItemQueue, tokens: Sequence[int], key: str = "", lane: str = BULK) -> PendingRequest:
    made = request(tokens, key, lane)
    queue.push(made, 0.0)
    return made


def take(queue: ItemQueue, cap: int, padding: int) -> list[PendingItem]:
    turn = queue.turn()
    return queue.take(turn[0], cap, padding) if turn else []


def drained(queue: ItemQueue, cap: int = 1) -> list[PendingItem]:
    out = []
    while taken := take(queue, cap, cap):
        out += taken
    return out


def test_the_oldest_request_leads_and_neighbours_in_length_come_along() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    first = pushed(queue, [10, 100])
    second = pushed(queue, [98, 11, 300])
    taken = take(queue, 250, 50)
    assert taken == [first.items[1], second.items[0]]
    assert take(queue, 50, 50) == [first.items[0], second.items[1]]
    assert take(queue, 50, 50) == [second.items[2]]  # one item always goes
    assert take(queue, 50, 50) == []


def test_interactive_goes_first_and_lanes_do_not_mix() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    bulk = pushed(queue, [50, 50])
    small = pushed(queue, [50], lane=INTERACTIVE)
    assert take(queue, 1000, 1000) == small.items
    assert take(queue, 1000, 1000) == bulk.items


def test_bulk_has_a_turn_after_eight_interactive_shards() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    bulk = pushed(queue, [50] * 2)
    pushed(queue, [50] * 30, lane=INTERACTIVE)
    order = [take(queue, 50, 50)[0].request is bulk for _ in range(18)]
    assert [turn for turn, was_bulk in enumerate(order) if was_bulk] == [8, 17]
    pushed(queue, [50])
    assert not any(take(queue, 50, 50)[0].request.lane == BULK for _ in range(8))  # the count begins anew


def test_a_shard_is_chosen_from_the_oldest_requests_only() -> None:
    queue = ItemQueue(MANY, MANY, 110)
    first, second, third = (pushed(queue, [10, 100]) for _ in range(3))
    assert take(queue, 1000, 0) == [first.items[1]]  # worth 110: the others are not in the pool yet
    assert take(queue, 1000, 0) == [first.items[0], second.items[0]]
    assert take(queue, 1000, 0) == [second.items[1], third.items[1]]
    queue.drop(third)
    assert (queue.items, queue.tokens) == (0, 0)


def test_the_pool_fills_from_behind_when_its_requests_are_dropped() -> None:
    queue = ItemQueue(MANY, MANY, 1)
    first, second, third = (pushed(queue, [20]) for _ in range(3))
    queue.drop(second)
    queue.drop(first)
    assert drained(queue) == third.items


def test_every_key_has_a_pool_of_its_own() -> None:
    queue = ItemQueue(MANY, MANY, 1)
    one, other = pushed(queue, [20], key="a"), pushed(queue, [20], key="b")
    assert take(queue, 100, 0) == [*one.items, *other.items]


def test_padding_bounds_a_shard_where_nothing_is_near() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    lead = pushed(queue, [500])
    pushed(queue, [20] * 50)
    assert take(queue, 2048, 256) == lead.items


def test_what_comes_back_stands_at_the_head() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    first, second = pushed(queue, [10, 20]), pushed(queue, [15])
    taken = take(queue, 20, 20)
    assert taken == [first.items[1]]
    queue.push_back(taken)
    queue.push_back(take(queue, 20, 20))
    assert drained(queue) == [first.items[1], first.items[0], second.items[0]]


@pytest.mark.parametrize("sizes", [(100, 100), (30, 200)])
def test_two_keys_get_equal_tokens_whatever_their_lengths(sizes: tuple[int, int]) -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    for _ in range(20):
        pushed(queue, [sizes[0]] * 100, key="many")
    pushed(queue, [sizes[1]] * 60, key="few")
    served: Counter[str] = Counter()
    while served["few"] < 40 * sizes[1]:
        for item in take(queue, 1000, 125):
            served[item.request.key] += item.tokens
    assert served["many"] / served["few"] == pytest.approx(1.0, abs=0.3)


def test_a_key_that_was_away_has_neither_credit_nor_debt() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    pushed(queue, [100] * 200, key="steady")
    for _ in range(10):
        take(queue, 1000, 125)
    pushed(queue, [100] * 200, key="late")
    served: Counter[str] = Counter()
    for _ in range(10):
        served.update(item.request.key for item in take(queue, 1000, 125))
    assert served["steady"] >= 35


def test_bounds_say_when_to_come_back_and_spare_an_empty_queue() -> None:
    queue = ItemQueue(2, 1000, 1000)
    pushed(queue, [5000])  # alone: always admitted
    with pytest.raises(TooManyRequests) as caught:
        queue.push(request([1]), 1000.0)
    assert caught.value.retry_after == pytest.approx(5.0)
    for speed, wait in ((10.0, 30.0), (1e9, 1.0)):
        with pytest.raises(TooManyRequests) as caught:
            queue.push(request([1]), speed)
        assert caught.value.retry_after == wait
    queue = ItemQueue(2, 1000, 1000)
    pushed(queue, [1])
    pushed(queue, [1])
    with pytest.raises(TooManyRequests):
        queue.push(request([1]), 0.0)
    assert (queue.items, queue.tokens) == (2, 2)


def test_dropping_reaches_the_lanes_and_ready_made_shards() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    gone, stays = pushed(queue, [10, 20, 30]), pushed(queue, [12])
    taken = take(queue, 30, 0)
    queue.push_again(Group([*taken, *take(queue, 20, 0)]))
    assert queue.drop(gone) == 3
    assert (queue.items, queue.tokens, queue.requests, list(queue.again)) == (1, 12, (stays,), [])
    assert queue.drop(gone) == 0
    assert drained(queue) == stays.items


steps = st.lists(st.tuples(st.sampled_from(["push", "take", "back", "again", "take_again", "drop"]), st.integers(0, 10**6)), max_size=60)


@given(steps, st.sampled_from([1, 100, 1000, MANY]))
def test_no_item_is_lost_or_doubled(history: list[tuple[str, int]], pool: int) -> None:
    queue = ItemQueue(MANY, MANY, pool)
    waiting: set[PendingItem] = set()
    flying: list[PendingItem] = []
    requests: list[PendingRequest] = []
    for step, number in history:
        dice = random.Random(number)
        if step == "push":
            tokens = [dice.choice([5, 6, 7, 50, 400]) for _ in range(dice.randint(1, 12))]
            requests.append(pushed(queue, tokens, dice.choice("ab"), dice.choice([BULK, INTERACTIVE])))
            waiting |= set(requests[-1].items)
        elif step == "take":
            taken = take(queue, dice.choice([1, 20, 500]), dice.choice([0, 60, 500]))
            assert len(set(taken)) == len(taken)
            assert set(taken) <= waiting
            waiting -= set(taken)
            flying += taken
        elif step == "back":
            queue.push_back(flying)
            waiting |= set(flying)
            flying = []
        elif step == "again" and flying:
            queue.push_again(Group(flying))
            waiting |= set(flying)
            flying = []
        elif step == "take_again" and queue.again:
            taken = list(queue.take_again(queue.again[0]))
            waiting -= set(taken)
            flying += taken
        elif step == "drop" and requests:
            request = dice.choice(requests)
            queue.drop(request)
            waiting -= set(request.items)
            flying = [item for item in flying if item.request is not request]
        assert queue.items == len(waiting)
        assert queue.tokens == sum(item.tokens for item in waiting)
        assert set(queue.requests) == {item.request for item in waiting}
    while queue.again:
        waiting -= set(queue.take_again(queue.again[0]))
    assert Counter(drained(queue, 100)) == Counter(waiting)


def calls_per_document(requests: int) -> float:
    """Of Python functions, to queue requests of 40 documents and take them all."""
    dice = random.Random(1)
    queue = ItemQueue(MANY, MANY, MANY)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for n in range(requests):
            pushed(queue, [dice.randint(20, 512) for _ in range(40)], key=str(n % 3))
        while take(queue, 2048, 256):
            pass
    finally:
        sys.setprofile(None)
    return calls / (40 * requests)


def test_a_document_costs_the_same_however_many_wait() -> None:
    assert calls_per_document(500) < 1.3 * calls_per_document(50)


def test_bulk_work_whose_turn_it_is_is_urgent_once() -> None:
    queue = ItemQueue(MANY, MANY, MANY)
    pushed(queue, [50] * 3)
    assert queue.turn() == (BULK, False)
    pushed(queue, [50] * 20, lane=INTERACTIVE)
    for _ in range(8):
        assert queue.turn() == (INTERACTIVE, True)
        take(queue, 50, 50)
    assert queue.turn() == (BULK, True)
    take(queue, 50, 50)
    assert queue.turn() == (INTERACTIVE, True)


def test_a_burst_of_600_requests_is_never_refused() -> None:
    limits = Limits()
    queue = ItemQueue(limits.queued_requests, limits.queued_tokens, 16 * 2048)
    for _ in range(600):
        pushed(queue, [150] * 20)
    assert queue.items == 12_000


def test_retry_after_is_the_time_that_what_waits_will_take() -> None:
    queue = ItemQueue(MANY, 1000, MANY)
    queue.push(request([5000]), 100.0)  # one alone is always admitted
    with pytest.raises(TooManyRequests) as refused:
        queue.push(request([10]), 500.0)
    assert refused.value.retry_after == 10.0
    with pytest.raises(TooManyRequests) as refused:
        queue.push(request([10]), 10.0)
    assert refused.value.retry_after == 30.0
