"""The shell around ``routing.streams``: it begins answers, pulls from each replica that has some, and hands out what comes.

One pump per model, run once per turn of the event loop in which something happened; one pull on its way per replica with answers.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog

from xinfer.api.alarm import Alarm
from xinfer.api.figures import stream_figures
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.load import ModelLoad
from xinfer.cluster.routes import ModelRoutes, Route, RouteTable
from xinfer.errors import DeadlineExceeded, EngineError, ModelNotFound, Unavailable, XinferError
from xinfer.generation.job import Emission, GenerationJob
from xinfer.routing.stream import Stream, StreamLoad
from xinfer.routing.streams import Begin, StreamRouter
from xinfer.settings import Limits, Timings

log = structlog.get_logger(__name__)

PULL = 2.0
"""Seconds that a replica with nothing to tell keeps a pull."""
ANSWER = 4.0
"""Seconds beyond that after which a replica that does not answer is given up, and all its answers go on elsewhere."""
BEGIN = 60.0
"""Seconds to read a prompt and take it up, between two steps of the engine."""
CANCEL = 5.0


class StreamCaller(Protocol):
    """The way to the replicas of language models."""

    async def begin(self, route: Route, caller: str, job: GenerationJob, timeout: float) -> int:
        """Begin one answer; tokens of its prompt. Raises any XinferError."""

    async def pull(self, route: Route, caller: str, seen: Mapping[str, int], wait: float, timeout: float) -> Sequence[Emission]:
        """More of this caller's answers. Raises any XinferError."""

    async def cancel(self, route: Route, keys: Sequence[str], timeout: float) -> None:
        """Nobody waits for these. Raises any XinferError."""

    async def probe(self, route: Route) -> bool:
        """Whether the replica answers."""


class Answer:
    """One answer, for its client.

    Attributes:
        stream: what is known of it.
    """

    def __init__(self, stream: Stream, idle: float) -> None:
        self.stream = stream
        self._idle = idle
        self.news = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Emission]:
        """As it grows, to its end; the time that it may stand still is bounded, not its length.

        Raises:
            XinferError: it cannot be gone on with.
        """
        stream = self.stream
        while True:
            while stream.fresh:
                yield stream.fresh.pop(0)
            if stream.settled:
                break
            self.news.clear()
            try:
                async with asyncio.timeout(self._idle):
                    await self.news.wait()
            except TimeoutError:
                raise DeadlineExceeded(f"nothing came of the answer for {self._idle:g} s") from None
        if stream.error is not None:
            raise stream.error


class _Model:
    def __init__(self, router: StreamRouter, ring: Callable[[_Model], None]) -> None:
        self.router = router
        self.alarm = Alarm(lambda: ring(self))
        self.answers: dict[Stream, Answer] = {}
        self.pulls: dict[StreamLoad, asyncio.Task[None]] = {}
        self.busy = False
        self.told = False
        self.pump_due = False


