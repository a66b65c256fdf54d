"""Small clusters for tests of the control room, and a cluster that remembers its snapshot between steps."""

from __future__ import annotations

from dataclasses import replace

from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import Device, DeviceKind, DeviceReport
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.control.effects import Effect, StartReplica, StopReplica
from xinfer.control.events import Event, LaunchRequested, ReplicaEnded, ReplicaReady, Tick, WorkerBeat, WorkerJoined
from xinfer.control.step import step
from xinfer.settings import Timings

GIB = 1024**3
TIMINGS = Timings()
SPEC = ModelSpec(name="m", type=ModelType.RERANK, engine="sentence_transformers", sources=(LocalSource(path="/m"),), weight_bytes=GIB)


def worker(name: str = "a", gpus: int = 2, gib: int = 24) -> Worker:
    """A worker with ``gpus`` simulated GPUs."""
    devices = tuple(
        Device(DeviceUuid(f"{name}-gpu{i}"), DeviceKind.SIMULATED, i, "simulated", gib * GIB, f"{name}-gpu{i}") for i in range(gpus)
    )
    return Worker(WorkerId(name), Address(f"10.0.0.{ord(name[0]) - 96}:1"), Epoch(0), devices, frozenset({"sentence_transformers"}))


def slot(name: str, *indices: int) -> Slot:
    """Devices of the worker that ``worker(name)`` makes."""
    return Slot(WorkerId(name), tuple(DeviceUuid(f"{name}-gpu{i}") for i in indices))


def deployment(uid: str = "m", *demands: Demand) -> Deployment:
    """With one unpinned replica of 4 GiB, or with these."""
    wanted = demands or (Demand(4 * GIB),)
    return Deployment(ModelUid(uid), SPEC, wanted, tuple(range(len(wanted))), 1.0, next_ordinal=len(wanted))


class Cluster:
    """A snapshot with a clock; ``do`` steps it and returns the effects."""

    def __init__(self, *workers: Worker, snapshot: Snapshot | None = None, timings: Timings = TIMINGS) -> None:
        self.now = 1_000.0
        self.timings = timings
        self.snapshot = snapshot or Snapshot()
        for each in workers:
            self.do(WorkerJoined(each))

    def do(self, event: Event, after: float = 0.0) -> list[Effect]:
        """Step ``event``, ``after`` seconds later."""
        self.now += after
        self.snapshot, effects = step(self.snapshot, event, self.now, self.timings)
        return list(effects)

    def tick(self, after: float = 1.0) -> list[Effect]:
        """Let time pass."""
        self.now += after
        return self.do(Tick(self.now))

    def beat(self, name: str = "a", after: float = 0.0, running: tuple[Replica, ...] | None = None) -> list[Effect]:
        """A heartbeat; ``running`` None = not said."""
        known = self.snapshot.workers[WorkerId(name)]
        said = None if running is None else tuple((r.id, r.epoch) for r in running)
        return self.do(WorkerBeat(known.id, known.epoch, known.free_bytes, said), after)

    def replica(self, key: str = "m-0") -> Replica:
        """The replica of that id."""
        return self.snapshot.replicas[ReplicaId(key)]

    def launch(self, wanted: Deployment | None = None) -> list[StartReplica]:
        """Launch and return the starts."""
        return [e for e in self.do(LaunchRequested(wanted or deployment())) if isinstance(e, StartReplica)]

    def ready(self, key: str = "m-0", reserved: int = 0, after: float = 0.0) -> list[Effect]:
        """Its process reports ready, from the devices of its slot."""
        known = self.replica(key)
        assert known.slot is not None
        reports = tuple(DeviceReport(uuid, "simulated", DeviceKind.SIMULATED, GIB) for uuid in known.slot.device_uuids)
        return self.do(ReplicaReady(known.id, known.epoch, Address("10.0.0.1:9"), 77, reports, reserved, 100.0, 2048), after)

    def crash(self, key: str = "m-0", after: float = 0.0, **changes: object) -> list[Effect]:
        """Its process dies."""
        known = self.replica(key)
        event = ReplicaEnded(known.id, known.epoch, code=-9, error="It was killed.")
        return self.do(replace(event, **changes), after)  # type: ignore[arg-type]

    def launched(self, wanted: Deployment | None = None) -> Cluster:
        """Launch, and all its replicas report ready."""
        for start in self.launch(wanted):
            self.ready(start.assignment.replica.id)
        return self

    def running(self, name: str) -> tuple[Replica, ...]:
        """What the worker would report: all that the snapshot says is on it."""
        return tuple(
            r
            for r in self.snapshot.replicas.values()
            if r.slot is not None and r.slot.worker_id == name and r.phase not in {Phase.BACKOFF, Phase.QUEUED}
        )


def starts(effects: list[Effect]) -> list[tuple[str, int]]:
    """(replica id, epoch) of each start."""
    return [(e.assignment.replica.id, e.assignment.replica.epoch) for e in effects if isinstance(e, StartReplica)]


def stops(effects: list[Effect]) -> list[tuple[str, int]]:
    """(replica id, epoch) of each stop."""
    return [(e.replica_id, e.epoch) for e in effects if isinstance(e, StopReplica)]
