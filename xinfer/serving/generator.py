"""Generator: one language model in one process. The event loop only hands over; a tokeniser and a generating thread do the work."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from xinfer.cluster.capacity import Capacity
from xinfer.cluster.device import DeviceReport
from xinfer.engines.base import LoadContext
from xinfer.engines.generative import GenerativeEngine, GenerativeModel
from xinfer.errors import EngineError, ReplicaBusy, ReplicaLost
from xinfer.generation.job import Emission, GenerationJob, Sampling
from xinfer.generation.outbox import Outbox
from xinfer.serving.generate import GenerationThread
from xinfer.serving.progress import Progress

log = logging.getLogger(__name__)

GATHER = 0.02
"""Seconds between two answers to one caller's pulls, unless an answer begins or ends."""
LEASE = 10.0
"""A caller that has not pulled for so long has hung up."""
TRIAL_ANSWERS, TRIAL_TOKENS = 4, 16
PROBE = "probe-"


class _Caller:
    def __init__(self, now: float) -> None:
        self.outbox = Outbox()
        self.keys: set[str] = set()
        self.news = asyncio.Event()
        self.pulls = 0  # that wait now
        self.number = 0  # of the newest pull
        self.last_seen = now
        self.answered_at = 0.0


class Generator:
    """Made by ``load``. All coroutines belong to one event loop.

    Attributes:
        capacity: what it holds at once; ``speed``: tokens/s of a few answers together, as measured at load.
    """

    def __init__(self, model: GenerativeModel, thread: GenerationThread, speed: float, clock: Callable[[], float]) -> None:
        self.model = model
        self.speed = speed
        self._thread = thread
        self._clock = clock
        self._callers: dict[str, _Caller] = {}
        self._owner: dict[str, str] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._tokenizer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xinfer-tokenize")
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None

    @classmethod
    async def load(
        cls,
        engine: GenerativeEngine,
        context: LoadContext,
        on_warmup: Callable[[], None] | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Generator:
        """Load on the thread that will generate, then measure with a few short answers.

        Raises:
            LaunchFailed, OutOfMemory: from the engine; EngineError: the model does not generate.
        """
        loop = asyncio.get_running_loop()
        made: list[Generator] = []

        def tell(emissions: Sequence[Emission]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(made[0]._told, emissions)

        thread = GenerationThread(tell, clock)
        try:
            model = await asyncio.wrap_future(thread.call(partial(engine.load, context)))
            if on_warmup is not None:
                on_warmup()
            speed = await asyncio.wrap_future(thread.call(partial(_trial, model, clock)))
            log.info("%.0f tokens/s with %d answers at once", speed, TRIAL_ANSWERS)
            thread.serve(model)
            made.append(cls(model, thread, speed, clock))
            return made[0]
        except BaseException:
            thread.close(timeout=0)
            raise

    @property
    def capacity(self) -> Capacity:
        """What it holds at once."""
        return self.model.capacity

    @property
    def progress(self) -> Progress:
        """What it has generated; cheap."""
        return self._thread.progress

    def holds(self) -> int:
        """Tokens of KV room that answers hold."""
        return self._thread.holds()

    def reports(self) -> tuple[DeviceReport, ...]:
        """The devices that the engine's runtime sees, with the memory used."""
        return self.model.reports()

    async def begin(self, caller: str, job: GenerationJob) -> int:
        """Begin one answer, whose emissions ``pull`` brings.

        Returns:
            tokens of the prompt.

        Raises:
            InvalidItem: the prompt cannot be read, or cannot ever fit; ReplicaBusy: it does not fit now;
            ReplicaLost: shutting down, or the engine is broken.
        """
        if self._closed:
            raise ReplicaLost("The replica is shutting down.")
        loop = asyncio.get_running_loop()
        prompt = await loop.run_in_executor(self._tokenizer, self.model.encode, job)
        owner = self._callers.setdefault(caller, _Caller(self._clock()))
        owner.last_seen = self._clock()
        owner.keys.add(job.key)
        self._owner[job.key] = caller
        self._idle.clear()
        self._watch()
        try:
            answer = await asyncio.wrap_future(self._thread.call(partial(self._thread.begin, job, prompt)))
        except asyncio.CancelledError:
            self.cancel([job.key])
            raise
        except BaseException:
            self._ended(job.key)
            raise
        return answer.prompt_tokens

    async def pull(self, caller: str, seen: Mapping[str, int], wait: float) -> tuple[Emission, ...]:
        """More of this caller's answers; empty after ``wait`` seconds without any, or when the caller asks again meanwhile.

        Args:
            seen: of each answer that it still waits for, the number of the last emission that it has.
        """
        owner = self._callers.setdefault(caller, _Caller(self._clock()))
        owner.pulls += 1
        owner.number += 1
        number = owner.number
        owner.news.set()  # a pull that waits is overtaken by this one
        try:
            if not owner.outbox.missed(seen):
                await self._news(owner, number, wait)
            return owner.outbox.take(seen) if number == owner.number else ()
        finally:
            owner.pulls -= 1
            owner.last_seen = owner.answered_at = self._clock()
            self._settle()

    async def _news(self, owner: _Caller, number: int, wait: float) -> None:
        end = self._clock() + wait
        while number == owner.number:
            now = self._clock()
            due = end
            if owner.outbox.waiting:
                due = now if owner.outbox.urgent else owner.answered_at + GATHER
            if now >= due:
                return
            owner.news.clear()
            try:
                async with asyncio.timeout(due - now):
                    await owner.news.wait()
            except TimeoutError:
                continue

    def cancel(self, keys: Sequence[str]) -> None:
        """Nobody waits for these any more: they end within one step."""
        known = [key for key in keys if key in self._owner]
        for key in known:
            self._callers[self._owner[key]].outbox.forget(key)
            self._ended(key)
        if known and not self._closed:
            self._thread.call(partial(self._thread.cancel, known))

    def _told(self, emissions: Sequence[Emission]) -> None:
        """In the event loop: what a step brought."""
        for emission in emissions:
            caller = self._owner.get(emission.key)
            if caller is None:
                continue
            owner = self._callers[caller]
            owner.outbox.put(emission)
            owner.news.set()
            if emission.last:
                self._ended(emission.key)

    def _ended(self, key: str) -> None:
        caller = self._owner.pop(key, None)
        if caller is not None:
            self._callers[caller].keys.discard(key)
        self._settle()

    def _settle(self) -> None:
        """Nothing is being generated and everything is told: idle."""
        if not self._owner and not any(owner.outbox.waiting for owner in self._callers.values()):
            self._idle.set()

    def _watch(self) -> None:
        """Cancel what callers left that have hung up."""
        if self._sweeper is None and not self._closed:
            self._sweeper = asyncio.get_running_loop().call_later(LEASE / 4, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock()
        for name, owner in list(self._callers.items()):
            if not owner.pulls and now - owner.last_seen >= LEASE:
                if owner.keys:
                    log.warning("caller %s has hung up, %d answers are ended", name, len(owner.keys))
                    self.cancel(tuple(owner.keys))
                del self._callers[name]
                self._settle()
        if self._callers:
            self._watch()

    async def health(self, timeout: float = 10.0, stall_seconds: float = 60.0) -> None:
        """A token is generated, or something came of the engine within ``stall_seconds``: busy is not dead.

        Raises:
            EngineError: nothing moves; ReplicaLost: the engine is broken.
        """
        if self._thread.broken is not None:
            raise self._thread.broken
        if self.progress.active:
            idle = self._clock() - self.progress.moved_at
            if idle > stall_seconds:
                raise EngineError(f"{self.progress.active} answers are being generated, and nothing came for {idle:.0f} s.")
            return
        key = f"{PROBE}{uuid.uuid4().hex}"
        try:
            async with asyncio.timeout(timeout):
                await self.begin(key, GenerationJob(key, prompt="a", max_tokens=1, sampling=Sampling(temperature=0)))
                while not (emissions := await self.pull(key, {key: 0}, timeout)):
                    pass
        except ReplicaBusy:
            return
        except TimeoutError:
            self.cancel([key])
            raise EngineError(f"One token was not generated within {timeout:g} s.") from None
        finally:
            self._callers.pop(key, None)
        if emissions[-1].error is not None:
            raise EngineError(f"A health check's answer failed: {emissions[-1].error.message}")

    async def drained(self) -> None:
        """Return when no answer is being generated and all are told."""
        await self._idle.wait()

    async def close(self, timeout: float = 5.0) -> bool:
        """End every answer with ReplicaLost, end the threads, free the model. False: a step would not end."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._tokenizer.shutdown(wait=False)
        return await asyncio.to_thread(self._thread.close, timeout)


def _trial(model: GenerativeModel, clock: Callable[[], float]) -> float:
    """Tokens/s of a few short answers together. On the generating thread.

    Raises:
        EngineError: nothing comes of them.
    """
    jobs = [GenerationJob(f"trial-{n}", prompt="Once upon a time", max_tokens=TRIAL_TOKENS, ignore_end=True) for n in range(TRIAL_ANSWERS)]
    jobs = jobs[: model.capacity.places]
    started = clock()
    for job in jobs:
        model.begin(job, model.encode(job), TRIAL_TOKENS)
    open_, tokens = len(jobs), 0
    while open_:
        brought = model.step(30.0)
        if not brought:
            raise EngineError("The model generated nothing within 30 s.")
        for generated in brought:
            if generated.error is not None:
                raise EngineError(f"The model does not generate: {generated.error.message}")
            tokens += len(generated.tokens)
            open_ -= generated.finish is not None
    return tokens / max(1e-6, clock() - started)
