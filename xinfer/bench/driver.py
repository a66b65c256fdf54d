"""Runs a load against a server: streams of requests, the replicas' figures beside them, and what came of it all."""

from __future__ import annotations

import asyncio
import itertools
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import uvloop

from xinfer.bench.connection import Connection, Sent
from xinfer.bench.figures import Done, Summary, overlapping, shares, summarise
from xinfer.bench.load import Request, arrivals, request
from xinfer.bench.plan import BULK_SIZE, Bulk, Plan, Run
from xinfer.bench.readings import Reading, growth, lanes, parse, pause
from xinfer.bench.streams import Clock, Tally, all_of, cancelled, closed_loop, open_loop, until

BODIES = 600
"""Different bodies of a load that only time ends."""
RAMP = 2.0
"""Seconds from the first bulk request until bulk is measured."""
BULK_ALONE = 5.0
"""Seconds that bulk is measured alone, at least."""
PAUSE = 0.2
"""Seconds before a bulk client that was refused tries again."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stream from its first request to its last answer."""

    done: list[Done]
    begun: float
    ended: float

    def summary(self) -> Summary:
        """Its figures."""
        return summarise(self.done, self.ended - self.begun)


def run(plan: Plan) -> Run:
    """Run a plan in an event loop of its own; Ctrl-C ends it early, with the figures until then."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(plan))


async def _run(plan: Plan) -> Run:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # the second one ends the process
        stop.set()

    # Signals reach the main thread only; elsewhere there is nothing to catch.
    with suppress(ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        async with Connection(plan.base_url, plan.api_key, plan.timeout, plan.ca_file) as connection:
            return await Driver(plan, connection, stop).run()
    finally:
        loop.remove_signal_handler(signal.SIGINT)


class Driver:
    """One run of a plan."""

    def __init__(self, plan: Plan, connection: Connection, stop: asyncio.Event) -> None:
        self._plan = plan
        self._connection = connection
        self._stop = stop
        self._models = [name for name in (plan.load.model, plan.load.embedding_model) if name]
        self._headers = {"x-priority": plan.priority} if plan.priority else None
        count = plan.requests if plan.requests is not None else BODIES
        self._bodies = [request(plan.load, number) for number in range(count)]

    async def run(self) -> Run:
        """Warm up, then run every part."""
        plan = self._plan
        for number in range(plan.warmup):
            await self._unless_stopped(self._connection.send(request(plan.load, number), Clock()))
        slots: dict[str, str] = {}
        for model in self._models:
            slots |= await self._connection.slots(model)
        used = _cpu_seconds()
        if plan.background:
            made = await self._with_background(slots)
        else:
            async with self._watch() as readings:
                stretch = await self._measured()
            made = Run(stretch.summary(), **_replica_figures(readings, slots))
        return replace(made, cpu_seconds=_cpu_seconds() - used, interrupted=self._stop.is_set())

    async def _with_background(self, slots: dict[str, str]) -> Run:
        alone = await self._measured()
        bulk: list[Sent] = []
        async with self._bulk(bulk) as finish:
            await self._sleep(RAMP)
            before = await self._reading()
            begun = Clock()
            await self._sleep(max(BULK_ALONE, alone.ended - alone.begun))
            between, ended = await self._reading(), Clock()
            async with self._watch() as readings:
                beside = await self._measured()
            if not _reports(before):
                await finish()
        done = [sent.done() for sent in bulk]
        if _reports(before):
            small = sum(each.size for each in beside.done if each.failure is None)
            rates = _items_per_second(before, between), _items_per_second(readings[0], readings[-1], less=small)
        else:
            rates = overlapping(done, begun, ended), overlapping(done, beside.begun, beside.ended)
        summary = summarise(done, beside.ended - begun)
        return Run(beside.summary(), alone.summary(), Bulk(*rates, summary), **_replica_figures(readings, slots))

    async def _measured(self) -> Stretch:
        """The measured requests, once."""
        plan, found = self._plan, Tally()
        endless: Iterable[Request] = self._bodies if plan.requests is not None else itertools.cycle(self._bodies)
        begun = Clock()
        requests = endless if plan.duration is None else until(endless, begun + plan.duration)

        async def send(each: Request, due: float) -> None:
            found.add(await self._connection.send(each, due, self._headers))

        if plan.rate is None:
            await self._unless_stopped(closed_loop(send, iter(requests), plan.concurrency))
        else:
            await self._unless_stopped(open_loop(send, requests, arrivals(plan.rate, plan.load.seed), plan.duration))
        return Stretch(found.done(), begun, Clock())

    @asynccontextmanager
    async def _bulk(self, into: list[Sent]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Bulk requests in flight; the function yielded sends no more and waits for those that are."""
        plan = self._plan
        load = replace(plan.load, sizes=(BULK_SIZE,), seed=plan.load.seed + 1)
        bodies = itertools.cycle([request(load, number) for number in range(2 * plan.background)])
        ending = asyncio.Event()

        async def client() -> None:
            while not ending.is_set():
                sent = await self._connection.send(next(bodies), Clock())
                into.append(sent)
                if sent.status != 200:
                    await asyncio.sleep(PAUSE)

        clients = [asyncio.create_task(client()) for _ in range(plan.background)]

        async def finish() -> None:
            ending.set()
            await self._unless_stopped(all_of(clients))

        try:
            yield finish
        finally:
            await cancelled(clients)

    @asynccontextmanager
    async def _watch(self) -> AsyncIterator[list[Reading]]:
        """Readings from now to the end of the block; filled when the block has ended."""
        texts: list[tuple[float, bytes]] = []
        readings: list[Reading] = []

        async def read() -> None:
            begun = Clock()
            text = await self._connection.get("/metrics")
            if text is not None:
                texts.append(((begun + Clock()) / 2, text))

        async def keep_reading() -> None:
            while texts:  # a server without figures is asked once
                await asyncio.sleep(pause(Clock() - texts[0][0]))
                await read()

        await read()
        task = asyncio.create_task(keep_reading())
        try:
            yield readings
        finally:
            await cancelled([task])
            await read()
            readings += [parse(text.decode("utf-8", "replace"), at, self._models) for at, text in texts] or [Reading(0.0)]

    async def _reading(self) -> Reading:
        text = await self._connection.get("/metrics")
        return parse((text or b"").decode("utf-8", "replace"), Clock(), self._models)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _unless_stopped(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run to the end, or until Ctrl-C cuts it off."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            await cancelled([task, stopped])


def _reports(reading: Reading) -> bool:
    return any("items_total" in figures for figures in reading.replicas.values())


def _items_per_second(before: Reading, after: Reading, less: int = 0) -> float:
    items = sum(figures.get("items_total", 0.0) for figures in growth(before, after).values())
    return max(0.0, items - less) / max(after.at - before.at, 1e-9)


def _replica_figures(readings: list[Reading], slots: dict[str, str]) -> dict[str, Any]:
    names = {name: f"{name} on {slot}" for name, slot in slots.items() if slot}
    return {"replicas": shares(readings[0], readings[-1], slots), "lanes": lanes(readings, names)}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
