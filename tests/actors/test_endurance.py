"""Loops that must never end: the worker's link, the supervisor's clock, the health check."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.actors.conftest import Stage
from xinfer.actors import supervisor as supervisor_module
from xinfer.actors import worker as worker_module
from xinfer.actors.hosting import Host, Hosted
from xinfer.actors.refs import ReplicaRef
from xinfer.cluster.ids import DeviceUuid
from xinfer.control.events import ReplicaProgressed, Tick
from xinfer.devices.base import Usage
from xinfer.errors import ReplicaLost
from xinfer.schemas.launch import LaunchRequest
from xinfer.settings import Timings


async def until(met: Callable[[], Any], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await met():
            await asyncio.sleep(0.02)


async def test_a_worker_whose_device_query_fails_joins_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "RECONNECT", 0.01)
    (before,) = (await stage.snapshot()).workers.values()
    real, failures = stage.inventory.usage, iter([True, True])

    def usage() -> Mapping[DeviceUuid, Usage]:
        if next(failures, False):
            raise RuntimeError("driver reset")
        return real()

    monkeypatch.setattr(stage.inventory, "usage", usage)

    async def joined_again() -> bool:
        (worker,) = (await stage.snapshot()).workers.values()
        return worker.epoch > before.epoch

    await until(joined_again)


async def test_an_event_that_cannot_be_digested_stops_neither_the_clock_nor_the_news(
    stage: Stage, reranker_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hit = supervisor_module.step, set[type]()  # type: ignore[attr-defined]

    def step(snapshot: Any, event: Any, now: float, timings: Timings) -> Any:
        if isinstance(event, ReplicaProgressed) or (isinstance(event, Tick) and Tick not in hit):
            hit.add(type(event))
            raise KeyError("three wheels")
        return real(snapshot, event, now, timings)

    monkeypatch.setattr(supervisor_module, "step", step)

    async def was_hit() -> bool:
        return Tick in hit

    await until(was_hit)
    before = (await stage.snapshot()).ticked_at

    async def ticks() -> bool:
        return (await stage.snapshot()).ticked_at > before

    await until(ticks)
    uid = await stage.supervisor.launch(LaunchRequest(model_path=str(reranker_onnx), model_type="rerank", model_uid="ce"))
    assert await stage.supervisor.wait_ready(uid, 60)
    assert ReplicaProgressed in hit


@dataclass
class Ref:
    """Answers health checks from a list; its last entry for ever."""

    answers: list[Exception | None]
    asked: int = field(default=0)

    async def health(self, timeout: float) -> None:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if answer is not None:
            raise answer


async def test_a_process_that_lives_and_cannot_be_reached_is_given_up_but_one_lost_call_is_forgiven() -> None:
    timings = Timings(health_every=0.01, health_deadline=0.05)
    host = cast(Host, SimpleNamespace(settings=SimpleNamespace(timings=timings)))
    hosted = Hosted(host, cast(Any, None), cast(Any, None), ())
    ref = Ref([None, ReplicaLost("once"), None, None, ReplicaLost("Connection refused.")])
    async with asyncio.timeout(10):
        reason = await hosted._health(cast(ReplicaRef, ref))
    assert reason == "Its process lives and cannot be reached: Connection refused."
    assert ref.asked > 5
