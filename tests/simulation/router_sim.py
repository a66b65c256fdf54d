"""Routers of one model against simulated replicas on a simulated clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence

from tests.simulation.sim_replica import SimReplica, SimShard
from xinfer.batching.work import ShardResult, WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import ReplicaLost, XinferError
from xinfer.routing.load import Flight
from xinfer.routing.pending import PendingRequest
from xinfer.routing.router import ModelRouter
from xinfer.settings import Limits

HOP = 0.001
SPEC = ModelSpec(name="m", type=ModelType.RERANK, engine="e", max_tokens=512, sources=(LocalSource(path="/m"),))


class Simulation:
    """Events in order of time. ``noise``: standard deviation of bytes per token, as English text under WordPiece has it."""

    def __init__(
        self, replicas: Sequence[SimReplica], seed: int = 1, api_processes: int = 1, noise: float = 0.04, limits: Limits | None = None
    ) -> None:
        self.noise = noise
        self.dice = random.Random(seed)
        self.routers = [
            ModelRouter(
                "m", limits=limits or Limits(), hold=30.0, wake=120.0, call_timeout=600.0, dice=self.dice, api_processes=api_processes
            )
            for _ in range(api_processes)
        ]
        self.router = self.routers[0]
        self.replicas = {each.route.replica_id: each for each in replicas}
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], object]]] = []
        self.count = 0
        self.lengths: dict[WorkItem, int] = {}
        self.finished: dict[PendingRequest, float] = {}
        self.calls: dict[Flight, tuple[SimReplica, SimShard]] = {}
        self.on_done: Callable[[PendingRequest], object] = lambda request: None
        self.set_routes()

    def set_routes(self, starting: int = 0) -> None:
        """Every living replica is in the routes."""
        routes = tuple(each.route for each in self.replicas.values())
        for router in self.routers:
            router.update(ModelRoutes(ModelUid("m"), SPEC, routes, starting=starting, was_ready=True), self.now)

    def at(self, when: float, act: Callable[[], object]) -> None:
        """Do it then."""
        self.count += 1
        heapq.heappush(self.events, (when, self.count, act))

    def submit(self, lengths: Sequence[int], key: str = "", lane: str | None = None, process: int = 0) -> PendingRequest:
        """A request of documents of these true lengths."""
        works = []
        for length in lengths:
            size = max(1, round(length * 4 * self.dice.gauss(1, self.noise)))
            work = WorkItem(f"{len(self.lengths)}:".ljust(size, "x"))
            self.lengths[work] = length
            works.append(work)
        return self.routers[process].submit(works, now=self.now, key=key, lane=lane)

    def pump(self) -> None:
        """What ``api.dispatch`` does in a turn."""
        for router in self.routers:
            router.tick(self.now)
            for flight in router.sends(self.now):
                self.send(router, flight)
            for flight in router.take_cancels():
                if flight in self.calls:
                    replica, shard = self.calls[flight]
                    self.at(self.now + HOP, lambda replica=replica, shard=shard: replica.drop(shard))  # type: ignore[misc]
                self.land(router, flight, ReplicaLost("cancelled"))
            for request in router.take_settled():
                assert request not in self.finished
                self.finished[request] = self.now
                self.on_done(request)

    def send(self, router: ModelRouter, flight: Flight) -> None:
        """A call on its way."""
        replica = self.replicas.get(flight.load.route.replica_id)
        if replica is None:
            self.at(self.now + HOP, lambda: self.land(router, flight, ReplicaLost("gone")))
        elif replica.faults:
            fault = replica.faults.pop()
            self.at(self.now + HOP, lambda: self.land(router, flight, fault))
        else:

            def answer(result: ShardResult) -> None:
                self.at(self.now + HOP, lambda: self.land(router, flight, result))

            shard = SimShard([self.lengths[item.work] for item in flight.items], flight.urgent, answer)
            self.calls[flight] = (replica, shard)
            self.at(self.now + HOP, lambda: replica.arrive(self, shard))

    def land(self, router: ModelRouter, flight: Flight, outcome: ShardResult | XinferError) -> None:
        """A call's end; late ones are ignored."""
        self.calls.pop(flight, None)
        if flight in router.flights:
            router.landed(flight, outcome, self.now)

    def run(self, until: float = 1e9) -> float:
        """Until nothing is left to do, or then. Returns the time."""
        self.pump()
        while True:
            wakes = [router.wake_at(self.now) for router in self.routers if not router.idle()]
            times = [at for at in (*wakes, self.events[0][0] if self.events else None) if at is not None]
            when = min(times, default=until)
            if when >= until:
                return self.now
            self.now = max(self.now, when)
            if self.events and self.events[0][0] <= self.now:
                heapq.heappop(self.events)[2]()
            for router in self.routers:
                for load in router.fleet.probes(self.now):
                    router.probed(load, load.route.replica_id in self.replicas, self.now)
            self.pump()

    def padding(self) -> float:
        """Padded ÷ real tokens, all replicas together."""
        return sum(each.padded for each in self.replicas.values()) / sum(each.real for each in self.replicas.values())

    def batches_per_shard(self) -> float:
        """Of all replicas together."""
        return sum(each.batches for each in self.replicas.values()) / sum(each.shards for each in self.replicas.values())


def cpu(name: str, *, budget: int = 2048, speed: float = 5000.0, slow: float = 1.0, known: bool = True) -> SimReplica:
    """One core with the reranker in fp32."""
    base = 0.002
    calibrated = budget / (base + budget / speed) if known else 0.0
    route = Route(ReplicaId(name), Epoch(1), f"{name}@1", Address(f"127.0.0.1:{name}"), calibrated, budget, f"127.0.0.1:{name}@0")
    return SimReplica(route, base, 1 / speed, slow)


def gpu(name: str, budget: int = 8192) -> SimReplica:
    """A batch takes 6 ms and 1 µs a token."""
    route = Route(ReplicaId(name), Epoch(1), f"{name}@1", Address("a:1"), budget / (0.006 + budget / 1e6), budget, name)
    return SimReplica(route, 0.006, 1e-6)


def documents(dice: random.Random, count: int) -> list[int]:
    """Lengths of documents of 20 to 200 words."""
    return [min(512, max(24, int(dice.uniform(20, 200) * 1.3))) for _ in range(count)]


def correct(request: PendingRequest, sim: Simulation) -> bool:
    """Answered, every item with its own value."""
    assert request.error is None, request.error
    assert request.values is not None
    return bool(request.values.tolist() == [float(sim.lengths[item.work]) for item in request.items])


def nothing_left(sim: Simulation) -> bool:
    """Every count is back at zero."""
    return all(
        router.idle()
        and (router.queue.items, router.queue.tokens, router.queue.requests) == (0, 0, ())
        and all((load.in_flight_items, load.in_flight_tokens) == (0, 0) for load in router.fleet.loads.values())
        for router in sim.routers
    )


def founding(sim: Simulation, requests: int = 600, size: int = 20, concurrency: int = 32) -> float:
    """Closed loop, dealt out to the API processes in turn; returns the seconds it took."""
    dice = random.Random(7)
    load = [documents(dice, size) for _ in range(requests)]
    all_requests: list[PendingRequest] = []

    def one_more(_: PendingRequest | None = None) -> None:
        if load:
            all_requests.append(sim.submit(load.pop(), process=len(load) % len(sim.routers)))

    sim.on_done = one_more
    for _ in range(concurrency):
        one_more()
    took = sim.run()
    assert len(sim.finished) == requests
    assert all(correct(request, sim) for request in all_requests)
    assert nothing_left(sim)
    return took
