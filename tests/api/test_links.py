"""The route poll, and the references to replicas."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.api.event_replicas import route, table
from xinfer.actors.refs import SupervisorRef
from xinfer.api import links
from xinfer.api.links import ReplicaCalls, poll_routes
from xinfer.cluster.ids import Address, Epoch
from xinfer.cluster.routes import RouteTable
from xinfer.errors import EngineError, SupervisorUnreachable


class FakeSupervisor:
    """Answers the poll with what the test has laid out; waits for ever once that is used up."""

    def __init__(self, *answers: RouteTable | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Epoch, int]] = []
        self.used_up = asyncio.Event()

    async def routes(self, epoch: Epoch, version: int, wait: float, asker: Address | None = None) -> RouteTable | None:
        self.asked.append((epoch, version))
        if not self.answers:
            self.used_up.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_poll_outlives_every_failure_of_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "RETRY_FIRST", 0.001)
    known = [RouteTable()]
    first, second = table(route("a"), version=1), table(route("b"), version=2)
    supervisor = FakeSupervisor(first, SupervisorUnreachable("away"), EngineError("of another kind"), ValueError("a bug"), None, second)
    polling = asyncio.create_task(poll_routes(cast(SupervisorRef, supervisor), lambda: known[-1], known.append))
    async with asyncio.timeout(5):
        await supervisor.used_up.wait()
    polling.cancel()
    assert known[1:] == [first, second]
    assert [version for _, version in supervisor.asked] == [-1, 1, 1, 1, 1, 1, 2]


async def test_an_older_table_of_the_same_supervisor_is_left_out_and_another_supervisors_is_taken() -> None:
    known = [replace(table(version=7), epoch=Epoch(5))]
    older, newer, other = (replace(table(version=v), epoch=Epoch(e)) for e, v in ((5, 6), (5, 8), (1, 0)))
    supervisor = FakeSupervisor(older, newer, other)
    polling = asyncio.create_task(poll_routes(cast(SupervisorRef, supervisor), lambda: known[-1], known.append))
    async with asyncio.timeout(5):
        await supervisor.used_up.wait()
    polling.cancel()
    assert known[1:] == [newer, other]


async def test_references_live_as_long_as_their_replicas() -> None:
    calls = ReplicaCalls()
    old, new, other = (calls._ref(route(name, epoch)) for name, epoch in (("a", 1), ("a", 2), ("b", 1)))
    assert old is not new
    calls.keep(table(route("a", epoch=2), route("b")))
    kept: dict[str, Any] = calls._refs
    assert kept == {"a@2": new, "b@1": other}
    assert calls._ref(route("a", epoch=2)) is new
