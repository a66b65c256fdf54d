"""A step stays cheap on a large cluster: 1,000 workers of 8 devices, 10,000 replicas of 1,000 models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, TIMINGS, deployment, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import Address, Epoch, WorkerId
from xinfer.cluster.replica import Phase, Progress, Replica
from xinfer.cluster.routes import Shown
from xinfer.cluster.routes_of import shown_of
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot, floor_of
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker
from xinfer.control.events import Event, ReplicaEnded, ReplicaProgressed, ReplicaReady, Tick, WorkerBeat
from xinfer.control.lifecycle import replica_id
from xinfer.control.step import step

WORKERS, MODELS, EACH = 1_000, 1_000, 10
LIMIT = 0.005
"""Seconds, for the best of some tries: what the work costs, whatever else this machine does."""


@pytest.fixture(scope="module")
def large() -> Snapshot:
    workers: dict[WorkerId, Worker] = {}
    for i in range(WORKERS):
        one = worker("a", gpus=8)
        devices = tuple(type(d)(f"w{i}-{d.index}", d.kind, d.index, d.name, d.total_bytes, f"w{i}-{d.index}") for d in one.devices)  # type: ignore[arg-type]
        free = {d.uuid: d.total_bytes for d in devices}
        workers[WorkerId(f"w{i}")] = Worker(
            WorkerId(f"w{i}"), Address(f"10.0.{i // 250}.{i % 250}:1"), Epoch(i + 1), devices, one.engines, free, last_seen=1_000.0
        )
    wanted = {uid: deployment(uid, *[Demand(GIB)] * EACH) for uid in (f"m{i}" for i in range(MODELS))}
    replicas = {}
    for n in range(MODELS * EACH):
        uid, ordinal = f"m{n // EACH}", n % EACH
        owner = workers[WorkerId(f"w{n % WORKERS}")]
        place = Slot(owner.id, (owner.devices[n // WORKERS % 8].uuid,))
        key = replica_id(uid, ordinal)
        replicas[key] = Replica(
            key,
            uid,
            ordinal,
            Epoch(WORKERS + n + 1),
            Phase.READY,
            place,
            GIB,
            True,
            Address(f"{owner.ip}:{n}"),
            n,
            ready_at=900.0,  # type: ignore[arg-type]
        )
    bare = Snapshot(Epoch(1), 1, workers, wanted, ReplicaTable.of(replicas), next_epoch=100_000, ticked_at=1_000.0)  # type: ignore[arg-type]
    shown = Shown(bare.workers, bare.deployments, bare.replicas, shown_of(bare))
    return replace(bare, floor=floor_of(bare), shown=shown)  # as every step carries them on


def best_of(tries: int, what: Callable[[], object]) -> float:
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        what()
        times.append(time.perf_counter() - began)
    return min(times)


def event_of(kind: str, snapshot: Snapshot) -> tuple[Snapshot, Event]:
    known = snapshot.replicas[replica_id("m7", 3)]
    assert known.slot is not None
    owner = snapshot.workers[known.slot.worker_id]
    if kind == "beat":
        held = tuple((r.id, r.epoch) for r in snapshot.replicas.values() if r.slot and r.slot.worker_id == owner.id)
        return snapshot, WorkerBeat(owner.id, owner.epoch, owner.free_bytes, held)
    if kind == "tick":
        return snapshot, Tick(1_001.0)
    if kind == "crash":
        return snapshot, ReplicaEnded(known.id, known.epoch, -9)
    starting, _ = step(snapshot, ReplicaEnded(known.id, known.epoch, -9), 1_001.0, TIMINGS)
    reborn = starting.replicas[known.id]
    if kind == "progress":
        return starting, ReplicaProgressed(reborn.id, reborn.epoch, Phase.LOADING, Progress("loading", 0.5))
    return starting, ReplicaReady(reborn.id, reborn.epoch, Address("10.0.0.1:7"))


@pytest.mark.parametrize("kind", ["beat", "tick", "crash", "progress", "ready"])
def test_an_ordinary_event_takes_less_than_five_milliseconds(large: Snapshot, kind: str) -> None:
    snapshot, event = event_of(kind, large)
    after, _ = step(snapshot, event, 1_001.0, TIMINGS)
    assert after != snapshot, "the event must not have been ignored"
    took = best_of(15, lambda: step(snapshot, event, 1_001.0, TIMINGS))
    print(f"{kind}: {took * 1e3:.2f} ms")
    assert took < LIMIT
