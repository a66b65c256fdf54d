"""What a worker process hands to the code that takes its place: JSON in the header of the new image."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from xinfer.cluster.device import Device
from xinfer.cluster.ids import Address, Epoch, WorkerId
from xinfer.cluster.replica import Assignment, Replica


@dataclass(frozen=True, slots=True)
class HeldReplica:
    """One replica, between two images of its worker.

    Attributes:
        pid: of its process; None = it could not be reached yet, and its start is begun again.
        log, log_start: its stderr file, and where in it this life's lines begin.
        drain_seconds: what it was given to drain, if it was asked to stop.
    """

    assignment: Assignment
    replica: Replica
    devices: tuple[Device, ...]
    pid: int | None
    log: str
    log_start: int
    drain_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HeldWorker:
    """One worker of the process.

    Attributes:
        address: to listen on again.
        lock: descriptor of the lock on its id, which goes over open.
        begun: epochs of all lives that were begun here; none is begun twice.
    """

    worker_id: WorkerId
    address: Address
    lock: int
    begun: tuple[Epoch, ...] = ()
    replicas: tuple[HeldReplica, ...] = ()


HELD: TypeAdapter[tuple[HeldWorker, ...]] = TypeAdapter(tuple[HeldWorker, ...])
