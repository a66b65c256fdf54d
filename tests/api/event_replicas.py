"""Replicas that answer when the test says so, and the nouns around them, for tests of the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xinfer.api.dispatch import Dispatcher
from xinfer.api.results import RunResult
from xinfer.batching.work import ShardResult, WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route, RouteTable
from xinfer.errors import (
    XinferError,
)

SPEC = ModelSpec(name="m", type=ModelType.RERANK, engine="e", max_tokens=512, sources=(LocalSource(path="/m"),))
M = ModelUid("m")
LONG = 5.0


def value(item: WorkItem) -> float:
    return float(len(item.text))


def answer(items: tuple[WorkItem, ...], errors: tuple[tuple[int, XinferError], ...] = (), dim: int = 0) -> ShardResult:
    values = np.array([value(item) for item in items], dtype=np.float32)
    for row, _ in errors:
        values[row] = np.nan
    return ShardResult(
        np.stack([values] * dim, axis=1) if dim else values,
        np.array([len(item.text) // 4 for item in items], dtype=np.int32),
        np.array([len(item.text) > 2000 for item in items]),
        errors=errors,
        busy_seconds=1.5,
        meta={"dim": dim},
    )


@dataclass(eq=False)
class Call:
    route: Route
    items: tuple[WorkItem, ...]
    outcome: asyncio.Future[ShardResult]
    urgent: bool = False

    def ok(self, **more: Any) -> None:
        self.outcome.set_result(answer(self.items, **more))

    def fail(self, error: BaseException) -> None:
        self.outcome.set_exception(error)


@dataclass
class FakeReplicas:
    """Calls pile up in ``calls`` until the test answers them; with ``auto`` they are answered by it at once."""

    calls: list[Call] = field(default_factory=list)
    seen: list[Call] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    auto: Callable[[Call], None] | None = None
    probes: list[tuple[Route, asyncio.Future[bool]]] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)

    async def run(self, route: Route, items: tuple[WorkItem, ...], timeout: float, urgent: bool = False) -> ShardResult:
        call = Call(route, items, asyncio.get_running_loop().create_future(), urgent)
        self.calls.append(call)
        self.seen.append(call)
        self.most[route.uid] = max(self.most.get(route.uid, 0), sum(each.route == route for each in self.calls))
        self.arrived.set()
        try:
            if self.auto is not None:
                await asyncio.sleep(0)
                self.auto(call)
            return await call.outcome
        finally:
            self.calls.remove(call)

    async def probe(self, route: Route) -> bool:
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.probes.append((route, asked))
        self.arrived.set()
        return await asked

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, by events, until calls and probes are as the test needs them."""
        async with asyncio.timeout(LONG):
            while not condition():
                self.arrived.clear()
                await self.arrived.wait()

    def at(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.route.replica_id == name]


def route(name: str, epoch: int = 1, budget: int = 512) -> Route:
    return Route(ReplicaId(name), Epoch(epoch), f"{name}@{epoch}", Address("127.0.0.1:1"), 0.0, budget, f"host@{name}")


def table(*routes: Route, version: int = 1, starting: int = 0, was_ready: bool = True, failed: str = "") -> RouteTable:
    models = {M: ModelRoutes(M, SPEC, routes, starting=starting, was_ready=was_ready, failed=failed)}
    return RouteTable(Epoch(1), version, models)


def docs(count: int, size: int = 400) -> list[WorkItem]:
    return [WorkItem("x" * (size + n)) for n in range(count)]


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def zero(dispatcher: Dispatcher) -> bool:
    stats = dispatcher.stats()
    counted = [*stats["models"].values(), *stats["replicas"].values()]
    return all(not figures[key] for figures in counted for key in figures if key.startswith(("in_flight", "queued")))


def right(result: RunResult, items: list[WorkItem]) -> bool:
    return result.values.tolist() == [value(item) for item in items]
