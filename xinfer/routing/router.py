"""Everything the API process decides about one model: a pure core over queue, fleet, retries and the clock it is handed.

The shell around it (``api.dispatch`` or a simulation) sends the flights that ``sends`` returns, reports each one's outcome to
``landed``, cancels what ``take_cancels`` names and answers what ``take_settled`` returns.
"""

from __future__ import annotations

from collections.abc import Sequence

from xinfer.batching.work import ShardResult, WorkItem
from xinfer.cluster.routes import ModelRoutes
from xinfer.errors import (
    EngineError,
    InvalidRequest,
    ModelNotFound,
    ReplicaBusy,
    ReplicaLost,
    StaleEpoch,
    XinferError,
)
from xinfer.routing.fleet import Fleet
from xinfer.routing.holding import Hold
from xinfer.routing.load import DEFAULT_BUDGET, Flight, ReplicaLoad
from xinfer.routing.outcome import deliver, mismatch, undelivered
from xinfer.routing.pending import BULK, INTERACTIVE, PendingItem, PendingRequest
from xinfer.routing.pick import Dice
from xinfer.routing.queue import Group, ItemQueue
from xinfer.routing.retry import TRIES, RetryBudget
from xinfer.routing.sending import next_flight, unwanted
from xinfer.routing.tokens import TokenEstimator, size
from xinfer.settings import Limits

SHORTEST_CALL = 60.0
POOL_BUDGETS = 16
"""Batch budgets of the oldest work that a shard is chosen from (doc/adr/0005-pool.md)."""


