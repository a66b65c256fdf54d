"""The true side of a simulated cluster: workers with processes that start, crash, hang and die, and a ledger of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xinfer.catalog.spec import Dtype
from xinfer.cluster.device import Device, DeviceKind, DeviceReport
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.ledger import usable_bytes
from xinfer.cluster.replica import Phase, Progress, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import Worker
from xinfer.control.events import Event, ReplicaEnded, ReplicaProgressed, ReplicaReady
from xinfer.control.lifecycle import replica_id

GIB = 1024**3
ENGINE = "sentence_transformers"


@dataclass(slots=True)
class Process:
    """One life of a replica as it really is.

    Attributes:
        fate: "ready", "crash", "oom", "fatal" or "hang"; what its start comes to.
        dtype: in which it will run, as it chooses or is told.
        stop_at: clock at which it obeys a stop; None = nobody asked.
    """

    replica: Replica
    fate: str
    dtype: Dtype
    stop_at: float | None = None


@dataclass(slots=True)
class FakeWorker:
    """A worker process and the replicas it really runs.

    Attributes:
        up: the process lives. linked: the network to the supervisor works.
        registration: epoch it was given by the supervisor's life it last joined; None = has to join.
        process: which process it is; messages from or to an earlier one never arrive, as their connections are gone.
        begun: epochs that have had their life in this process.
        outbox: news not yet delivered; survives everything but the end of the process.
    """

    id: WorkerId
    devices: tuple[Device, ...]
    up: bool = True
    linked: bool = True
    registration: Epoch | None = None
    joining: bool = False
    running: dict[ReplicaId, Process] = field(default_factory=dict)
    outbox: list[Event] = field(default_factory=list)
    process: int = 0
    begun: set[Epoch] = field(default_factory=set)

    @classmethod
    def make(cls, name: str, gpus: int, gib: int) -> FakeWorker:
        """A worker with ``gpus`` simulated GPUs of ``gib`` GiB."""
        return cls(
            WorkerId(name),
            tuple(Device(DeviceUuid(f"{name}{i}"), DeviceKind.SIMULATED, i, "simulated", gib * GIB, f"{name}{i}") for i in range(gpus)),
        )

    def hello(self) -> Worker:
        """How it introduces itself."""
        return Worker(self.id, Address(f"{self.id}:1"), Epoch(0), self.devices, frozenset({ENGINE}), self.free())

    def free(self) -> dict[DeviceUuid, int]:
        """Observed memory: loaded processes show, starting ones not yet."""
        used = {d.uuid: 0 for d in self.devices}
        for process in self.running.values():
            if process.replica.slot is not None and process.replica.loaded:
                for uuid in process.replica.slot.device_uuids:
                    used[uuid] += process.replica.reserved_bytes
        return {d.uuid: d.total_bytes - used[d.uuid] for d in self.devices}

    def runs(self, replica_id: ReplicaId, epoch: Epoch) -> bool:
        """Whether this very life is here."""
        process = self.running.get(replica_id)
        return process is not None and process.replica.epoch == epoch

    def hold(self, uid: ModelUid, ordinal: int, epoch: Epoch, device: int, size: int) -> None:
        """A replica that has been ready here for long."""
        slot = Slot(self.id, (self.devices[device].uuid,))
        reports = (DeviceReport(slot.device_uuids[0], "simulated", DeviceKind.SIMULATED, 1),)
        address = Address(f"{self.id}:{epoch}")
        replica = Replica(
            replica_id(uid, ordinal), uid, ordinal, epoch, Phase.READY, slot, size, True, address, 1, reports, ready_at=1.0, speed=10.0
        )
        replica = replace(replica, budget_tokens=512, dtype=Dtype.FLOAT32)
        self.running[replica.id] = Process(replica, "ready", Dtype.FLOAT32)

    def reserved(self, uuid: DeviceUuid) -> int:
        """Its own ledger."""
        return sum(p.replica.reserved_bytes for p in self.running.values() if p.replica.slot and uuid in p.replica.slot.device_uuids)

    def refusal(self, replica: Replica) -> str:
        """Why it will not start this replica; "" if it will."""
        slot = replica.slot
        if slot is None or slot.worker_id != self.id:
            return "bound to another worker"
        held = self.running.get(replica.id)
        if held is not None:
            return f"still runs here with epoch {held.replica.epoch}"
        if replica.epoch in self.begun:
            return f"has had its life of epoch {replica.epoch} here"
        there = {d.uuid: d for d in self.devices}
        for uuid in slot.device_uuids:
            if uuid not in there:
                return f"no device {uuid}"
            if self.reserved(uuid) + replica.reserved_bytes > usable_bytes(there[uuid]):
                return f"{uuid} is full"
        return ""

    def begin(self, process: Process) -> None:
        """A replica's life begins."""
        self.running[process.replica.id] = process
        self.begun.add(process.replica.epoch)

    def die(self) -> None:
        """Its process ends with all that it runs; another one may come up."""
        self.up, self.registration, self.joining, self.process = False, None, False, self.process + 1
        self.running.clear()
        self.outbox.clear()
        self.begun.clear()

    def advance(self, replica_id: ReplicaId, epoch: Epoch, phase: Phase, now: float) -> None:
        """A start comes to its next stage, or to its end."""
        process = self.running.get(replica_id)
        if process is None or process.replica.epoch != epoch or process.stop_at is not None:
            return
        if phase is Phase.READY and process.fate != "ready":
            if process.fate != "hang":
                self.end(replica_id, epoch, process.fate)
            return
        replica = replace(process.replica, phase=phase, progress=Progress(phase.value, 0.5))
        if phase is Phase.READY:
            assert replica.slot is not None
            reports = tuple(DeviceReport(uuid, "simulated", DeviceKind.SIMULATED, 1) for uuid in replica.slot.device_uuids)
            measured = replica.reserved_bytes - replica.reserved_bytes // 8
            address = Address(f"{self.id}:{epoch}")
            replica = replace(replica, loaded=True, reserved_bytes=measured, address=address, reports=reports, ready_at=now, speed=10.0)
            replica = replace(replica, dtype=process.dtype)
            self.outbox.append(ReplicaReady(replica_id, epoch, address, 1, reports, measured, 10.0, 512, process.dtype))
        else:
            self.outbox.append(ReplicaProgressed(replica_id, epoch, phase, replica.progress))
        process.replica = replica

    def end(self, replica_id: ReplicaId, epoch: Epoch, why: str) -> bool:
        """A process ends; False if it was not there."""
        process = self.running.get(replica_id)
        if process is None or process.replica.epoch != epoch:
            return False
        del self.running[replica_id]
        code = {"oom": "out_of_memory", "fatal": "launch_failed"}.get(why, "")
        self.outbox.append(ReplicaEnded(replica_id, epoch, -9, why, code, fatal=why == "fatal"))
        return True
