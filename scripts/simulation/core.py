"""What one decision of the pure core costs at full size."""

from __future__ import annotations

import gc
import pickle
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from scripts.simulation.figures import Figure, times
from tests.simulation.fake_cluster import TIMINGS, FakeCluster
from tests.simulation.fake_worker import GIB
from tests.simulation.people import SPEC
from tests.simulation.weather import Shape
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Progress, Replica
from xinfer.cluster.routes import Route
from xinfer.cluster.routes_of import route_table
from xinfer.cluster.snapshot import Snapshot, floor_of
from xinfer.cluster.worker import WorkerState
from xinfer.control.events import (
    DrainRequested,
    Event,
    LaunchRequested,
    MoveRequested,
    ReplicaEnded,
    ReplicaProgressed,
    ReplicaReady,
    ReplicasAdded,
    ScaledDown,
    StopRequested,
    Tick,
    WorkerBeat,
    WorkerGone,
    WorkerJoined,
)
from xinfer.control.step import step
from xinfer.placement.plan import plan_launch
from xinfer.routing.load import ReplicaLoad
from xinfer.routing.pick import pick

STEP_MS, PLAN_MS, PICK_US = 5.0, 50.0, 20.0
PICKED_AMONG = 1_000
SETTLING = 5.0
CORE = "core"


class Bench:
    """A settled cluster of full size, and steps that follow one another on it."""

    def __init__(self, shape: Shape, seed: int) -> None:
        cluster = FakeCluster(seed, replace(shape, check_whole=1_000_000))
        cluster.calm()
        cluster.run(SETTLING)
        gc.collect()
        gc.freeze()  # the harness's own objects are no matter of the core
        self.cluster = cluster
        self.snapshot = cluster.snapshot
        self.now = cluster.now
        self.dice = random.Random(seed)
        self.models = 0

    def step(self, event: Event, after: float = 0.001) -> float:
        """Seconds of CPU that it took."""
        self.now += after
        began = time.thread_time()
        self.snapshot, _ = step(self.snapshot, event, self.now, TIMINGS)
        return time.thread_time() - began

    def deployment(self, replicas: int, size: int = 2 * GIB, devices: int = 1) -> Deployment:
        """A new one."""
        self.models += 1
        uid, ordinals = ModelUid(f"new{self.models}"), tuple(range(replicas))
        return Deployment(uid, SPEC, (Demand(size, devices),) * replicas, ordinals, self.now, next_ordinal=replicas)

    def beat(self, worker_id: WorkerId, news: bool = False) -> WorkerBeat:
        """A heartbeat of a worker that runs what it should; with ``news``, its memory has changed."""
        worker = self.snapshot.workers[worker_id]
        running = tuple((r.id, r.epoch) for r in self.cluster_rows(worker_id))
        free = {uuid: size - self.dice.randint(1, 1000) * news for uuid, size in worker.free_bytes.items()}
        return WorkerBeat(worker_id, worker.epoch, free, running)

    def cluster_rows(self, worker_id: WorkerId) -> list[Replica]:
        """Replicas there by the snapshot."""
        return [r for r in self.snapshot.replicas.values() if r.slot is not None and r.slot.worker_id == worker_id]

    def hear(self, otherwise: Mapping[WorkerId, float] | None = None) -> None:
        """All workers were heard of just now, but for these."""
        late = otherwise or {}
        workers = {key: replace(w, last_seen=late.get(key, self.now)) for key, w in self.snapshot.workers.items()}
        shown = None if self.snapshot.shown is None else replace(self.snapshot.shown, workers=workers)
        self.snapshot = replace(self.snapshot, workers=workers, shown=shown)
        self.snapshot = replace(self.snapshot, floor=floor_of(self.snapshot))

    def some_workers(self, count: int) -> list[WorkerId]:
        """Drawn, none twice."""
        return self.dice.sample(sorted(self.snapshot.workers), min(count, len(self.snapshot.workers)))

    def some_ready(self, count: int) -> list[Replica]:
        """Ready replicas, none twice."""
        ready = [r for r in self.snapshot.replicas.values() if r.phase is Phase.READY]
        return self.dice.sample(ready, min(count, len(ready)))


