"""Replicas of a language model that only sleeps, in this process: real generators, no transport between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.sleeper import Sleeper, SleeperEngine
from xinfer.catalog.spec import LlmTraits, LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route, RouteTable
from xinfer.engines.base import LoadContext
from xinfer.errors import DeadlineExceeded, ReplicaLost
from xinfer.generation.job import Emission, GenerationJob
from xinfer.serving.generator import Generator

TRAITS = LlmTraits(context_tokens=1000, tools="marked", reasoning="marked")
SPEC = ModelSpec(
    name="sleeper", type=ModelType.LLM, engine="sleeper", max_tokens=1000, sources=(LocalSource(path="/m"),), llm=TRAITS, format="gguf"
)
M = ModelUid("chat")


@dataclass
class SleepingReplicas:
    """The way to them, as ``api.streams`` takes it.

    Attributes:
        silent: lives that take calls and never answer.
    """

    generators: dict[str, Generator] = field(default_factory=dict)
    models: dict[str, Sleeper] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    pulls: int = 0

    async def start(self, name: str, epoch: int = 1, model: Sleeper | None = None) -> Route:
        """A replica."""
        uid = f"{name}@{epoch}"
        self.models[uid] = model or Sleeper()
        context = LoadContext(Path("/m"), SPEC, DeviceKind.CPU, (DeviceUuid("x"),), 1, 0, {})
        made = self.generators[uid] = await Generator.load(SleeperEngine(self.models[uid]), context)
        route = Route(
            ReplicaId(name), Epoch(epoch), uid, Address("127.0.0.1:1"), speed=made.speed, slot=f"{name}@0", capacity=made.capacity
        )
        self.routes[name] = route
        return route

    def table(self, version: int = 1, **more: object) -> RouteTable:
        """All that were started and not killed."""
        routes = ModelRoutes(M, SPEC, replicas=tuple(self.routes.values()), was_ready=True, **more)  # type: ignore[arg-type]
        return RouteTable(Epoch(1), version, {M: routes})

    async def kill(self, name: str) -> None:
        """As kill -9 looks from here."""
        generator = self.generators.pop(self.routes.pop(name).uid)
        await generator.close()

    def _at(self, route: Route) -> Generator:
        if route.uid not in self.generators:
            raise ReplicaLost(f"Replica {route.uid} is gone.")
        return self.generators[route.uid]

    async def _patience(self, route: Route, timeout: float) -> None:
        if route.uid in self.silent:
            await asyncio.sleep(timeout)
            raise DeadlineExceeded(f"Replica {route.uid} did not answer.")

    async def begin(self, route: Route, caller: str, job: GenerationJob, timeout: float) -> int:
        """Begin one answer."""
        await self._patience(route, timeout)
        return await self._at(route).begin(caller, replace(job))

    async def pull(self, route: Route, caller: str, seen: Mapping[str, int], wait: float, timeout: float) -> Sequence[Emission]:
        """More of this caller's answers."""
        self.pulls += 1
        await self._patience(route, timeout)
        emissions = await self._at(route).pull(caller, seen, wait)
        self._at(route)  # what was on its way when it died did not come
        return emissions

    async def cancel(self, route: Route, keys: Sequence[str], timeout: float) -> None:
        """Nobody waits for these."""
        self._at(route).cancel(keys)

    async def probe(self, route: Route) -> bool:
        """Whether it is there."""
        return route.uid in self.generators and route.uid not in self.silent

    async def close(self) -> None:
        """End all."""
        for generator in self.generators.values():
            await generator.close()
