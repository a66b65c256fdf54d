"""The memory ledger: what is reserved on every device, and what room that leaves.

A replica is charged before it loads and the charge is replaced by the measured figure afterwards, so between the two the
device still reports as free what is already promised. Room is therefore the lesser of two views:
``0.92 * total - reserved`` and ``observed free - reserved but not loaded yet``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from xinfer.cluster.device import Device
from xinfer.cluster.ids import DeviceUuid, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import HOLDS_SLOT, Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import Worker, WorkerState

USABLE_PERCENT = 92
"""Part of a device that may be promised; the rest is the driver's, the allocator's and other people's."""

LEAVING = frozenset({Phase.DRAINING, Phase.STOPPING})
CHARGED = HOLDS_SLOT | {Phase.QUEUED}
"""A queued replica with a slot waits for its turn there, and its room is kept."""


def usable_bytes(device: Device) -> int:
    """What may be reserved on the device in all."""
    return device.total_bytes * USABLE_PERCENT // 100


def room_left(device: Device, reserved_on_device: int, reserved_unloaded_in_domain: int, free: int | None) -> int:
    """Bytes that one more replica may take; negative if too much is promised already.

    Args:
        reserved_on_device: sum of the charges on this device.
        reserved_unloaded_in_domain: sum of the charges not yet loaded on all devices of its memory domain.
        free: observed free memory, or None if unknown (then the first view decides alone).
    """
    promised = usable_bytes(device) - reserved_on_device
    return promised if free is None else min(promised, free - reserved_unloaded_in_domain)


def fits(device: Device, reserved_on_device: int, reserved_unloaded_in_domain: int, free: int | None, need: int) -> bool:
    """Whether one device can take ``need`` more bytes; the arguments are those of :func:`room_left`."""
    return need <= room_left(device, reserved_on_device, reserved_unloaded_in_domain, free)