def timed(what: Callable[[], object], tries: int) -> list[float]:
    """Seconds of CPU of each try, as others use this machine too."""
    found = []
    for _ in range(tries):
        began = time.thread_time()
        what()
        found.append(time.thread_time() - began)
    return found


def measure(shape: Shape, seed: int, tries: int) -> Iterator[Figure]:
    """All figures of the core, one by one."""
    bench = Bench(shape, seed)
    size = f"{len(bench.snapshot.workers):,} workers × {shape.gpus}, {len(bench.snapshot.replicas):,} replicas"
    yield from _plans(bench, tries, size)
    yield from _heartbeats(bench, tries)
    yield from _lives(bench, tries)
    yield from _people(bench, tries)
    yield from _losses(bench)
    yield from _routes(bench)
    yield from _picks(tries * 10, seed)
    yield from _memory(bench.snapshot)


def _plans(bench: Bench, tries: int, size: str) -> Iterator[Figure]:
    one, pair = bench.deployment(1), bench.deployment(1, devices=2)
    huge, many = bench.deployment(1, size=1000 * GIB), bench.deployment(100)

    def plan(wanted: Deployment, refusals: bool = False) -> Callable[[], object]:
        return lambda: plan_launch(bench.snapshot, wanted, refusals=refusals)

    yield Figure(CORE, "cluster", len(bench.snapshot.replicas), "replicas", size)
    yield times(CORE, "plan_launch, one replica", timed(plan(one), tries), most=PLAN_MS)
    yield times(CORE, "plan_launch, one of two devices", timed(plan(pair), tries), most=PLAN_MS)
    yield times(CORE, "plan_launch, one that fits nowhere", timed(plan(huge), tries), most=PLAN_MS)
    yield times(CORE, "the same with the reason of every device", timed(plan(huge, refusals=True), max(3, tries // 10)))
    yield times(CORE, "plan_launch, 100 replicas", timed(plan(many), max(3, tries // 10)))


def _heartbeats(bench: Bench, tries: int) -> Iterator[Figure]:
    workers = bench.some_workers(tries)
    quiet = [bench.beat(each) for each in workers]
    yield times(CORE, "step heartbeat without news", [bench.step(beat) for beat in quiet], most=STEP_MS)
    news = [bench.beat(each, news=True) for each in workers]
    yield times(CORE, "step heartbeat, other memory", [bench.step(beat) for beat in news], most=STEP_MS)
    spent = []
    for _ in range(tries):
        bench.hear()
        spent.append(bench.step(Tick(bench.now)))
    yield times(CORE, "step tick, nothing due", spent, most=STEP_MS)


def _lives(bench: Bench, tries: int) -> Iterator[Figure]:
    """Crash, and the start that follows it, of replicas here and there; then out of memory, which looks for another slot."""
    spent: dict[str, list[float]] = {}
    for replica in bench.some_ready(tries):
        spent.setdefault("crash", []).append(bench.step(ReplicaEnded(replica.id, replica.epoch, -9)))
        _follow_start(bench, replica.id, spent)
    for replica in bench.some_ready(tries):
        bench.step(ReplicaEnded(replica.id, replica.epoch, -9))
        again = bench.snapshot.replicas[replica.id]
        out = ReplicaEnded(again.id, again.epoch, -9, "oom", "out_of_memory")
        spent.setdefault("out of memory in a start", []).append(bench.step(out))
    for kind, seconds in spent.items():
        yield times(CORE, f"step {kind}", seconds, most=STEP_MS)


def _follow_start(bench: Bench, replica_id: ReplicaId, spent: dict[str, list[float]]) -> None:
    again = bench.snapshot.replicas[replica_id]
    for phase in (Phase.LOADING, Phase.WARMING):
        event = ReplicaProgressed(again.id, again.epoch, phase, Progress(phase.value, 0.5))
        spent.setdefault("progress", []).append(bench.step(event))
    ready = ReplicaReady(again.id, again.epoch, Address(f"a:{again.epoch}"), 1, (), again.reserved_bytes, 10.0, 512, SPEC.dtype)
    spent.setdefault("ready", []).append(bench.step(ready))


def _people(bench: Bench, tries: int) -> Iterator[Figure]:
    spent: dict[str, list[float]] = {}

    def one(name: str, event: Event) -> None:
        spent.setdefault(name, []).append(bench.step(event))

    for _ in range(tries):
        alone, ten = bench.deployment(1), bench.deployment(10)
        one("launch of one", LaunchRequested(alone))
        one("launch of ten", LaunchRequested(ten))
        one("scale up by one", ReplicasAdded(alone.uid, (Demand(2 * GIB),)))
        one("scale down by nine", ScaledDown(ten.uid, 1))
        one("stop", StopRequested(alone.uid))
    for replica in bench.some_ready(tries):
        if replica.ordinal in bench.snapshot.deployments[replica.model_uid].ordinals:
            one("move", MoveRequested(replica.model_uid, replica.id, Demand(2 * GIB)))
    for worker_id in bench.some_workers(min(tries, 20)):
        one("drain", DrainRequested(worker_id))
        bench.step(DrainRequested(worker_id, undo=True))
    for name, seconds in spent.items():
        yield times(CORE, f"step {name}", seconds, most=STEP_MS)


def _losses(bench: Bench) -> Iterator[Figure]:
    """A tenth of the workers falls silent, is written off, and comes back."""
    silent = bench.some_workers(len(bench.snapshot.workers) // 10)
    held = {each: tuple(bench.cluster_rows(each)) for each in silent}
    bench.now += TIMINGS.heartbeat  # so that the next tick judges, whatever the last ones left behind
    late = bench.now - TIMINGS.lost - 1
    bench.hear(dict.fromkeys(held, late))
    ticks = [bench.step(Tick(bench.now), after=0.0)]
    while bench.snapshot.behind:
        ticks.append(bench.step(Tick(bench.now), after=0.0))
    if any(bench.snapshot.workers[each].state is not WorkerState.LOST for each in silent):
        raise AssertionError("some of the silent workers were not written off")
    lost = f"{len(silent)} workers at once, {sum(map(len, held.values()))} replicas, {sum(ticks) * 1e3:.0f} ms in all"
    figure = times(CORE, "step tick, workers lost and replaced", ticks, most=STEP_MS)
    yield replace(figure, note=f"{figure.note}; {lost}")
    joins = [bench.step(WorkerJoined(bench.snapshot.workers[each], held[each])) for each in silent]
    yield times(CORE, "step join of a worker with what it runs", joins, most=STEP_MS)
    gone = [bench.step(WorkerGone(each, bench.snapshot.workers[each].epoch)) for each in silent[:20]]
    yield times(CORE, "step goodbye of a worker", gone, most=STEP_MS)


def _routes(bench: Bench) -> Iterator[Figure]:
    whole = pickle.dumps(route_table(bench.snapshot), protocol=5)
    yield times(CORE, "route_table", timed(lambda: route_table(bench.snapshot), 5))
    yield Figure(CORE, "routes sent to an API process", len(whole) / 1024, "KiB", "the whole table, whenever something in it changed")


def _picks(tries: int, seed: int) -> Iterator[Figure]:
    dice = random.Random(seed)
    loads = [
        ReplicaLoad(Route(ReplicaId(f"m-{n}"), Epoch(1), f"m-{n}@1", Address(f"a:{n}"), speed=dice.uniform(500, 5000), budget_tokens=2048))
        for n in range(PICKED_AMONG)
    ]
    yield times(CORE, f"pick among {PICKED_AMONG:,}", timed(lambda: pick(loads, 512, dice, 1.0), tries), unit="µs", most=PICK_US)


def _memory(snapshot: Snapshot) -> Iterator[Figure]:
    bare = replace(snapshot, floor=None, shown=None)
    blob = pickle.dumps(bare, protocol=5)
    tracemalloc.start()
    copy = pickle.loads(blob)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    listed = timed(lambda: pickle.dumps(bare, protocol=5), 5)
    yield Figure(CORE, "memory of the snapshot", held / 2**20, "MiB", f"{len(copy.replicas):,} replicas with their indices")
    yield times(CORE, f"snapshot to bytes, {len(blob) / 2**20:.1f} MiB, for a listing", listed)