class ModelRouter:
    """The router of one model.

    Args:
        hold: seconds that work waits for a replica to come back; ``wake``: for that of a model that was asleep.
        call_timeout: seconds the longest call may take.
        api_processes: of this server; they share each replica's window.
    """

    def __init__(
        self, uid: str, *, limits: Limits, hold: float, wake: float, call_timeout: float, dice: Dice, api_processes: int = 1
    ) -> None:
        self.uid = uid
        self.api_processes = api_processes
        self.fleet = Fleet()
        self.queue = ItemQueue(limits.queued_requests, limits.queued_tokens, POOL_BUDGETS * DEFAULT_BUDGET)
        self.estimator = TokenEstimator(512)
        self.flights: dict[Flight, None] = {}
        self.requests = 0
        self.documents = 0
        self.errors = 0
        self._hold = Hold(uid, hold, wake)
        self._call_timeout = call_timeout
        self._dice = dice
        self._retries = RetryBudget()
        self._leaving: list[Flight] = []  # at replicas that left the routes
        self._settled: list[PendingRequest] = []
        self._cancels: list[Flight] = []

    @property
    def routes(self) -> ModelRoutes | None:
        """The routes in force; None = not deployed."""
        return self._hold.routes

    def update(self, routes: ModelRoutes | None, now: float) -> None:
        """Adopt this model's routes; None = it is no longer deployed.

        Shards at replicas that left are queued again as soon as another replica can take them; until then the replica may
        be draining, and finishes what it holds.
        """
        before = self.routes
        self._hold.update(routes)
        if routes is not None:
            self.estimator.max_tokens = max(1, routes.spec.max_tokens)
        gone = self.fleet.update(routes.replicas if routes else ())
        self.queue.set_pool(POOL_BUDGETS * self._budget())
        crashed = routes is not None and before is not None and routes.starting > before.starting
        for flight in gone:
            flight.suspect = flight.suspect or crashed
        self._leaving += gone
        self._watch(now)

    def submit(
        self,
        works: Sequence[WorkItem],
        *,
        now: float,
        key: str = "",
        lane: str | None = None,
        request_id: str = "",
        partial: bool = False,
    ) -> PendingRequest:
        """Queue a request.

        Raises:
            Unavailable, ModelLoading, ModelNotFound: nothing can serve it and waiting would not help.
            TooManyRequests: the queue is full.
            InvalidRequest: an unknown lane.
        """
        if lane not in (None, INTERACTIVE, BULK):
            raise InvalidRequest(f"priority must be interactive or bulk, not {lane!r}", param="priority")
        error = self._hold.refusal(now, now)
        if self.routes is not None and self.routes.closing:
            error = ModelNotFound(f"model {self.uid!r} is being stopped", param="model")
        if error is not None:
            raise error
        estimated = [(work, seen, self.estimator.estimate(seen)) for work, seen in zip(works, map(size, works), strict=True)]
        if lane is None:
            lane = BULK if sum(tokens for _, _, tokens in estimated) > 2 * self._budget() else INTERACTIVE
        request = PendingRequest(estimated, lane=lane, arrived=now, key=key, request_id=request_id, partial=partial)
        if not request.settled:
            self.queue.push(request, self.fleet.speed())
        return request

    def _budget(self) -> int:
        """Padded tokens of the largest batch that a replica takes."""
        return max((load.budget for load in self.fleet.loads.values()), default=DEFAULT_BUDGET)

    def drop(self, request: PendingRequest) -> None:
        """Nobody waits for it any more: what is queued is forgotten, calls for nobody else are cancelled."""
        if not request.settled:
            request.settled = True
            self._let_go(request)

    def probed(self, load: ReplicaLoad, passed: bool, now: float) -> None:
        """The result of a probe that ``fleet.probes`` asked for."""
        load.probed(passed, now)
        self._watch(now)

    def sends(self, now: float) -> list[Flight]:
        """Every shard that a replica has room for, already counted."""
        flights: list[Flight] = []
        while self.queue.items:
            flight = next_flight(self.queue, self.fleet, self._dice, now, self.api_processes)
            if flight is None:
                break
            if not flight.again:
                self._retries.earn()
            usual = 20 * flight.load.in_flight_tokens / flight.load.speed if flight.load.speed > 0 else self._call_timeout
            flight.timeout = min(self._call_timeout, max(SHORTEST_CALL, usual))
            self.flights[flight] = None
            flights.append(flight)
        return flights

    def landed(self, flight: Flight, outcome: ShardResult | XinferError, now: float) -> None:
        """A call has ended, in whatever way. The count is returned first."""
        self.flights.pop(flight, None)
        load = flight.load
        load.returned(flight, now)
        if flight in self._leaving:
            self._leaving.remove(flight)
        if flight.abandoned:
            load.breaker.released()
            return
        if isinstance(outcome, ShardResult) and (wrong := mismatch(flight, outcome)):
            outcome = EngineError(wrong)
        if isinstance(outcome, ShardResult):
            load.succeeded(flight, outcome)
            self._finish(deliver(flight, outcome, self.estimator, now))
            return
        undelivered(flight, outcome, now)
        if isinstance(outcome, ReplicaBusy):
            load.busy(now)
            self.queue.push_back(flight.wanted())
        elif isinstance(outcome, ReplicaLost | StaleEpoch):
            self._lost(flight, outcome, now)
        else:
            self._failed(flight, outcome, now)
        self._watch(now)

    def _lost(self, flight: Flight, error: XinferError, now: float) -> None:
        """The replica is gone, with everything of ours that is on it: nobody waits for the other link to notice."""
        load, crashed = flight.load, isinstance(error, ReplicaLost)
        load.counters.errors += 1
        load.eject(now)
        self._requeue(flight, crashed)
        for other in load.flights:
            if not other.abandoned:
                undelivered(other, error, now)
                self._abandon(other, crashed)

    def _failed(self, flight: Flight, error: XinferError, now: float) -> None:
        load, items = flight.load, flight.wanted()
        load.counters.errors += 1
        if error.http_status < 500 and not error.retryable:  # the caller's fault, perhaps of one of the items only
            load.breaker.released()
            if len(flight.items) == 1:
                self._fail_items(items, error)
            else:
                for item in items:
                    self.queue.push_again(Group([item]))
            return
        load.breaker.failed(now)
        for item in items:
            item.attempts += 1
        again = [item for item in items if item.attempts <= TRIES]
        if again and not self._retries.spend():
            again = []
        self._fail_items([item for item in items if item not in again], error)
        again = [item for item in again if not item.request.settled]
        if again:
            self.queue.push_again(Group(again, avoid=frozenset({load.route.replica_id})))

    def _requeue(self, flight: Flight, crashed: bool) -> None:
        """Items of a replica that is gone: to the head, free of attempts; after a crash each alone, as one may be the cause."""
        items = flight.wanted()
        if not crashed:
            self.queue.push_back(items)
            return
        for item in items:
            item.crashes += 1
            if flight.alone and item.crashes > 1:
                message = f"this item was running alone when replica {flight.load.route.replica_id} died, the second in a row"
                self._fail_items([item], EngineError(message, crashes=item.crashes))
            else:
                self.queue.push_again(Group([item], alone=True))

    def _abandon(self, flight: Flight, crashed: bool) -> None:
        flight.abandoned = True
        self._cancels.append(flight)
        self._requeue(flight, crashed)

    def _fail_items(self, items: Sequence[PendingItem], error: XinferError) -> None:
        failed: dict[PendingRequest, None] = {}
        for item in items:
            if not item.request.settled:
                item.request.fail_item(item, error)
                failed[item.request] = None
        self._finish([request for request in failed if request.settled])

    def _finish(self, requests: Sequence[PendingRequest]) -> None:
        for request in requests:
            self._let_go(request)
        self._settled += requests

    def _let_go(self, request: PendingRequest) -> None:
        self.queue.drop(request)
        self._count(request)
        for flight in unwanted(self.flights, request) if request.left else ():
            self._abandon(flight, crashed=False)

    def _count(self, request: PendingRequest) -> None:
        self.requests += 1
        self.documents += len(request.items) - request.left
        self.errors += request.error is not None
        for replica_id in {shard.replica_id for shard in request.shards}:
            if replica_id in self.fleet.loads:
                self.fleet.loads[replica_id].counters.requests += 1

    def _watch(self, now: float) -> None:
        """Note since when nothing can serve; move work off replicas that left once something can."""
        served = bool(self.fleet.live())
        self._hold.watch(served, now)
        if served:
            for flight in self._leaving:
                if not flight.abandoned:
                    undelivered(flight, ReplicaLost("the replica left the routes"), now)
                    self._abandon(flight, flight.suspect)
            self._leaving.clear()

    @property
    def tokens(self) -> int:
        """Estimated, waiting and in flight."""
        return self.queue.tokens + sum(flight.padded for flight in self.flights if not flight.abandoned)

    @property
    def wants_waking(self) -> bool:
        """Work waits for a model that is asleep."""
        return self.routes is not None and self.routes.asleep and self.queue.items > 0

    def not_woken(self, error: XinferError) -> None:
        """The model stays asleep: what waits for it is told so."""
        for request in self.queue.requests if self.wants_waking else ():
            request.fail(error)
            self._finish([request])

    def tick(self, now: float) -> None:
        """Fail what has waited too long for a replica."""
        if self._hold.since is None:
            return
        for request in self.queue.requests:
            error = self._hold.refusal(request.arrived, now)
            if error is None:
                return  # the others are younger
            request.fail(error)
            self._finish([request])

    def wake_at(self, now: float) -> float | None:
        """When to call ``tick``, ``fleet.probes`` and ``sends`` if no event comes first; None = not by the clock."""
        times = self.fleet.wake_at(now)
        held = self._hold.wake_at(self.queue.requests)
        return min([*times, *([] if held is None else [held])], default=None)

    def take_settled(self) -> list[PendingRequest]:
        """Requests that were answered or failed since the last call, each once."""
        settled, self._settled = self._settled, []
        return settled

    def take_cancels(self) -> list[Flight]:
        """Calls to cancel: their items are queued again."""
        cancels, self._cancels = self._cancels, []
        return cancels

    def idle(self) -> bool:
        """Nothing waits and nothing is in flight."""
        return not self.flights and not self.queue.items
