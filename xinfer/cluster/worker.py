"""Workers as the supervisor knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xinfer.cluster.device import Device
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, WorkerId


class WorkerState(StrEnum):
    """How lately a worker was heard of."""

    ALIVE = "alive"
    SUSPECT = "suspect"  # no new work
    LOST = "lost"  # its replicas are written off


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker host (or one of several workers on a host).

    Attributes:
        id: stable identity.
        address: actor address, ``ip:port``; also how people name the worker.
        epoch: of this registration.
        devices: by index.
        engines: names of the engines that import there.
        free_bytes: observed free memory by device; absent means unknown (then the ledger alone decides).
        last_seen: supervisor clock, seconds.
        host: host name, for people.
        version: of xinfer, as it runs there. started_at: unix seconds at which that code was taken up. pid: of its process.
    """

    id: WorkerId
    address: Address
    epoch: Epoch
    devices: tuple[Device, ...]
    engines: frozenset[str] = frozenset()
    free_bytes: Mapping[DeviceUuid, int] = field(default_factory=dict)
    state: WorkerState = WorkerState.ALIVE
    last_seen: float = 0.0
    host: str = ""
    version: str = ""
    started_at: float = 0.0
    pid: int = 0

    @property
    def ip(self) -> str:
        """The host part of the address."""
        return self.address.rpartition(":")[0].strip("[]")

    def device(self, uuid: DeviceUuid) -> Device | None:
        """The device of that uuid, if this worker has it."""
        for device in self.devices:
            if device.uuid == uuid:
                return device
        return None
