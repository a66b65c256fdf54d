"""The open call to each worker: its end is told once, of the registration it was held for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.unit.control.clusters import worker
from xinfer.actors.links import Links
from xinfer.actors.refs import WorkerRef
from xinfer.cluster.ids import Address, Epoch, WorkerId
from xinfer.cluster.worker import Worker
from xinfer.errors import DeadlineExceeded, WorkerNotFound, XinferError


class Peer(WorkerRef):
    """A worker whose calls end as the test says."""

    def __init__(self) -> None:
        self.asked = 0
        self.ends: asyncio.Queue[XinferError | None] = asyncio.Queue()

    async def stay(self) -> None:
        self.asked += 1
        end = await self.ends.get()
        if end is not None:
            raise end


class Ground:
    def __init__(self) -> None:
        self.peers: dict[Address, Peer] = {}
        self.told: list[tuple[WorkerId, Epoch]] = []
        self.links = Links(self.peer, lambda *registration: self.told.append(registration))

    def peer(self, address: Address) -> Peer:
        return self.peers.setdefault(address, Peer())


def registered(epoch: int) -> Worker:
    return replace(worker("a"), epoch=Epoch(epoch))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_broken_link_is_told_once() -> None:
    ground = Ground()
    ground.links.hold(registered(3))
    peer = ground.peer(worker("a").address)
    await turns()
    assert ground.told == []
    await peer.ends.put(WorkerNotFound("gone"))
    await turns()
    assert ground.told == [("a", 3)]
    assert peer.asked == 1


async def test_a_call_that_ends_by_itself_is_made_again() -> None:
    ground = Ground()
    ground.links.hold(registered(3))
    peer = ground.peer(worker("a").address)
    for end in (None, DeadlineExceeded("late"), None):
        await peer.ends.put(end)
    await turns()
    assert (peer.asked, ground.told) == (4, [])
    ground.links.close()


async def test_of_an_earlier_registration_nothing_is_told() -> None:
    ground = Ground()
    ground.links.hold(registered(3))
    peer = ground.peer(worker("a").address)
    await turns()
    ground.links.hold(registered(4))
    await turns()
    assert peer.asked == 2
    await peer.ends.put(WorkerNotFound("gone"))
    await turns()
    assert ground.told == [("a", 4)]


async def test_closed_it_tells_nothing() -> None:
    ground = Ground()
    ground.links.hold(registered(3))
    await turns()
    ground.links.close()
    await ground.peer(worker("a").address).ends.put(WorkerNotFound("gone"))
    await turns()
    assert ground.told == []
