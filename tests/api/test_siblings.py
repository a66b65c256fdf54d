"""How many API processes there are decides how much of a replica each may use."""

from __future__ import annotations

import asyncio

from tests.api.event_replicas import FakeReplicas, M, docs, route, table
from xinfer.actors.refs import ApiRef, SupervisorRef
from xinfer.api.dispatch import Dispatcher
from xinfer.api.siblings import ApiSiblings
from xinfer.cluster.ids import Address
from xinfer.errors import SupervisorUnreachable
from xinfer.settings import Limits, Timings


class Supervisor(SupervisorRef):
    """Says what the test has put there, then that it is away."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    async def api_processes(self) -> tuple[Address, ...]:
        if not self.answers:
            raise SupervisorUnreachable("away")
        return tuple(Address(f"127.0.0.1:{n}") for n in range(self.answers.pop(0)))


async def test_the_last_count_stays_while_the_supervisor_is_away() -> None:
    told: list[int] = []
    watching = asyncio.create_task(ApiSiblings(Supervisor(3, 0, 2), Address("127.0.0.1:0")).watch(told.append, every=0.0))
    while len(told) < 3:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    watching.cancel()
    assert told == [3, 1, 2]


async def test_a_dispatcher_left_alone_uses_the_whole_window() -> None:
    replicas = FakeReplicas()
    dispatcher = Dispatcher(replicas, limits=Limits(), timings=Timings(), api_processes=4)
    dispatcher.update_routes(table(route("a")))
    dispatcher.share_with(9)  # restarts leave addresses behind for a while: never more than there were to be
    running = asyncio.create_task(dispatcher.run(M, docs(8), lane="bulk"))
    await replicas.until(lambda: len(replicas.calls) == 1)
    assert len(replicas.calls[0].items) == 2  # half a budget
    dispatcher.share_with(1)
    replicas.calls[0].ok()
    await replicas.until(lambda: len(replicas.calls) == 2)
    assert [len(call.items) for call in replicas.calls] == [4, 2]
    for call in list(replicas.calls):
        call.ok()
    await running
    await dispatcher.close()


async def test_an_abort_is_for_the_same_key_in_every_process() -> None:
    asked: list[tuple[str, str | None]] = []

    class Process(ApiRef):
        async def abort(self, request_id: str, owner: str | None = None) -> int:
            asked.append((request_id, owner))
            return 1

    class Two(ApiSiblings):
        async def _refs(self) -> list[ApiRef]:
            return [Process(Address("127.0.0.1:1")), Process(Address("127.0.0.1:2"))]

    siblings = Two(Supervisor(), Address("127.0.0.1:0"))
    assert await siblings.abort("mine", "key") == 2
    assert await siblings.abort("mine") == 2
    assert asked == [("mine", "key")] * 2 + [("mine", None)] * 2
