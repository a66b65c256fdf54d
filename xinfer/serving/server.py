"""ModelServer: one model in one process. The event loop only hands over; a tokeniser thread and a compute thread do the work."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from xinfer.batching.budget import TokenBudget
from xinfer.batching.form import bounds
from xinfer.batching.work import ShardResult, WorkItem
from xinfer.catalog.spec import Dtype, ModelType
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.device import DeviceReport
from xinfer.engines.base import Encoded, EncoderEngine, LoadContext, LoadedModel
from xinfer.errors import EngineError, ReplicaBusy, ReplicaLost, XinferError
from xinfer.serving.calibrate import Calibration, Limits, ModelKind, calibrate, confirmed
from xinfer.serving.choose import Choice, load_chosen
from xinfer.serving.compute import ComputeThread
from xinfer.serving.histogram import Distribution
from xinfer.serving.isolate import tokenize_each
from xinfer.serving.memory import HostMemory
from xinfer.serving.runner import BatchRunner
from xinfer.serving.shard import Shard, result_of

log = logging.getLogger(__name__)

MAX_SHARDS = 16
"""Shards held at once; the routers' windows are far below."""
PROBE_TOKENS = 8


@dataclass(frozen=True, slots=True)
class ServerStats:
    """Figures since the replica became ready.

    Attributes:
        items, tokens, padded_tokens, batches: computed.
        busy_seconds: wall time inside the model.
        queued_items, queued_tokens: waiting or running now.
        budget_tokens: bound of a batch now; ``oom_splits``: how often it was halved.
        slowdown: measured ÷ predicted batch time.
        histograms: of waits, batches and padding, by the name that metrics give them.
    """

    items: int
    tokens: int
    padded_tokens: int
    batches: int
    busy_seconds: float
    queued_items: int
    queued_tokens: int
    budget_tokens: int
    oom_splits: int
    slowdown: float
    histograms: Mapping[str, Distribution]


