"""The router under load, against replicas with the service times that were measured (doc/performance.md)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from scripts.simulation.figures import Figure, quantile
from tests.simulation.router_sim import Simulation, cpu, documents, founding
from tests.simulation.sim_replica import SimReplica
from xinfer.routing.pending import PendingRequest

ROUTER = "router"
TOKENS_A_DOCUMENT = 137
ENGINES = {"float32": 13.4, "bfloat16": 21.2, "int8": 31.2}
"""Documents of 137 tokens a second of one replica on one core, half of what two were measured to do."""
BATCH = 512
FLEET = 64


def replicas(count: int, engine: str) -> list[SimReplica]:
    """So many, each on a core of its own."""
    return [cpu(str(n), budget=BATCH, speed=ENGINES[engine] * TOKENS_A_DOCUMENT) for n in range(count)]


def evenness(sim: Simulation) -> float:
    """The least busy replica's seconds ÷ the busiest one's."""
    busy = sorted(replica.busy for replica in sim.replicas.values())
    return busy[0] / busy[-1]


def latency(sim: Simulation, of: Callable[[PendingRequest], bool] = lambda request: True) -> float:
    """p99 of the seconds that requests took."""
    return quantile([at - request.arrived for request, at in sim.finished.items() if of(request)], 0.99)


def measure(seed: int, requests: int) -> Iterator[Figure]:
    """All figures of the router, one by one."""
    for engine in ENGINES:
        yield from _founding(engine, seed, requests)
    yield _large(seed)
    yield _uneven(seed)
    yield from _beside_bulk(seed)
    yield from _fleet(seed, requests)


def _founding(engine: str, seed: int, requests: int) -> Iterator[Figure]:
    one, two = (Simulation(replicas(count, engine), seed) for count in (1, 2))
    alone, both = founding(one, requests), founding(two, requests)
    load = f"{requests} × 20, 32 at a time, {engine}"
    yield Figure(ROUTER, "2 replicas ÷ 1", alone / both, "", f"{load}; {requests * 20 / both:.1f} docs/s", least=1.9)
    yield Figure(ROUTER, "less busy ÷ busier", evenness(two), "", load, least=0.95)
    yield Figure(ROUTER, "p99 of a request", latency(two), "s", load)


def _large(seed: int) -> Figure:
    seconds = []
    for count in (1, 2):
        sim = Simulation(replicas(count, "float32"), seed)
        sim.submit(documents(random.Random(seed), 600))
        seconds.append(sim.run())
    return Figure(ROUTER, "one request: 1 replica ÷ 2", seconds[0] / seconds[1], "", "600 documents, float32", least=1.9)


def _uneven(seed: int) -> Figure:
    sim, dice = Simulation(replicas(2, "float32"), seed), random.Random(seed)
    for turn in range(40):
        sim.submit(documents(dice, 60 if turn % 2 else 1))
    sim.run()
    return Figure(ROUTER, "uneven: less busy ÷ busier", evenness(sim), "", "40 requests of 60 and 1 in turn, float32", least=0.95)


def _beside_bulk(seed: int) -> Iterator[Figure]:
    """Small requests, two a second, alone and beside eight of 600."""
    p99 = []
    for bulk in (0, 8):
        sim, dice = Simulation(replicas(2, "float32"), seed), random.Random(seed)
        for _ in range(bulk):
            sim.submit(documents(dice, 600))
        small: list[PendingRequest] = []
        _arrivals(sim, small, [documents(dice, dice.randint(1, 3)) for _ in range(150)], 0.5)
        sim.run()
        p99.append(latency(sim, set(small).__contains__))
    batch = BATCH / (ENGINES["float32"] * TOKENS_A_DOCUMENT)
    note = f"alone {p99[0]:.2f} s, beside 8 × 600 {p99[1]:.2f} s, float32"
    yield Figure(ROUTER, "small beside bulk: p99 above p99 alone", (p99[1] - p99[0]) / batch, "batches", note, most=2.0)


def _arrivals(sim: Simulation, into: list[PendingRequest], loads: Sequence[list[int]], every: float) -> None:
    for number, lengths in enumerate(loads):
        sim.at(number * every, lambda lengths=lengths: into.append(sim.submit(lengths)))  # type: ignore[misc]


def _fleet(seed: int, requests: int) -> Iterator[Figure]:
    """A large deployment, a tenth of it four times slower than calibrated."""
    fleet = replicas(FLEET, "float32")
    for replica in fleet[: FLEET // 10]:
        replica.slow = 4.0
    sim = Simulation(fleet, seed)
    took = founding(sim, requests * 8, concurrency=FLEET * 8)
    speed = sum(ENGINES["float32"] / replica.slow for replica in fleet)
    load = f"{requests * 8} × 20, {FLEET * 8} at a time, {FLEET} replicas, a tenth of them 4 × slower"
    yield Figure(ROUTER, "documents/s ÷ sum of the replicas", requests * 8 * 20 / took / speed, "", load, least=0.9)
    yield Figure(ROUTER, "less busy ÷ busier", evenness(sim), "", load)
    yield Figure(ROUTER, "p99 of a request", latency(sim), "s", load)
