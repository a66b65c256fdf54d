"""What rules a slot out, each with its reason and what would help."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.device import Device
from xinfer.cluster.ledger import Usage, usable_bytes
from xinfer.cluster.memory import format_bytes
from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import Worker, WorkerState

MAX_MODELS_NAMED = 3


class Obstacle(StrEnum):
    """What kind of thing is in the way."""

    WORKER = "worker"
    ENGINE = "engine"
    MEMORY = "memory"
    COUNT = "count"  # this device would do, but too few beside it do


class Blocked(NamedTuple):
    """An obstacle that needs no numbers."""

    obstacle: Obstacle
    reason: str
    hint: str


class Shortage(NamedTuple):
    """Too little memory on one device; numbers now, words only when someone reads them (there may be thousands).

    Attributes:
        room: left by the ledger's rule, may be negative.
        reserved: by replicas on the device.
        free: observed, None if unknown.
        models: on the device.
    """

    device: Device
    need: int
    room: int
    reserved: int
    free: int | None
    models: tuple[str, ...]

    @property
    def obstacle(self) -> Obstacle:
        """Always memory."""
        return Obstacle.MEMORY

    @property
    def reason(self) -> str:
        """Whether the device is too small, or reservations or other programs take the room."""
        usable, need = usable_bytes(self.device), format_bytes(self.need)
        if self.need > usable:
            return f"needs {need}, more than the {format_bytes(usable)} that may be used of its {format_bytes(self.device.total_bytes)}"
        left = format_bytes(max(0, self.room))
        if self.outsiders:
            return f"needs {need}, has {left} left of {format_bytes(self.free or 0)} observed free"
        more = ", …" if len(self.models) > MAX_MODELS_NAMED else ""
        holders = f" by {', '.join(self.models[:MAX_MODELS_NAMED])}{more}" if self.models else ""
        return f"needs {need}, has {left} left beside {format_bytes(self.reserved)} reserved{holders}"

    @property
    def hint(self) -> str:
        """What would help."""
        if self.need > usable_bytes(self.device):
            return "use a larger device, more devices per replica, or a smaller memory"
        if self.outsiders:
            return "end what else uses this memory, or give a smaller memory"
        return "stop or move a replica there, or give a smaller memory"

    @property
    def outsiders(self) -> bool:
        """By reservations alone it would fit: observed free memory says no."""
        return self.need <= usable_bytes(self.device) - self.reserved


class Refusal(NamedTuple):
    """One device (or one pinned slot) that cannot take the replica.

    Attributes:
        slot: the device as a slot of one, or the whole pin.
        text: the same as people write it, ``ADDR@0``.
    """

    slot: Slot
    text: str
    why: Blocked | Shortage

    @property
    def obstacle(self) -> Obstacle:
        """What kind of thing is in the way, for programs."""
        return self.why.obstacle

    @property
    def reason(self) -> str:
        """For people, without a full stop."""
        return self.why.reason

    @property
    def hint(self) -> str:
        """What would help."""
        return self.why.hint


def worker_blocked(worker: Worker, spec: ModelSpec, draining: bool = False) -> Blocked | None:
    """Lost, suspect, being drained, or without the engine; None if its devices may be asked."""
    if worker.state is WorkerState.LOST:
        return Blocked(Obstacle.WORKER, "its worker is lost", "start xinfer-worker there again")
    if worker.state is WorkerState.SUSPECT:
        return Blocked(Obstacle.WORKER, "its worker has not been heard of lately", "wait until it is back, or look at that host")
    if draining:
        return Blocked(Obstacle.WORKER, "its worker is being drained", "end that with `xinfer drain --undo`, or choose another worker")
    if worker.engines and spec.engine not in worker.engines:
        known = ", ".join(sorted(worker.engines))
        return Blocked(
            Obstacle.ENGINE,
            f"engine {spec.engine} is not installed there, only {known}",
            f"install {spec.engine} on that worker, or choose a model_engine that it has",
        )
    return None


def shortage(device: Device, need: int, usage: Usage) -> Shortage:
    """Why a device cannot take ``need`` bytes as the usage stands."""
    uuid = device.uuid
    return Shortage(device, need, usage.room(device), usage.reserved(uuid), usage.free(uuid), tuple(sorted(usage.models(uuid))))


def refuse_worker(worker: Worker, blocked: Blocked) -> list[Refusal]:
    """The same reason for each of its devices."""
    return [_refusal(worker, device, blocked) for device in worker.devices]


def refuse_devices(worker: Worker, need: int, n_devices: int, usage: Usage, alike: bool = False) -> list[Refusal]:
    """Devices of one eligible worker that cannot take part, if a replica needs ``n_devices`` of them.

    Where enough devices have room, only those without are refused; where too few have, all of them are.
    """
    with_room: list[Device] = []
    refusals: list[Refusal] = []
    for device in worker.devices:
        if usage.room(device) >= need:
            with_room.append(device)
        else:
            refusals.append(_refusal(worker, device, shortage(device, need, usage)))
    if with_room and len(usage.together(with_room, need, n_devices, alike)) < n_devices:
        blocked = Blocked(
            Obstacle.COUNT,
            f"a replica needs {n_devices} devices {'of one kind ' * alike}of one worker, and too few have room together here",
            "ask for a smaller n_gpu, or free the devices beside it",
        )
        refusals.extend(_refusal(worker, device, blocked) for device in with_room)
    return refusals


def _refusal(worker: Worker, device: Device, why: Blocked | Shortage) -> Refusal:
    return Refusal(Slot(worker.id, (device.uuid,)), f"{worker.address}@{device.index}", why)
