"""What the supervisor's answer says must hold for the next request to the same process, however late the route poll is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.api.fakes import cluster
from xinfer.api.links import ReplicaCalls, SupervisorControl, catch_up, poll_routes
from xinfer.cluster.ids import Epoch, ModelUid
from xinfer.cluster.routes import RouteTable
from xinfer.cluster.routes_of import route_table
from xinfer.errors import SupervisorUnreachable

CE = ModelUid("ce")


def table(version: int, epoch: int = 1) -> RouteTable:
    """The routes of the usual cluster."""
    return replace(route_table(cluster()), epoch=Epoch(epoch), version=version)


class Supervisor:
    """Answers like SupervisorRef; its long poll is late until ``late`` is set."""

    def __init__(self) -> None:
        self.table = table(5)
        self.late: asyncio.Future[RouteTable] = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()
        self.away = False

    async def routes(self, epoch: Epoch, version: int, wait: float, *asker: object) -> RouteTable | None:
        if self.away:
            raise SupervisorUnreachable("away")
        if wait:
            self.asked.set()
            return await self.late
        return None if (epoch, version) == (self.table.epoch, self.table.version) else self.table

    async def wait_ready(self, model_uid: ModelUid, wait: float) -> bool:
        return True

    async def stop(self, model_uid: ModelUid, drain: bool) -> None:
        self.table = replace(self.table, version=self.table.version + 1, models={})


class Process:
    """The table of an API process; nothing but its links changes it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.table = RouteTable()
        self.adopted: asyncio.Queue[RouteTable] = asyncio.Queue()
        self.links = (supervisor, lambda: self.table, self.adopt)
        self.control = SupervisorControl(supervisor, ReplicaCalls(), lambda: self.table, self.adopt)  # type: ignore[arg-type]

    def adopt(self, table: RouteTable) -> None:
        self.table = table
        self.adopted.put_nowait(table)


async def test_once_told_ready_a_request_finds_the_model() -> None:
    """Its replicas, too."""
    process = Process(Supervisor())
    assert await process.control.wait_ready(CE, 10)
    assert process.table.version == 5
    assert process.table.models[CE].replicas


async def test_once_stopped_a_request_finds_it_no_more() -> None:
    """A stop answers when the deployment is gone."""
    process = Process(Supervisor())
    await catch_up(*process.links)  # type: ignore[arg-type]
    await process.control.stop(CE)
    assert process.table.models == {}


async def test_a_late_answer_to_the_poll_does_not_bring_the_past_back() -> None:
    """Asked before, answered after; a new life of the supervisor counts its versions anew."""
    supervisor = Supervisor()
    process = Process(supervisor)
    polling = asyncio.ensure_future(poll_routes(*process.links))  # type: ignore[arg-type]
    await supervisor.asked.wait()
    await catch_up(*process.links)  # type: ignore[arg-type]
    assert (await process.adopted.get()).version == 5
    for stale in (table(4), table(1, epoch=2)):
        supervisor.asked.clear()
        answered, supervisor.late = supervisor.late, asyncio.get_running_loop().create_future()
        answered.set_result(stale)
        await asyncio.wait_for(supervisor.asked.wait(), 10)
    assert (await process.adopted.get()).epoch == 2
    assert process.adopted.empty()
    polling.cancel()


async def test_a_supervisor_that_goes_away_in_between_does_not_undo_the_answer() -> None:
    """The model is ready; the poll will bring the routes."""
    supervisor = Supervisor()
    process = Process(supervisor)
    supervisor.away = True
    assert await process.control.wait_ready(CE, 10)