class Usage:
    """An index over devices, built once and then charged; private to one plan or one worker, never shared.

    Devices are known by uuid alone, so two workers that see the same card share its ledger.
    """

    __slots__ = ("_devices", "_free", "_models", "_reserved", "_unloaded", "_worker_models")

    def __init__(self, devices: Iterable[Device], free: Mapping[DeviceUuid, int]) -> None:
        self._devices = {device.uuid: device for device in devices}
        self._free = dict(free)
        self._reserved: dict[DeviceUuid, int] = {}
        self._unloaded: dict[str, int] = {}
        self._models: dict[DeviceUuid, dict[ModelUid, int]] = {}
        self._worker_models: dict[tuple[WorkerId, ModelUid], int] = {}

    def charge(self, slot: Slot, reserved_bytes: int, model_uid: ModelUid, *, loaded: bool = False, leaving: bool = False) -> None:
        """Reserve ``reserved_bytes`` on each device of ``slot``, in place.

        Args:
            loaded: observed free memory shows this replica already.
            leaving: it holds memory but is about to go, so it does not count as a replica of its model.
        """
        for uuid in slot.device_uuids:
            self._reserved[uuid] = self._reserved.get(uuid, 0) + reserved_bytes
            if not loaded:
                domain = self._domain(uuid)
                self._unloaded[domain] = self._unloaded.get(domain, 0) + reserved_bytes
            if not leaving:
                models = self._models.setdefault(uuid, {})
                models[model_uid] = models.get(model_uid, 0) + 1
        if not leaving:
            key = (slot.worker_id, model_uid)
            self._worker_models[key] = self._worker_models.get(key, 0) + 1

    def copy(self) -> Usage:
        """The same, to be charged apart."""
        other = Usage((), self._free)
        other._devices = self._devices
        other._reserved, other._unloaded = dict(self._reserved), dict(self._unloaded)
        other._models = {uuid: dict(models) for uuid, models in self._models.items()}
        other._worker_models = dict(self._worker_models)
        return other

    def vacate(self, slot: Slot, reserved_bytes: int, *, loaded: bool) -> None:
        """A replica goes, in place: its charge, and what it held shows as free. It still counts as one of its model."""
        for uuid in slot.device_uuids:
            self._reserved[uuid] = self._reserved.get(uuid, 0) - reserved_bytes
            domain = self._domain(uuid)
            if not loaded:
                self._unloaded[domain] = self._unloaded.get(domain, 0) - reserved_bytes
                continue
            for other in self._free:
                if self._domain(other) == domain:
                    self._free[other] += reserved_bytes

    def room(self, device: Device) -> int:
        """Bytes that one more replica may take on this device."""
        uuid = device.uuid
        return room_left(device, self._reserved.get(uuid, 0), self._unloaded.get(device.memory_domain, 0), self._free.get(uuid))

    def lacking(self, devices: Sequence[Device], need: int) -> Device | None:
        """The first device without room for ``need`` bytes if all of ``devices`` are charged together; None if all fit.

        Devices of one memory domain draw on the same free memory, so each takes from the next one's view of it.
        """
        taken: dict[str, int] = {}
        for device in devices:
            domain, uuid = device.memory_domain, device.uuid
            ahead = taken.get(domain, 0)
            unloaded = self._unloaded.get(domain, 0) + ahead
            if not fits(device, self._reserved.get(uuid, 0), unloaded, self._free.get(uuid), need):
                return device
            taken[domain] = ahead + need
        return None

    def together(self, devices: Iterable[Device], need: int, count: int, alike: bool = False) -> list[Device]:
        """The first ``count`` of ``devices`` that can be charged ``need`` bytes each at once; fewer if there are not so many.

        Args:
            alike: of one name; of several names that would do, the one that comes first.
        """
        if alike:
            kinds: dict[str, list[Device]] = {}
            for device in devices:
                kinds.setdefault(device.name, []).append(device)
            found = [self.together(kind, need, count) for kind in kinds.values()]
            return max(found, key=len, default=[])
        chosen: list[Device] = []
        domains: set[str] = set()
        for device in devices:
            if len(chosen) == count:
                break
            alone = device.memory_domain not in domains
            if self.room(device) >= need if alone else self.lacking([*chosen, device], need) is None:
                chosen.append(device)
                domains.add(device.memory_domain)
        return chosen

    def reserved(self, uuid: DeviceUuid) -> int:
        """Sum of the charges on the device."""
        return self._reserved.get(uuid, 0)

    def unloaded(self, memory_domain: str) -> int:
        """Sum of the charges that are not loaded yet on all devices of the domain."""
        return self._unloaded.get(memory_domain, 0)

    def free(self, uuid: DeviceUuid) -> int | None:
        """Observed free memory, None if unknown."""
        return self._free.get(uuid)

    def models(self, uuid: DeviceUuid) -> Mapping[ModelUid, int]:
        """Replicas on the device by model, without those that are leaving."""
        return self._models.get(uuid, {})

    def replicas(self, uuid: DeviceUuid) -> int:
        """Replicas on the device, without those that are leaving."""
        return sum(self._models.get(uuid, {}).values())

    def on_device(self, uuid: DeviceUuid, model_uid: ModelUid) -> int:
        """Replicas of one model on the device."""
        models = self._models.get(uuid)
        return models.get(model_uid, 0) if models else 0

    def on_worker(self, worker_id: WorkerId, model_uid: ModelUid) -> int:
        """Replicas of one model on the worker."""
        return self._worker_models.get((worker_id, model_uid), 0)

    def _domain(self, uuid: DeviceUuid) -> str:
        device = self._devices.get(uuid)
        return device.memory_domain if device else uuid


class Observed(Protocol):
    """What is needed of a snapshot."""

    @property
    def workers(self) -> Mapping[WorkerId, Worker]:
        """Workers by id."""

    @property
    def replicas(self) -> Mapping[ReplicaId, Replica]:
        """Replicas by id."""


def usage(snapshot: Observed, without: Collection[ReplicaId] = frozenset()) -> Usage:
    """Index the snapshot in one pass over its devices and one over its replicas.

    Args:
        without: replicas to leave out, because they are about to be placed anew.
    """
    return usage_of(snapshot.workers.values(), snapshot.replicas.values(), without)


def usage_of(workers: Iterable[Worker], replicas: Iterable[Replica], without: Collection[ReplicaId] = frozenset()) -> Usage:
    """Index these workers' devices, charged with these replicas."""
    devices: list[Device] = []
    free: dict[DeviceUuid, int] = {}
    for worker in workers:
        devices.extend(worker.devices)
        if worker.state is WorkerState.LOST:
            continue  # what it said of free memory is old
        for uuid, observed in worker.free_bytes.items():
            free[uuid] = min(observed, free.get(uuid, observed))
    index = Usage(devices, free)
    for replica in replicas:
        if replica.slot is not None and replica.phase in CHARGED and replica.id not in without:
            leaving = replica.phase in LEAVING
            index.charge(replica.slot, replica.reserved_bytes, replica.model_uid, loaded=replica.loaded, leaving=leaving)
    return index
