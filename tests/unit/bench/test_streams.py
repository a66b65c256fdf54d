"""Closed and open loops, and answers looked at late."""

from __future__ import annotations

import asyncio

from xinfer.bench.connection import Sent, root
from xinfer.bench.load import Kind, Load, Request, request
from xinfer.bench.streams import Tally, closed_loop, open_loop

REQUESTS = [request(Load(model="ce", sizes=(1,)), number) for number in range(7)]
RIGHT = b'{"results": [{"index": 0, "relevance_score": 0.5}]}'


async def test_a_closed_loop_has_never_more_in_flight_than_clients_and_sends_each_once() -> None:
    flying = most = 0
    sent: list[int] = []

    async def send(each: Request, due: float) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        sent.append(each.number)
        flying -= 1

    await closed_loop(send, iter(REQUESTS), 3)
    assert most == 3
    assert sorted(sent) == list(range(7))


async def test_an_open_loop_waits_for_no_answer_and_counts_from_when_each_was_due() -> None:
    go = asyncio.Event()
    dues: list[float] = []

    async def send(each: Request, due: float) -> None:
        dues.append(due)
        if len(dues) == 3:
            go.set()
        await go.wait()  # the first would wait for ever if the third had to wait for it

    await open_loop(send, REQUESTS[:3], iter([0.0, 0.001, 0.002]), None)
    assert [round(due - dues[0], 6) for due in dues] == [0.0, 0.001, 0.002]


async def test_nothing_is_sent_after_the_end() -> None:
    sent: list[int] = []

    async def send(each: Request, due: float) -> None:
        sent.append(each.number)

    await open_loop(send, REQUESTS, iter([0.0, 0.001, 9.0, 9.1]), 1.0)
    assert sent == [0, 1]


def test_answers_are_kept_until_asked_for_but_not_without_bound() -> None:
    tally = Tally()
    for each in REQUESTS[:2]:
        tally.add(Sent(each, 0.0, 1.0, 200, RIGHT))
    tally.add(Sent(Request(9, Kind.RERANK, 2, b""), 0.0, 1.0, 200, RIGHT))
    assert [done.failure is None for done in tally.done()] == [True, True, False]
    assert len(tally.done()) == 3


def test_the_servers_root_is_found_in_any_spelling() -> None:
    assert {root(url) for url in ("http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/", "a:1")} == {"http://a:1"}
