"""The router against simulated replicas on a simulated clock: balance, speed-up, fairness, and nothing lost or doubled."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from xinfer.batching.form import batches
from xinfer.batching.work import BatchTrace, ShardResult, WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import EngineError, ReplicaBusy, ReplicaLost, XinferError
from xinfer.routing.load import Flight
from xinfer.routing.pending import PendingRequest
from xinfer.routing.router import ModelRouter
from xinfer.settings import Limits

HOP = 0.001
SPEC = ModelSpec(name="m", type=ModelType.RERANK, engine="e", max_tokens=512, sources=(LocalSource(path="/m"),))


@dataclass
class SimReplica:
    """Runs shards one after another; a batch takes ``(base + per_token * padded) * slow`` seconds."""

    route: Route
    base: float
    per_token: float
    slow: float = 1.0
    free_at: float = 0.0
    busy: float = 0.0
    documents: int = 0
    padded: int = 0
    real: int = 0
    faults: list[XinferError] = field(default_factory=list)

    def run(self, lengths: Sequence[int], now: float) -> tuple[float, ShardResult]:
        traces = []
        for batch in batches(lengths, self.route.budget_tokens):
            inside = [lengths[i] for i in batch]
            padded = len(inside) * max(inside)
            traces.append(BatchTrace(len(inside), max(inside), padded, sum(inside), (self.base + self.per_token * padded) * self.slow))
        seconds = sum(trace.seconds for trace in traces)
        begun = max(now + HOP, self.free_at)
        self.free_at = begun + seconds
        self.busy += seconds
        self.documents += len(lengths)
        self.padded += sum(trace.padded_tokens for trace in traces)
        self.real += sum(lengths)
        values = np.array(lengths, dtype=np.float32)
        result = ShardResult(
            values,
            np.array(lengths, dtype=np.int32),
            np.zeros(len(lengths), dtype=bool),
            batches=tuple(traces),
            compute_seconds=seconds,
            slowdown=self.slow,
        )
        return self.free_at + HOP, result


class Simulation:
    def __init__(self, replicas: Sequence[SimReplica], seed: int = 1, api_processes: int = 1, noise: float = 0.04) -> None:
        self.noise = noise  # standard deviation of bytes per token, as English text under WordPiece has it
        self.dice = random.Random(seed)
        self.router = ModelRouter("m", limits=Limits(), hold=30.0, call_timeout=600.0, dice=self.dice, api_processes=api_processes)
        self.replicas = {each.route.replica_id: each for each in replicas}
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.lengths: dict[WorkItem, int] = {}
        self.finished: dict[PendingRequest, float] = {}
        self.on_done: Callable[[PendingRequest], None] = lambda request: None
        self.set_routes()

    def set_routes(self, starting: int = 0) -> None:
        routes = tuple(each.route for each in self.replicas.values())
        self.router.update(ModelRoutes(ModelUid("m"), SPEC, routes, starting=starting, was_ready=True), self.now)

    def at(self, when: float, act: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, act))

    def submit(self, lengths: Sequence[int], key: str = "", lane: str | None = None) -> PendingRequest:
        works = []
        for length in lengths:
            size = max(1, round(length * 4 * self.dice.gauss(1, self.noise)))
            work = WorkItem(f"{len(self.lengths)}:".ljust(size, "x"))
            self.lengths[work] = length
            works.append(work)
        return self.router.submit(works, now=self.now, key=key, lane=lane)

    def pump(self) -> None:
        self.router.tick(self.now)
        for flight in self.router.sends(self.now):
            self.send(flight)
        for flight in self.router.take_cancels():
            self.land(flight, ReplicaLost("cancelled"))
        for request in self.router.take_settled():
            assert request not in self.finished
            self.finished[request] = self.now
            self.on_done(request)

    def send(self, flight: Flight) -> None:
        replica = self.replicas.get(flight.load.route.replica_id)
        if replica is None:
            self.at(self.now + HOP, lambda: self.land(flight, ReplicaLost("gone")))
        elif replica.faults:
            fault = replica.faults.pop()
            self.at(self.now + HOP, lambda: self.land(flight, fault))
        else:
            done, result = replica.run([self.lengths[item.work] for item in flight.items], self.now)
            self.at(done, lambda: self.land(flight, result))

    def land(self, flight: Flight, outcome: ShardResult | XinferError) -> None:
        if flight in self.router.flights:
            self.router.landed(flight, outcome, self.now)

    def run(self, until: float = 1e9) -> float:
        self.pump()
        while True:
            wake = self.router.wake_at(self.now)
            if self.router.idle():
                wake = None
            when = min([at for at in (wake, self.events[0][0] if self.events else None) if at is not None], default=until)
            if when >= until:
                return self.now
            self.now = max(self.now, when)
            if self.events and self.events[0][0] <= self.now:
                heapq.heappop(self.events)[2]()
            for load in self.router.fleet.probes(self.now):
                self.router.probed(load, load.route.replica_id in self.replicas, self.now)
            self.pump()


def cpu(name: str, *, budget: int = 2048, speed: float = 5000.0, slow: float = 1.0, known: bool = True) -> SimReplica:
    base = 0.002
    calibrated = budget / (base + budget / speed) if known else 0.0
    route = Route(ReplicaId(name), Epoch(1), f"{name}@1", Address(f"127.0.0.1:{name}"), calibrated, budget, f"127.0.0.1:{name}@0")
    return SimReplica(route, base, 1 / speed, slow)


def documents(dice: random.Random, count: int) -> list[int]:
    return [min(512, max(24, int(dice.uniform(20, 200) * 1.3))) for _ in range(count)]


def correct(request: PendingRequest, sim: Simulation) -> bool:
    assert request.error is None, request.error
    assert request.values is not None
    return request.values.tolist() == [float(sim.lengths[item.work]) for item in request.items]


def nothing_left(sim: Simulation) -> bool:
    queue = sim.router.queue
    loads = sim.router.fleet.loads.values()
    return (
        sim.router.idle()
        and (queue.items, queue.tokens, queue.requests) == (0, 0, ())
        and all((load.in_flight_items, load.in_flight_tokens) == (0, 0) for load in loads)
    )


def founding(sim: Simulation, requests: int = 600, size: int = 20, concurrency: int = 32) -> float:
    """Closed loop; returns the seconds it took."""
    dice = random.Random(7)
    load = [documents(dice, size) for _ in range(requests)]
    all_requests: list[PendingRequest] = []

    def one_more(_: PendingRequest | None = None) -> None:
        if load:
            all_requests.append(sim.submit(load.pop()))

    sim.on_done = one_more
    for _ in range(concurrency):
        one_more()
    took = sim.run()
    assert len(sim.finished) == requests
    assert all(correct(request, sim) for request in all_requests)
    assert nothing_left(sim)
    return took


@pytest.mark.parametrize("budget", [512, 2048])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("noise", "padding"), [(0.0, 1.04), (0.04, 1.09)])
def test_founding_load_keeps_every_replica_busy_with_little_padding(budget: int, count: int, noise: float, padding: float) -> None:
    sim = Simulation([cpu(str(n), budget=budget) for n in range(count)], noise=noise)
    took = founding(sim, requests=300)
    for replica in sim.replicas.values():
        assert replica.busy / took > 0.95
        assert replica.padded / replica.real < padding


@pytest.mark.parametrize(("budget", "median", "padding"), [(512, 0.58, 1.05), (2048, 0.85, 1.10)])
def test_in_a_burst_early_requests_end_early(budget: int, median: float, padding: float) -> None:
    """60 requests of 10 documents at once: without a bound on the pool half of them ended after 0.72 (0.92) of the time."""
    sim = Simulation([cpu("0", budget=budget), cpu("1", budget=budget)])
    dice = random.Random(7)
    burst = [sim.submit(documents(dice, 10)) for _ in range(60)]
    took = sim.run()
    ended = sorted(sim.finished[request] for request in burst)
    assert ended[30] / took < median
    assert sum(each.padded for each in sim.replicas.values()) / sum(each.real for each in sim.replicas.values()) < padding
    assert all(correct(request, sim) for request in burst)


def test_bulk_goes_on_under_interactive_load_beyond_capacity() -> None:
    sim = Simulation([cpu("0", budget=512), cpu("1", budget=512)])
    dice = random.Random(3)
    bulk = sim.submit(documents(dice, 100))

    def again(request: PendingRequest) -> None:
        if request is not bulk and sim.now < 100:
            sim.submit(documents(dice, 3), lane="interactive")

    sim.on_done = again
    for _ in range(64):
        sim.submit(documents(dice, 3), lane="interactive")
    sim.run()
    assert bulk.lane == "bulk"
    alone = sum(item.tokens for item in bulk.items) / 10_000
    assert sim.finished[bulk] < 15 * alone


def test_two_replicas_are_twice_one() -> None:
    one, two = (founding(Simulation([cpu(str(n)) for n in range(count)])) for count in (1, 2))
    assert one / two > 1.95


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("budget", [512, 2048])
@pytest.mark.parametrize("size", [600, 60, 20])
def test_one_request_spreads_over_two_idle_replicas(size: int, budget: int, known: bool) -> None:
    seconds = []
    for count in (1, 2):
        sim = Simulation([cpu(str(n), budget=budget, known=known) for n in range(count)])
        request = sim.submit(documents(random.Random(2), size))
        seconds.append(sim.run())
        assert correct(request, sim)
    assert seconds[0] / seconds[1] > {600: 1.93, 60: 1.8, 20: 1.5}[size]


def test_three_short_documents_are_not_divided() -> None:
    sim = Simulation([cpu("0"), cpu("1")])
    request = sim.submit([30, 50, 60])
    sim.run()
    assert len(request.shards) == 1


def test_uneven_requests_keep_both_replicas_equally_busy() -> None:
    sim = Simulation([cpu("0"), cpu("1")])
    dice = random.Random(5)
    for turn in range(40):
        sim.submit(documents(dice, 60 if turn % 2 else 1))
    sim.run()
    busy = sorted(replica.busy for replica in sim.replicas.values())
    assert busy[0] / busy[1] > 0.95


def test_a_replica_four_times_slower_takes_its_share_and_no_more() -> None:
    alone = [founding(Simulation([cpu("0", slow=slow)]), requests=200) for slow in (1.0, 4.0)]
    pair = founding(Simulation([cpu("0"), cpu("1", slow=4.0)]), requests=200)
    assert (1 / pair) / (1 / alone[0] + 1 / alone[1]) > 0.9


def test_speed_is_not_a_picture_of_the_last_traffic() -> None:
    """Two equal GPUs, one last served bulk and the other single documents; then one large request."""

    def gpu(name: str) -> SimReplica:
        route = Route(ReplicaId(name), Epoch(1), f"{name}@1", Address("a:1"), 8192 / (0.006 + 8192 / 1e6), 8192, name)
        return SimReplica(route, 0.006, 1e-6)

    def large(names: str) -> float:
        sim = Simulation([gpu(name) for name in names])
        for _ in range(30):
            sim.submit([200] * 400, lane="bulk")
            sim.run()
            sim.submit([30])
            sim.run()
        begun = sim.now
        sim.submit(documents(random.Random(4), 4000))
        return sim.run() - begun

    assert large("a") / large("ab") > 1.9


def test_small_interactive_requests_wait_two_batches_at_most_behind_bulk() -> None:
    sim = Simulation([cpu("0", budget=512), cpu("1", budget=512)])
    dice = random.Random(9)
    waits: list[float] = []

    def again(request: PendingRequest) -> None:
        if len(request.items) > 3 and sim.now < 60:
            sim.submit(documents(dice, 600))
        elif len(request.items) <= 3:
            waits.append(sim.now - request.arrived)

    sim.on_done = again
    for _ in range(8):
        sim.submit(documents(dice, 600))
    for n in range(200):
        sim.at(1 + n * 0.25 + dice.random() * 0.1, lambda: sim.submit(documents(dice, dice.randint(1, 3))) and None)
    sim.run()
    batch = 0.002 + 512 / 5000
    waits.sort()
    own = 0.002 + 3 * 260 / 5000
    assert len(waits) == 200
    assert waits[198] <= 2 * batch + own


def test_keys_share_evenly_while_both_wait() -> None:
    sim = Simulation([cpu("0")])
    dice = random.Random(11)
    heavy = [sim.submit(documents(dice, 500), key="heavy") for _ in range(8)]
    sim.run(until=1.0)
    light = sim.submit(documents(dice, 100), key="light", lane="bulk")
    begun, tokens = sim.now, sum(item.tokens for item in light.items)
    sim.run()
    assert sim.finished[light] - begun < 3 * tokens / 5000 + 4 * 0.42  # its own work twice over, and what was in flight
    assert all(correct(request, sim) for request in [*heavy, light])


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_or_doubled_in_a_storm(seed: int) -> None:
    """Replicas die and return, refuse, fail and slow down under load; every request is answered once and rightly."""
    dice = random.Random(seed)
    names = ["0", "1", "2"]
    sim = Simulation([cpu(name, budget=dice.choice([512, 2048])) for name in names], seed, dice.choice([1, 1, 2, 3]))
    epoch = 1
    submitted: list[PendingRequest] = []

    def enter() -> None:
        submitted.append(sim.submit(documents(dice, dice.choice([1, 2, 20, 90])), key=dice.choice("abc")))

    def die_and_return() -> None:
        nonlocal epoch
        name = dice.choice(names)
        dead = sim.replicas.pop(ReplicaId(name), None)
        if dead is None:
            return
        epoch += 1
        born = replace(dead, route=replace(dead.route, epoch=Epoch(epoch)), free_at=0.0)
        for flight in list(sim.router.flights):  # its calls break, or nobody notices but the routes
            if flight.load.route == dead.route and dice.random() < 0.7:
                sim.land(flight, ReplicaLost("died"))
        sim.at(sim.now + dice.uniform(0, 0.5), lambda: sim.set_routes(starting=1))

        def back() -> None:
            sim.replicas[ReplicaId(name)] = born
            sim.set_routes()

        sim.at(sim.now + dice.uniform(0.6, 3), back)

    def fault() -> None:
        for replica in sim.replicas.values():
            replica.faults = [ReplicaBusy("full")]
            replica.slow = dice.choice([1.0, 1.0, 4.0])
        if sim.replicas:
            dice.choice(list(sim.replicas.values())).faults = [EngineError("bad luck")]

    for _ in range(150):
        sim.at(dice.uniform(0, 40), enter)
    for when in (5, 12, 21, 30):
        sim.at(when + dice.random(), die_and_return)
    for when in range(3, 40, 4):
        sim.at(when + dice.random(), fault)
    sim.run()
    assert len(sim.finished) == len(submitted) == 150
    assert all(correct(request, sim) for request in submitted)
    assert nothing_left(sim)
