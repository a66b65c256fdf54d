"""The shell around ``routing``: it waits, calls replicas and sets timers; every decision is the router's.

One pump per model, run once per turn of the event loop in which something happened (a request, a reply, new routes, a timer).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from xinfer.api.alarm import Alarm
from xinfer.api.figures import figures
from xinfer.api.latency import Latency
from xinfer.api.results import ReplicaCaller, RunResult, result_of
from xinfer.api.stories import Stories
from xinfer.batching.work import ShardResult, WorkItem
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.load import ModelLoad
from xinfer.cluster.routes import ModelRoutes, RouteTable
from xinfer.errors import DeadlineExceeded, EngineError, ModelNotFound, ReplicaLost, Unavailable, XinferError
from xinfer.routing.load import Flight, ReplicaLoad
from xinfer.routing.pending import PendingRequest
from xinfer.routing.pick import Dice
from xinfer.routing.router import ModelRouter
from xinfer.settings import Limits, Timings

__all__ = ["Dispatcher", "ReplicaCaller", "RunResult"]


class _Model:
    """A router with what the event loop needs around it."""

    def __init__(self, router: ModelRouter, ring: Callable[[_Model], None]) -> None:
        self.router = router
        self.alarm = Alarm(lambda: ring(self))
        self.latency = Latency()
        self.waiting: dict[PendingRequest, asyncio.Future[None]] = {}
        self.tasks: dict[Flight, asyncio.Task[ShardResult]] = {}
        self.busy = False  # there was a request since the last report of the load
        self.told = False  # the supervisor, that the model has to wake, or that nothing is left of one that is being stopped
        self.pump_due = False


class Dispatcher:
    """All inference of one API process.

    Args:
        caller: the way to the replicas.
        served: which models of a table are its.
        clock: monotonic seconds.
        dice: breaks ties; a ``random.Random``.
        api_processes: of this server; they share each replica's window.

    Attributes:
        news: set when ``loads`` has something that the supervisor should not wait for.
    """

    def __init__(
        self,
        caller: ReplicaCaller,
        served: Callable[[ModelRoutes], bool] = lambda routes: True,
        *,
        limits: Limits,
        timings: Timings,
        clock: Callable[[], float] = time.monotonic,
        dice: Dice | None = None,
        api_processes: int = 1,
    ) -> None:
        self._caller = caller
        self._served = served
        self._limits = limits
        self._timings = timings
        self._clock = clock
        self._dice = dice or random.Random()
        self._api_processes = self._most_processes = max(1, api_processes)
        self._table = RouteTable()
        self._first_routes = asyncio.Event()
        self._models: dict[ModelUid, _Model] = {}
        self._probes: set[asyncio.Task[bool]] = set()
        self._stories = Stories()
        self._closed = False
        self.news = asyncio.Event()

    # --- routes ----------------------------------------------------------------------------------

    def routes(self) -> RouteTable:
        """The table in use; version -1 before the first one has come."""
        return self._table

    async def first_routes(self, timeout: float) -> bool:
        """Wait until there is a table; False after ``timeout`` seconds without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await self._first_routes.wait()
        return False

    def update_routes(self, table: RouteTable) -> None:
        """Adopt a table from the poll, in the event loop. Work at replicas that left goes to others at once."""
        now = self._clock()
        self._table = table
        if table.version >= 0:
            self._first_routes.set()
        mine = {uid: routes for uid, routes in table.models.items() if self._served(routes)}
        for uid, routes in mine.items():
            model = self._models.get(uid)
            if model is None:
                model = self._models[uid] = _Model(self._router(uid), functools.partial(self._kick, uid))
            before = model.router.routes
            if before is None or (before.asleep, before.closing) != (routes.asleep, routes.closing):
                model.told = False
            model.router.update(routes, now)
        for uid, model in list(self._models.items()):
            if uid not in mine:
                model.router.update(None, now)
            self._kick(uid, model)

    def _router(self, uid: ModelUid) -> ModelRouter:
        return ModelRouter(
            uid,
            limits=self._limits,
            hold=self._timings.hold_for_replica,
            wake=self._timings.hold_for_wake,
            call_timeout=self._timings.request,
            dice=self._dice,
            api_processes=self._api_processes,
        )

    def share_with(self, processes: int) -> None:
        """So many API processes live, this one included; never taken for more than there were to be."""
        self._api_processes = max(1, min(self._most_processes, processes))
        for model in self._models.values():
            model.router.api_processes = self._api_processes

    # --- requests --------------------------------------------------------------------------------

    async def run(
        self,
        model_uid: ModelUid,
        items: Sequence[WorkItem],
        *,
        key: str = "",
        lane: str | None = None,
        request_id: str = "",
        timeout: float | None = None,
        partial: bool = False,
    ) -> RunResult:
        """Run all items and give the values back in their order. Cancelling it drops what has not run.

        Args:
            key: the API key, between which the queue is fair.
            lane: "interactive" or "bulk"; None = by size.
            timeout: seconds; None = as the settings say.
            partial: items that fail alone are reported beside the others' values instead of failing the request.

        Raises:
            ModelNotFound, ModelLoading, Unavailable: nothing can serve it.
            TooManyRequests: the queue is full.
            DeadlineExceeded: not done in time.
            InvalidItem, OutOfMemory, EngineError: an item failed; ``details["index"]`` says which.
        """
        model = self._model(model_uid)
        model.busy = True
        request = model.router.submit(items, now=self._clock(), key=key, lane=lane, request_id=request_id, partial=partial)
        if request.settled:
            return result_of(request)
        limit = self._timings.request if timeout is None else timeout
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        model.waiting[request] = done
        self._stories.begin(model_uid, request, model.router.routes)
        self._kick(model_uid, model)
        try:
            async with asyncio.timeout(limit):
                await done
        except TimeoutError:
            if not request.settled:  # it may have been answered in this very turn
                message = f"the request was not done within {limit:g} s; {request.left} of {len(request.items)} items were left"
                request.error = DeadlineExceeded(message)
        finally:
            model.waiting.pop(request, None)
            model.router.drop(request)
            now = self._clock()
            model.latency.ended(request, now)
            self._stories.end(model_uid, request, now)
            self._kick(model_uid, model)
        if request.error is not None:
            raise request.error
        return result_of(request)

    def _model(self, uid: ModelUid) -> _Model:
        if self._closed:
            raise Unavailable("this API process is stopping; ask again", retry_after=1.0)
        if self._table.version < 0:
            raise Unavailable("this API process does not know the routes yet; ask again", retry_after=1.0)
        model = self._models.get(uid)
        if model is None or uid not in self._table.models:
            raise ModelNotFound(f"model {uid!r} is not running", param="model")
        return model

    # --- the pump --------------------------------------------------------------------------------

    def _kick(self, uid: ModelUid, model: _Model) -> None:
        """Run the pump at the end of this turn: requests that arrive together are seen together."""
        if not model.pump_due and not self._closed:
            model.pump_due = True
            asyncio.get_running_loop().call_soon(self._pump, uid, model)

    def _pump(self, uid: ModelUid, model: _Model) -> None:
        model.pump_due = False
        if self._closed:
            return
        now, router = self._clock(), model.router
        router.tick(now)
        for load in router.fleet.probes(now):
            probe = asyncio.ensure_future(self._caller.probe(load.route))
            self._probes.add(probe)
            probe.add_done_callback(functools.partial(self._probed, uid, model, load))
        for flight in router.sends(now):
            call = self._caller.run(flight.load.route, tuple(item.work for item in flight.items), flight.timeout, flight.urgent)
            model.tasks[flight] = asyncio.ensure_future(call)
            model.tasks[flight].add_done_callback(functools.partial(self._landed, uid, model, flight))
        for flight in router.take_cancels():
            if flight in model.tasks:
                model.tasks[flight].cancel()
        self._answer(model)
        closed = router.routes is not None and router.routes.closing and router.idle()
        if (closed or router.wants_waking) and not model.told:
            model.told = True
            self.news.set()
        if router.routes is None and router.idle() and not model.waiting:
            self._forget(uid, model)
            return
        model.alarm.set(router.wake_at(now), now)

    def _answer(self, model: _Model) -> None:
        for request in model.router.take_settled():
            waiting = model.waiting.pop(request, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _forget(self, uid: ModelUid, model: _Model) -> None:
        model.alarm.cancel()
        if self._models.get(uid) is model:
            del self._models[uid]

    def _landed(self, uid: ModelUid, model: _Model, flight: Flight, task: asyncio.Task[ShardResult]) -> None:
        """A call has ended. A done callback also runs for a task that was cancelled before its first step."""
        model.tasks.pop(flight, None)
        outcome: ShardResult | XinferError
        if task.cancelled():
            outcome = ReplicaLost("the call was cancelled")
        elif (error := task.exception()) is None:
            outcome = task.result()
        elif isinstance(error, XinferError):
            outcome = error
        else:
            outcome = EngineError(f"the call to replica {flight.load.route.replica_id} failed: {type(error).__name__}: {error}")
        model.router.landed(flight, outcome, self._clock())
        self._answer(model)
        self._kick(uid, model)

    def _probed(self, uid: ModelUid, model: _Model, load: ReplicaLoad, task: asyncio.Task[bool]) -> None:
        self._probes.discard(task)
        passed = not task.cancelled() and task.exception() is None and task.result()
        model.router.probed(load, passed, self._clock())
        self._kick(uid, model)

    # --- the load, for the supervisor ------------------------------------------------------------

    def loads(self) -> dict[ModelUid, ModelLoad]:
        """Of every deployed model; what was ``busy`` begins anew."""
        found = {}
        for uid, model in self._models.items():
            routes = model.router.routes
            if routes is not None:
                found[uid] = ModelLoad(
                    tokens=model.router.tokens,
                    busy=model.busy or not model.router.idle(),
                    waiting=model.router.wants_waking,
                    closing=routes.closing,
                    documents=model.router.queue.items,
                )
            model.busy = False
        return found

    def not_woken(self, error: XinferError, uid: ModelUid | None = None) -> None:
        """That model (None: any) cannot be woken now: fail what waits for it; the next request asks again."""
        for name, model in self._models.items():
            if model.router.wants_waking and uid in (None, name):
                model.router.not_woken(error)
                model.told = False
                self._kick(name, model)

    # --- what can be asked -----------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Numbers of this process, under ``models`` of each model and under ``replicas`` of each replica; ``_total`` counts up."""
        routers = {uid: model.router for uid, model in self._models.items()}
        return figures(routers, {uid: model.latency for uid, model in self._models.items()}, self._clock())

    def why(self, request_id: str) -> dict[str, Any] | None:
        """Where a recent request's time went, or None if this process does not know it."""
        return self._stories.tell(request_id, self._clock())

    async def close(self) -> None:
        """Fail what waits, cancel what is in flight."""
        self._closed = True
        pending: list[asyncio.Task[Any]] = [*self._probes]
        for model in self._models.values():
            model.alarm.cancel()
            for request, waiting in list(model.waiting.items()):
                request.error = Unavailable("this API process is stopping; ask again", retry_after=1.0)
                if not waiting.done():
                    waiting.set_result(None)
            pending += model.tasks.values()
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
