"""ReplicaActor: a thin shell around ``serving.ModelServer``, or ``Generator`` for a language model. One per process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
import xoscar as xo

from xinfer.actors.figures import of_generator, of_server
from xinfer.actors.messages import Loaded, LoadProgress, ReplicaStats
from xinfer.actors.packing import pack, pack_result, unpack_items, unpack_job
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.replica import Assignment, Phase, Progress
from xinfer.engines import registry
from xinfer.engines.base import EncoderEngine, LoadContext
from xinfer.engines.generative import GenerativeEngine
from xinfer.errors import EngineError, LaunchFailed, ReplicaBusy, XinferError
from xinfer.processes.runtime import settle
from xinfer.processes.torch_gate import allow_torch
from xinfer.serving.generator import Generator
from xinfer.serving.server import ModelServer
from xinfer.sources.fetch import fetch_model

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def _border(what: str) -> Iterator[None]:
    try:
        yield
    except XinferError:
        raise
    except Exception as error:
        log.exception("the engine failed", on=what)
        raise EngineError(f"The engine failed: {type(error).__name__}: {error}") from error


class ReplicaActor(xo.StatelessActor):
    """Loads one model, then answers shards. This is one of the three borders that catch everything."""

    def __init__(self, assignment: Assignment, kind: DeviceKind, threads: int, cache: str) -> None:
        super().__init__()
        self._assignment = assignment
        self._kind = kind
        self._threads = threads
        self._cache = Path(cache)
        self._server: ModelServer | Generator | None = None
        self._draining = False
        self._loading: asyncio.Task[Loaded] | None = None
        self._state = LoadProgress(Phase.SPAWNING, Progress(Phase.SPAWNING.value, since=time.time()))

    async def load(self) -> Loaded:
        """Fetch the files, load the weights, warm up, calibrate: once. Who asks again, a worker that took up new code, hears of that load.

        Raises:
            LaunchFailed and its kin; anything unforeseen as LaunchFailed with its text.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._guarded_load(), name="load")
        return await asyncio.shield(self._loading)

    async def _guarded_load(self) -> Loaded:
        try:
            return await self._load()
        except XinferError:
            raise
        except Exception as error:
            log.exception("load failed", model=self._assignment.spec.name)
            raise LaunchFailed(f"Loading {self._assignment.spec.name} failed: {type(error).__name__}: {error}") from error

    async def _load(self) -> Loaded:
        spec, replica = self._assignment.spec, self._assignment.replica
        if replica.slot is None:
            raise LaunchFailed("The assignment names no slot.")
        self._enter(Phase.FETCHING, 0.05)
        path = await asyncio.to_thread(fetch_model, spec, self._cache, self._fetched)
        self._enter(Phase.LOADING, 0.5)
        allow_torch()
        context = LoadContext(
            path=path,
            spec=spec,
            device_kind=self._kind,
            device_uuids=replica.slot.device_uuids,
            threads=self._threads,
            memory_bytes=replica.reserved_bytes,
            options=self._assignment.options,
        )
        loaded = await self._loaded(context)
        settle()
        self._enter(Phase.READY, 1.0)
        return loaded

    async def _loaded(self, context: LoadContext) -> Loaded:
        engine = registry.get(context.spec.engine)
        warming = lambda: self._enter(Phase.WARMING, 0.9)  # noqa: E731
        if isinstance(engine, GenerativeEngine):
            generator = self._server = await Generator.load(engine, context, warming)
            capacity = generator.capacity
            return Loaded(generator.reports(), generator.speed, capacity.kv_tokens, context.spec.dtype, capacity=capacity)
        if not isinstance(engine, EncoderEngine):
            raise LaunchFailed(f"engine: {engine.name} neither generates nor encodes.", param="model_engine")
        server = self._server = await ModelServer.load(
            engine, context, warming, dtype_open=self._assignment.dtype_open, stored=self._assignment.calibration
        )
        reports = server.reports()
        return Loaded(
            reports=reports,
            speed=server.speed,
            budget_tokens=server.budget_tokens,
            dtype=server.dtype,
            dtype_why=server.dtype_why,
            calibration=server.calibration.stored(reports[0]) if reports else None,
        )

    def _enter(self, phase: Phase, fraction: float) -> None:
        files = self._state.progress.files
        self._state = LoadProgress(phase, Progress(phase.value, fraction, files, since=time.time()))

    def _fetched(self, name: str, done: int, total: int) -> None:
        """Called from the fetching thread: assignment of one immutable value is atomic."""
        progress = self._state.progress
        files = {n: (n, d, t) for n, d, t in progress.files} | {name: (name, done, total)}
        all_done, all_total = sum(f[1] for f in files.values()), sum(f[2] for f in files.values())
        share = min(1.0, all_done / all_total) if all_total else 0.0
        self._state = replace(self._state, progress=replace(progress, files=tuple(files.values()), fraction=0.05 + 0.45 * share))

    async def progress(self) -> LoadProgress:
        """How far ``load`` has come."""
        return self._state

    async def run(self, packed: bytes, urgent: bool = False) -> bytes:
        """Run one shard, ahead of what is not urgent: ``packing`` says how it comes and goes.

        Raises:
            ReplicaBusy: draining or not loaded; EngineError: the engine failed on every item.
        """
        if not isinstance(self._server, ModelServer) or self._draining:
            raise ReplicaBusy(f"Replica {self.uid} takes no work now.")
        items = unpack_items(packed)
        with _border(f"a shard of {len(items)}"):
            return pack_result(await self._server.run(items, urgent))

    async def begin(self, caller: str, packed: bytes) -> int:
        """Begin one answer of a language model, for ``pull`` to bring; tokens of its prompt.

        Raises:
            ReplicaBusy: no room, draining or not loaded; InvalidItem: it cannot ever be done; EngineError: the engine failed.
        """
        if not isinstance(self._server, Generator) or self._draining:
            raise ReplicaBusy(f"Replica {self.uid} takes no work now.")
        job = unpack_job(packed)
        with _border(f"the beginning of {job.key}"):
            return await self._server.begin(caller, job)

    async def pull(self, caller: str, seen: Mapping[str, int], wait: float) -> bytes:
        """More of this caller's answers, packed; ``Generator.pull`` says when."""
        return pack(await self._server.pull(caller, seen, wait) if isinstance(self._server, Generator) else ())

    async def cancel(self, keys: Sequence[str]) -> None:
        """Nobody waits for these answers."""
        if isinstance(self._server, Generator):
            self._server.cancel(keys)

    async def stats(self) -> ReplicaStats:
        """Figures since it became ready."""
        figures = ReplicaStats(self._assignment.replica.id, self._assignment.replica.epoch)
        if isinstance(self._server, Generator):
            return of_generator(figures, self._server)
        return figures if self._server is None else of_server(figures, self._server)

    async def health(self) -> None:
        """A real forward of one item; a replica that makes progress on a long queue is healthy."""
        if self._server is not None:
            await self._server.health()

    async def drain(self) -> None:
        """Take no new work and return when the last shard, or the last answer, is told."""
        self._draining = True
        if self._server is not None:
            await self._server.drained()
