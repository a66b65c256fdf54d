"""What is to find room: replicas that wait for a slot, or room that people ask for before they launch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.deployment import Deployment
from xinfer.cluster.device import Device
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.memory import format_bytes
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.placement.filters import worker_blocked


@dataclass(frozen=True, slots=True)
class Room:
    """Room for one replica that is not launched yet.

    Attributes:
        engine: that its worker has to have; "" = any.
    """

    bytes_per_device: int
    n_devices: int = 1
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """Something that needs a place.

    Attributes:
        text: for people.
        spec: of its model; None for room that is only asked for, whose worker needs ``engine``.
        pin, worker_id: where it has to be, if that is given.
        alike: on devices of one name.
    """

    text: str
    need: int
    n_devices: int
    model_uid: ModelUid
    spec: ModelSpec | None = None
    engine: str = ""
    pin: Slot | None = None
    worker_id: str | None = None
    alike: bool = False

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for wants that the same places would do for."""
        engine = self.engine if self.spec is None else self.spec.engine
        return self.need, self.n_devices, engine, self.pin, self.worker_id, self.alike

    def may_go_to(self, worker: Worker) -> bool:
        """Whether the devices of this worker, which is alive and not being drained, may be asked."""
        if self.worker_id not in (None, worker.id) or (self.pin is not None and self.pin.worker_id != worker.id):
            return False
        if self.spec is not None:
            return worker_blocked(worker, self.spec) is None
        return not self.engine or not worker.engines or self.engine in worker.engines

    def may_take(self, device: Device) -> bool:
        """Whether it may be on this device."""
        return self.pin is None or device.uuid in self.pin.device_uuids


def wants_of(snapshot: Snapshot, rooms: Sequence[Room] = ()) -> tuple[Want, ...]:
    """``rooms``; or, without any, the replicas that wait without a slot: pinned ones first, then as they were launched."""
    if rooms:
        return tuple(_room(room) for room in rooms)
    wants = [(replica.created_at, _want(replica, deployment)) for replica, deployment in _waiting(snapshot)]
    return tuple(want for _, want in sorted(wants, key=lambda entry: (entry[1].pin is None, entry[0], entry[1].text)))


def _room(room: Room) -> Want:
    text = f"a replica of {_size(room.bytes_per_device, room.n_devices)}"
    return Want(text, room.bytes_per_device, room.n_devices, ModelUid(""), engine=room.engine)


def _waiting(snapshot: Snapshot) -> Iterator[tuple[Replica, Deployment]]:
    for replica in snapshot.replicas.values():
        deployment = snapshot.deployments.get(replica.model_uid)
        if replica.phase is Phase.QUEUED and replica.slot is None and deployment is not None and replica.ordinal in deployment.ordinals:
            yield replica, deployment


def _want(replica: Replica, deployment: Deployment) -> Want:
    demand = deployment.demands[deployment.ordinals.index(replica.ordinal)]
    return Want(
        f"{replica.id}, which needs {_size(demand.bytes_per_device, demand.n_devices)}",
        demand.bytes_per_device,
        demand.n_devices,
        deployment.uid,
        deployment.spec,
        pin=demand.pin,
        worker_id=demand.worker_id,
        alike=demand.alike,
    )


def _size(need: int, n_devices: int) -> str:
    return f"{format_bytes(need)} on a device" if n_devices == 1 else f"{format_bytes(need)} on each of {n_devices} devices"