class ModelServer:
    """Made by ``load``. All coroutines belong to one event loop.

    Attributes:
        speed: tokens/s with full batches, as calibrated; ``budget_tokens``: padded tokens of such a batch.
        calibration: the measurements behind both.
        dtype: in which the model runs; ``dtype_why``: how it was chosen, None and "" for a model that was not loaded here.
    """

    def __init__(
        self,
        model: LoadedModel,
        kind: ModelKind,
        calibration: Calibration,
        compute: ComputeThread,
        *,
        memory: HostMemory | None = None,
        choice: Choice | None = None,
        max_shards: int = MAX_SHARDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.model = model
        self.dtype: Dtype | None = choice.dtype if choice is not None else None
        self.dtype_why = choice.why if choice is not None else ""
        self.calibration = calibration
        self.speed = calibration.speed
        self.budget_tokens = calibration.budget_tokens
        self._clock = clock
        self._max_shards = max_shards
        self._probe: Encoded = kind.item(model, min(PROBE_TOKENS, model.max_tokens))
        self._memory = memory
        self._runner = BatchRunner(model, TokenBudget.of(calibration.budget_tokens), calibration.timing, clock, memory=memory)
        self._compute = compute
        self._tokenizer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xinfer-tokenize")
        self._held: set[Shard] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        compute.serve(self._runner)

    @classmethod
    async def load(
        cls,
        engine: EncoderEngine,
        context: LoadContext,
        on_warmup: Callable[[], None] | None = None,
        *,
        dtype_open: Sequence[Dtype] = (),
        stored: StoredCalibration | None = None,
        max_shards: int = MAX_SHARDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> ModelServer:
        """Load on the thread that will compute, warm up, calibrate.

        Args:
            on_warmup: called when the weights are there and warm-up begins.
            dtype_open: choose among these; empty = the spec's dtype.
            stored: what an equal replica measured; confirmed by one batch instead of measured anew.

        Raises:
            LaunchFailed, OutOfMemory: from the engine; EngineError: the model fails on plain text.
        """
        compute = ComputeThread()
        try:
            kind = ModelKind(pairs=context.spec.type is ModelType.RERANK)
            memory = HostMemory.of(context)
            loading = partial(load_chosen, engine, context, kind, dtype_open, clock)
            model, choice = await asyncio.wrap_future(compute.call(loading))
            if on_warmup is not None:
                on_warmup()
            limits = Limits.of(context.device_kind, context.options)
            if memory is not None:
                limits = await asyncio.wrap_future(compute.call(partial(memory.loaded, model, kind, limits)))
            measuring = partial(_calibration, model, kind, limits, stored, clock)
            calibration = await asyncio.wrap_future(compute.call(measuring))
            return cls(model, kind, calibration, compute, memory=memory, choice=choice, max_shards=max_shards, clock=clock)
        except BaseException:
            compute.close(timeout=0)
            raise

    def reports(self) -> tuple[DeviceReport, ...]:
        """The devices that the engine's runtime sees, with the memory used: on the CPU, with that of a full batch."""
        reports = self.model.reports()
        if self._memory is None:
            return reports
        return self._memory.reports(reports, bounds(self._runner.budget)[1], self.model.max_tokens)

    async def run(self, items: tuple[WorkItem, ...], urgent: bool = False) -> ShardResult:
        """Tokenise, queue, compute. Items that fail do so alone, in ``errors``. Cancelling drops what has not run.

        ``urgent`` shards run before those that are not, between two batches.

        Raises:
            ReplicaBusy: too many shards are here; ReplicaLost: shutting down, or the device is gone.
        """
        if self._closed or self._runner.broken is not None:
            raise ReplicaLost("The replica is shutting down." if self._closed else "The replica's device is lost.")
        if len(self._held) >= self._max_shards:
            raise ReplicaBusy(f"{len(self._held)} shards are here already.", queued_tokens=self._compute.queued_tokens())
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ShardResult] = loop.create_future()
        shard = Shard(items, partial(_answer, loop, future), self._clock(), urgent)
        self._held.add(shard)
        self._idle.clear()
        try:
            self._tokenizer.submit(self._tokenize, shard)
            return await future
        finally:
            shard.dropped = True
            self._held.discard(shard)
            if not self._held:
                self._idle.set()

    def _tokenize(self, shard: Shard) -> None:
        """On the tokeniser thread."""
        if shard.dropped:
            return
        try:
            started = self._clock()
            encoded, errors = tokenize_each(self.model, shard.items)
            now = self._clock()
            shard.tokenized(encoded, errors, now - started, now)
            if shard.left:
                self._compute.submit(shard)
            else:
                shard.answer(result_of(shard, self.model, busy_seconds=self._runner.tally.busy_seconds))
        except XinferError as error:
            shard.answer(error)
        # The border of the replica: the caller waits, and must hear of anything.
        except Exception as error:
            log.exception("tokeniser thread failed")
            shard.answer(EngineError(f"The replica failed on the shard: {type(error).__name__}: {error}"))

    def stats(self) -> ServerStats:
        """Figures since ready; cheap."""
        runner, tally = self._runner, self._runner.tally
        return ServerStats(
            items=tally.items,
            tokens=tally.tokens,
            padded_tokens=tally.padded_tokens,
            batches=tally.batches,
            busy_seconds=tally.busy_seconds,
            queued_items=sum(len(shard.items) for shard in self._held),
            queued_tokens=self._compute.queued_tokens(),
            budget_tokens=runner.budget.tokens,
            oom_splits=runner.budget.splits,
            slowdown=runner.slowdown.value,
            histograms=tally.histograms(),
        )

    async def health(self, timeout: float = 10.0, stall_seconds: float = 60.0) -> None:
        """A real forward of one short item, between two batches of whatever is queued.

        Not run within ``timeout``, the replica still is healthy while the batch in progress is younger than
        ``stall_seconds`` or than 20 times what it should take: busy is not dead.

        Raises:
            EngineError: the forward failed, or nothing moves; ReplicaLost: shutting down.
        """
        if self._runner.broken is not None:
            raise self._runner.broken
        probe = asyncio.wrap_future(self._compute.call(partial(self._runner.probe, self._probe)))
        try:
            outcome = await asyncio.wait_for(probe, timeout)
        except TimeoutError:
            since = self._runner.running_since
            age = math.inf if since is None else self._clock() - since
            if age > max(stall_seconds, 20 * self._longest_batch_seconds()):
                raise EngineError(f"The compute thread has finished nothing for {max(timeout, min(age, 1e6)):.0f} s.") from None
            return
        if isinstance(outcome, XinferError):
            raise EngineError(f"A health check's item failed: {outcome.message}")
        if not np.isfinite(outcome).all():
            raise EngineError("A health check's item gave a number that is not finite.")

    def _longest_batch_seconds(self) -> float:
        return self._runner.timing.predict(max(self._runner.budget.tokens, self.model.max_tokens))

    async def drained(self) -> None:
        """Return when no shard is left."""
        await self._idle.wait()

    async def close(self, timeout: float = 5.0) -> bool:
        """Answer everything that waits with ReplicaLost, end the threads, free the model. False: a batch would not end."""
        self._closed = True
        self._tokenizer.shutdown(wait=False)
        return await asyncio.to_thread(self._compute.close, timeout)


def _calibration(
    model: LoadedModel, kind: ModelKind, limits: Limits, stored: StoredCalibration | None, clock: Callable[[], float]
) -> Calibration:
    """The stored one if it holds here, else a new one. On the compute thread."""
    kept = confirmed(model, kind, limits, stored, clock)
    found = kept or calibrate(model, kind, limits, clock)
    how = "calibrated" if kept is None else "calibration confirmed"
    log.info("%s: %s tokens a batch, %.0f tokens/s", how, found.budget_tokens, found.speed)
    return found


def _answer(loop: asyncio.AbstractEventLoop, future: asyncio.Future[ShardResult], outcome: ShardResult | XinferError) -> None:
    """From any thread; later answers, and answers to a caller that has gone, are lost on purpose."""

    def settle() -> None:
        if future.done():
            return
        if isinstance(outcome, XinferError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