class Streams:
    """All answers of language models of one API process.

    Args:
        caller: the way to the replicas.
        served: which models of a table are its.
        clock: monotonic seconds.

    Attributes:
        news: set when ``loads`` has something that the supervisor should not wait for.
    """

    def __init__(
        self,
        caller: StreamCaller,
        served: Callable[[ModelRoutes], bool],
        *,
        limits: Limits,
        timings: Timings,
        news: asyncio.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caller = caller
        self._served = served
        self._limits = limits
        self._timings = timings
        self._clock = clock
        self._name = f"api-{uuid.uuid4().hex}"
        self._numbers = itertools.count(1)
        self._models: dict[ModelUid, _Model] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False
        self.news = news or asyncio.Event()

    def update_routes(self, table: RouteTable) -> None:
        """Adopt a table, in the event loop."""
        now = self._clock()
        mine = {uid: routes for uid, routes in table.models.items() if self._served(routes)}
        for uid, routes in mine.items():
            model = self._models.get(uid)
            if model is None:
                timings = self._timings
                model = self._models[uid] = _Model(
                    StreamRouter(uid, limits=self._limits, hold=timings.hold_for_replica, wake=timings.hold_for_wake),
                    functools.partial(self._kick, uid),
                )
            before = model.router.routes
            if before is None or (before.asleep, before.closing) != (routes.asleep, routes.closing):
                model.told = False
            model.router.update(routes, now)
        for uid, model in list(self._models.items()):
            if uid not in mine:
                model.router.update(None, now)
            self._kick(uid, model)

    @asynccontextmanager
    async def open(self, uid: ModelUid, job: GenerationJob, *, key: str = "") -> AsyncIterator[Answer]:
        """One answer. Who leaves before its end ends it.

        Raises:
            ModelNotFound, ModelLoading, Unavailable: nothing can serve it; TooManyRequests: the queue is full.
        """
        model = self._models.get(uid)
        if self._closed:
            raise Unavailable("this API process is stopping; ask again", retry_after=1.0)
        if model is None or model.router.routes is None:
            raise ModelNotFound(f"model {uid!r} is not running", param="model")
        model.busy = True
        # A request's id is the client's to choose, so two may have the same.
        named = job.named(f"{self._name}-{next(self._numbers)}")
        stream = model.router.submit(named, now=self._clock(), key=key)
        answer = model.answers[stream] = Answer(stream, self._timings.request)
        self._kick(uid, model)
        try:
            yield answer
        finally:
            model.answers.pop(stream, None)
            model.router.drop(stream, self._clock())
            self._kick(uid, model)

    # --- the pump --------------------------------------------------------------------------------

    def _kick(self, uid: ModelUid, model: _Model) -> None:
        if not model.pump_due and not self._closed:
            model.pump_due = True
            asyncio.get_running_loop().call_soon(self._pump, uid, model)

    def _pump(self, uid: ModelUid, model: _Model) -> None:
        model.pump_due = False
        if self._closed:
            return
        now, router = self._clock(), model.router
        router.tick(now)
        for load in router.probes(now):
            self._spawn(self._probe(uid, model, load))
        for begin in router.begins(now):
            self._spawn(self._begin(uid, model, begin))
        for load in router.pulling():
            if load not in model.pulls:
                model.pulls[load] = self._spawn(self._pull(uid, model, load))
        self._cancel(router.take_cancels())
        self._answer(model)
        closed = router.routes is not None and router.routes.closing and router.idle()
        if (closed or router.wants_waking) and not model.told:
            model.told = True
            self.news.set()
        if router.routes is None and router.idle() and not model.answers:
            model.alarm.cancel()
            if self._models.get(uid) is model:
                del self._models[uid]
            return
        model.alarm.set(router.wake_at(now), now)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _answer(self, model: _Model) -> None:
        for stream in model.router.take_news():
            answer = model.answers.get(stream)
            if answer is not None:
                answer.news.set()

    def _cancel(self, cancels: Sequence[tuple[Route, str]]) -> None:
        by_route: dict[Route, list[str]] = {}
        for route, key in cancels:
            by_route.setdefault(route, []).append(key)
        for route, keys in by_route.items():
            ending = self._spawn(self._end(route, keys))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _end(self, route: Route, keys: Sequence[str]) -> None:
        try:
            await self._caller.cancel(route, keys, CANCEL)
        except XinferError as error:  # its lease there will end it
            log.debug("answers were not cancelled", replica=route.replica_id, reason=error.message)

    async def _begin(self, uid: ModelUid, model: _Model, begin: Begin) -> None:
        outcome = await self._guarded(begin.load, self._caller.begin(begin.load.route, self._name, begin.job, BEGIN))
        if isinstance(outcome, DeadlineExceeded):
            model.router.lost(begin.load, outcome, self._clock())
        else:
            model.router.begun(begin, outcome, self._clock())
        self._kick(uid, model)

    async def _pull(self, uid: ModelUid, model: _Model, load: StreamLoad) -> None:
        """One after the other, for as long as there are answers."""
        try:
            while load.streams and not self._closed:
                outcome = await self._guarded(load, self._caller.pull(load.route, self._name, load.seen(), PULL, PULL + ANSWER))
                if isinstance(outcome, XinferError):
                    model.router.lost(load, outcome, self._clock())
                else:
                    model.router.pulled(load, outcome, self._clock())
                    self._answer(model)
                self._kick(uid, model)
        finally:
            del model.pulls[load]

    async def _guarded(self, load: StreamLoad, call: Coroutine[Any, Any, Any]) -> Any:
        """What came of it, an XinferError if it failed."""
        outcome: Any = (await asyncio.gather(call, return_exceptions=True))[0]
        if not isinstance(outcome, BaseException) or isinstance(outcome, XinferError):
            return outcome
        if not isinstance(outcome, Exception):
            raise outcome
        log.error("a call to a replica failed", replica=load.route.replica_id, exc_info=outcome)
        return EngineError(f"the call to replica {load.route.replica_id} failed: {type(outcome).__name__}: {outcome}")

    async def _probe(self, uid: ModelUid, model: _Model, load: StreamLoad) -> None:
        outcome = await self._guarded(load, self._caller.probe(load.route))
        model.router.probed(load, outcome is True, self._clock())
        self._kick(uid, model)

    # --- what can be asked -----------------------------------------------------------------------

    def loads(self) -> dict[ModelUid, ModelLoad]:
        """Of every deployed model; what was ``busy`` begins anew."""
        found = {}
        for uid, model in self._models.items():
            routes = model.router.routes
            if routes is not None:
                found[uid] = ModelLoad(
                    tokens=model.router.work,
                    busy=model.busy or not model.router.idle(),
                    waiting=model.router.wants_waking,
                    closing=routes.closing,
                    documents=len(model.router.queue),
                )
            model.busy = False
        return found

    def not_woken(self, error: XinferError, uid: ModelUid | None = None) -> None:
        """That model (None: any) cannot be woken now."""
        for name, model in self._models.items():
            if model.router.wants_waking and uid in (None, name):
                model.router.not_woken(error, self._clock())
                model.told = False
                self._kick(name, model)

    def stats(self) -> dict[str, Any]:
        """Numbers of this process (``api.figures``)."""
        return stream_figures({uid: model.router for uid, model in self._models.items()})

    async def close(self) -> None:
        """Fail what waits, end what is on its way."""
        self._closed = True
        for task in self._tasks - self._endings:
            task.cancel()
        for model in self._models.values():
            model.alarm.cancel()
            self._cancel([(load.route, key) for load in model.router.pulling() for key in load.streams])
            for stream, answer in model.answers.items():
                stream.settled = True
                stream.error = stream.error or Unavailable("this API process is stopping; ask again", retry_after=1.0)
                answer.news.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
