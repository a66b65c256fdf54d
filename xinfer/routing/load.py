"""What one API process knows of one replica: what it sent there, how fast that is, whether it may send more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xinfer.batching.work import ShardResult
from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.routes import Route
from xinfer.routing.pending import PendingItem, Place
from xinfer.routing.standing import Standing

DEFAULT_BUDGET = 2048
MEMORY = 0.2


@dataclass(slots=True, eq=False)
class Flight:
    """One shard on its way.

    Attributes:
        padded: estimated padded tokens, what it counts in its replica's window.
        urgent: interactive; the replica runs it before what is not.
        candidates: (replica, score) of the pick; the lowest won.
        timeout: seconds the call is given.
        again: a ready-made shard, tried before.
        alone: a suspect, with nothing else of ours beside it.
        suspect: its replica left the routes in a way that looks like a crash.
        abandoned: its items are queued again; whatever it returns is ignored.
    """

    load: ReplicaLoad
    items: Sequence[PendingItem]
    padded: int
    sent_at: float
    urgent: bool = False
    candidates: tuple[tuple[ReplicaId, float], ...] = ()
    timeout: float = 0.0
    again: bool = False
    alone: bool = False
    suspect: bool = False
    abandoned: bool = False

    def wanted(self) -> list[PendingItem]:
        """Items that somebody still waits for and that are nowhere else."""
        return [item for item in self.items if item.place is Place.FLYING and not item.request.settled]


@dataclass(slots=True)
class Counters:
    """What a replica has done for this process."""

    shards: int = 0
    documents: int = 0
    requests: int = 0
    errors: int = 0
    tokens: int = 0
    compute_seconds: float = 0.0
    busy_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class ReplicaLoad(Standing):
    """One life of one replica. The window is two batch budgets, divided among the API processes.

    Attributes:
        learnt: budget that the last answer named; 0 = none yet.
        others: tokens of other API processes that were there as the last answer left.
    """

    route: Route
    learnt: int = 0
    others: int = 0
    slowdown: float = 1.0
    measured: float = 0.0
    """Padded tokens/s of recent batches; depends on the traffic, so it only serves where there is no calibrated speed."""
    flights: list[Flight] = field(default_factory=list)
    in_flight_tokens: int = 0
    """Estimated padded tokens sent and not answered; the next two count those of urgent flights."""
    urgent_tokens: int = 0
    urgent_flights: int = 0
    head_since: float = 0.0
    counters: Counters = field(default_factory=Counters)

    @property
    def budget(self) -> int:
        """Padded tokens of one batch there: as it says itself, or as it was calibrated."""
        return self.learnt or self.route.budget_tokens or DEFAULT_BUDGET

    @property
    def speed(self) -> float:
        """Calibrated tokens/s over slowdown; 0 = unknown."""
        return self.route.speed / self.slowdown if self.route.speed > 0 else 0.0

    @property
    def in_flight_items(self) -> int:
        """Items sent and not answered."""
        return sum(len(flight.items) for flight in self.flights)

    def remaining(self, now: float, urgent: bool = False) -> float:
        """In-flight tokens less what should be computed by now; never less than a tenth of the shard that runs.

        ``urgent``: only those that an interactive shard would wait for, the running one and the interactive ones.
        """
        if not self.flights:
            return 0.0
        done = (self.speed or self.measured) * max(0.0, now - self.head_since)
        head = self.flights[0]
        of_head = head.padded - min(0.9 * head.padded, done)
        if urgent:  # goes ahead after the batch that runs, however many the shard has
            return self.urgent_tokens - (head.padded if head.urgent else 0) + min(of_head, self.budget)
        return self.in_flight_tokens - head.padded + of_head

    def room(self, api_processes: int, now: float, urgent: bool = False, batches: int = 1) -> int:
        """Padded tokens that may be sent now; 0 = closed. One item always fits an empty window.

        Two shards in flight, so that the replica has the next one when it ends the first; one, where other API processes
        keep it busy. What other processes leave unused may be used. Interactive shards have a window beside that of bulk
        ones, as they do not wait behind them: so one waits for the batch that runs, at most.

        ``batches``: budgets that one shard may have.
        """
        if self.ejected or now < self.closed_until:
            return 0
        if self.flights and self.flights[0].alone:
            return 0
        budget = batches * self.budget
        window = max(1, 2 * budget // api_processes, 2 * budget - self.others if self.learnt else 0)
        count, tokens = (self.urgent_flights, self.urgent_tokens) if urgent else (len(self.flights), self.in_flight_tokens)
        if not count:
            return min(budget, window)
        shared = api_processes > 1 and (not self.learnt or 4 * self.others > budget)
        if count >= (1 if shared and not urgent else 2):
            return 0
        return max(0, min(budget, window - tokens))

    def send(self, flight: Flight) -> None:
        """Count a shard, before anything is awaited."""
        if not self.flights:
            self.head_since = flight.sent_at
        self.flights.append(flight)
        self._count(flight, 1)
        self.breaker.sent()

    def returned(self, flight: Flight, now: float) -> None:
        """Uncount it, whatever came of it."""
        self.flights.remove(flight)
        self._count(flight, -1)
        self.head_since = now
        self.closed_until = 0.0

    def _count(self, flight: Flight, sign: int) -> None:
        self.in_flight_tokens += sign * flight.padded
        if flight.urgent:
            self.urgent_flights += sign
            self.urgent_tokens += sign * flight.padded

    def succeeded(self, flight: Flight, result: ShardResult) -> None:
        """Learn from an answer."""
        self.breaker.succeeded()
        self.slowdown = max(0.01, result.slowdown)
        self.learnt = result.budget_tokens
        self.others = max(0, result.queued_tokens - self.in_flight_tokens)
        seconds = sum(batch.seconds for batch in result.batches)
        if seconds > 0:
            rate = sum(batch.padded_tokens for batch in result.batches) / seconds
            self.measured = rate if self.measured <= 0 else self.measured + MEMORY * (rate - self.measured)
        counters = self.counters
        counters.shards += 1
        counters.documents += len(flight.items)
        counters.tokens += int(result.tokens.sum())
        counters.compute_seconds += result.compute_seconds
        counters.busy_seconds = max(counters.busy_seconds, result.busy_seconds)
