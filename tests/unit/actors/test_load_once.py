"""A replica loads once, whoever asks how often: a worker that took up new code asks again."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.nouns import replica, spec
from xinfer.actors.messages import Loaded
from xinfer.actors.replica import ReplicaActor
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.replica import Assignment
from xinfer.errors import LaunchFailed


@pytest.fixture
def actor() -> ReplicaActor:
    return ReplicaActor(Assignment(replica("m"), spec()), DeviceKind.CPU, 1, "/nowhere")


async def test_all_who_ask_hear_of_the_one_load(actor: ReplicaActor, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Loaded] = []
    go_on = asyncio.Event()

    async def load() -> Loaded:
        loads.append(Loaded((), 0.0, 0))
        await go_on.wait()
        return loads[-1]

    monkeypatch.setattr(actor, "_load", load)
    first, second = asyncio.create_task(actor.load()), asyncio.create_task(actor.load())
    await asyncio.sleep(0)
    first.cancel()  # its worker is gone
    await asyncio.wait({first})
    go_on.set()
    assert await second is loads[0]
    assert await actor.load() is loads[0]
    assert len(loads) == 1


async def test_all_who_ask_hear_why_it_failed(actor: ReplicaActor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def load() -> Loaded:
        raise ValueError("three wheels")

    monkeypatch.setattr(actor, "_load", load)
    for _ in range(2):
        with pytest.raises(LaunchFailed, match="ValueError: three wheels"):
            await actor.load()
