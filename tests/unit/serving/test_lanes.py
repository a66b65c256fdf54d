"""Interactive shards at the replica: they run between two batches of bulk work, which is neither cut nor starved."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.serving.fakes import FakeModel, calibration, item
from tests.unit.serving.gate import Gate
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.compute import ComputeThread
from xinfer.serving.server import ModelServer

pytestmark = pytest.mark.timeout(60)


async def queued(server: ModelServer, tokens: int) -> None:
    """Wait until so many tokens are through the tokeniser."""
    while server.stats().queued_tokens < tokens:
        await asyncio.sleep(0.001)


def server_with(gate: Gate, budget: int) -> tuple[ModelServer, FakeModel]:
    model = FakeModel(before=gate)
    return ModelServer(model, ModelKind(pairs=True), calibration(budget), ComputeThread()), model


async def test_an_urgent_shard_runs_before_older_ones_that_wait() -> None:
    gate = Gate()
    server, model = server_with(gate, budget=4)
    running = asyncio.create_task(server.run((item("a b c d"),)))
    await gate.reached()
    waiting = asyncio.create_task(server.run((item("e f g h"),)))
    await queued(server, 8)
    urgent = asyncio.create_task(server.run((item("i"),), True))
    await queued(server, 9)
    gate.let(2)
    await urgent
    assert not waiting.done()
    gate.let(10)
    await asyncio.gather(running, waiting)
    assert model.forwards == [4, 1, 4]
    assert await server.close()


async def test_an_urgent_shard_runs_between_two_batches_of_one_bulk_shard() -> None:
    gate = Gate()
    server, model = server_with(gate, budget=4)
    five = tuple(item("a b c d") for _ in range(5))
    bulk = asyncio.create_task(server.run(five))
    await gate.reached()
    urgent = asyncio.create_task(server.run((item("i j"),), True))
    await queued(server, 22)
    gate.let(2)
    result = await urgent
    assert result.values.tolist() == [2.0]
    assert not bulk.done()
    gate.let(10)
    assert (await bulk).values.tolist() == [4.0] * 5
    assert model.forwards == [4, 2, 4, 4, 4, 4]
    assert await server.close()


async def test_urgent_work_without_end_leaves_bulk_its_turns() -> None:
    gate = Gate()
    server, model = server_with(gate, budget=4)
    three = tuple(item("a b c d") for _ in range(3))
    bulk = asyncio.create_task(server.run(three))
    await gate.reached()
    urgent = [asyncio.create_task(server.run((item("i j k"),), True)) for _ in range(12)]
    await queued(server, 12 + 36)
    gate.let(100)
    await asyncio.gather(bulk, *urgent)
    assert model.forwards == [4] + [3] * 8 + [4] + [3] * 4 + [4]
    assert await server.close()


async def test_the_answer_names_the_budget_in_force() -> None:
    model = FakeModel(most_tokens=20)
    server = ModelServer(model, ModelKind(pairs=True), calibration(64), ComputeThread())
    fresh = await server.run((item("a"),))
    assert fresh.budget_tokens == 64
    after = await server.run(tuple(item("w " * 10) for _ in range(6)))
    assert after.errors == ()
    assert after.budget_tokens < 20
    assert await server.close()
