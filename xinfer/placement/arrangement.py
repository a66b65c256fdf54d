"""Where replicas stand while moves are being planned, and where the next one could go."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import Device
from xinfer.cluster.ids import DeviceUuid, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.ledger import CHARGED, LEAVING, usage
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.placement.filters import worker_blocked


@dataclass(frozen=True, slots=True)
class Movable:
    """A replica that serves, in no move and held by no pin, on a live worker that nobody drains."""

    replica: Replica
    demand: Demand
    deployment: Deployment
    slot: Slot

    @property
    def id(self) -> ReplicaId:
        """The replica's."""
        return self.replica.id

    @property
    def model_uid(self) -> ModelUid:
        """The replica's."""
        return self.replica.model_uid


def may_move(replica: Replica, demand: Demand, deployment: Deployment) -> bool:
    """It serves, is in no move, and no pin holds it."""
    in_a_move = replica.ordinal in deployment.moves or replica.ordinal in deployment.moves.values()
    return replica.phase is Phase.READY and demand.pin is None and not in_a_move


class Arrangement:
    """The open devices (of live workers that nobody drains), who stands on them, and the moves that are planned.

    ``now`` is only charged: a successor needs its room beside the old replica, and the moves of a plan may run all at once. In
    ``later`` what leaves has gone. Who stands where (``holders``) is as it will be after the moves.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.now = usage(snapshot)
        self.workers = [
            worker
            for worker in sorted(snapshot.workers.values(), key=lambda worker: (worker.address, worker.id))
            if worker.state is WorkerState.ALIVE and worker.id not in snapshot.draining
        ]
        self.devices: dict[DeviceUuid, tuple[Worker, Device]] = {}
        self._rank: dict[DeviceUuid, int] = {}
        for worker in self.workers:
            for device in worker.devices:
                self._rank.setdefault(device.uuid, len(self._rank))
                self.devices.setdefault(device.uuid, (worker, device))
        self.holders: dict[DeviceUuid, dict[ReplicaId, None]] = {uuid: {} for uuid in self.devices}
        self.movable: dict[ReplicaId, Movable] = {}
        self.targets: dict[ReplicaId, Slot] = {}
        self._of_model: Counter[tuple[DeviceUuid | WorkerId, ModelUid]] = Counter()
        self._arriving: Counter[tuple[DeviceUuid | WorkerId, ModelUid]] = Counter()
        self._departing: Counter[tuple[WorkerId, ModelUid]] = Counter()
        leaving = self._enter_all()
        self.later = self.now.copy()
        for replica, slot in leaving:
            self.later.vacate(slot, replica.reserved_bytes, loaded=replica.loaded)
        self._domains: dict[str, list[DeviceUuid]] = {}
        for uuid, (_, device) in self.devices.items():
            self._domains.setdefault(device.memory_domain, []).append(uuid)
        self._shelves = {True: Shelf(), False: Shelf()}
        self._shelve(self.devices)
        self._blocked: dict[tuple[str, WorkerId], bool] = {}

    def _enter_all(self) -> list[tuple[Replica, Slot]]:
        """Everybody to their places; those that are on their way out hold memory only."""
        snapshot, leaving = self.snapshot, []
        demands = {uid: dict(zip(d.ordinals, d.demands, strict=True)) for uid, d in snapshot.deployments.items()}
        for replica in snapshot.replicas.values():
            slot, deployment = replica.slot, snapshot.deployments.get(replica.model_uid)
            demand = demands.get(replica.model_uid, {}).get(replica.ordinal)
            if slot is None:
                continue
            if replica.phase is Phase.BACKOFF and demand is not None:  # it comes back to its place
                self.now.charge(slot, demand.bytes_per_device, replica.model_uid)
            elif replica.phase not in CHARGED:
                continue
            if replica.phase in LEAVING or demand is None or deployment is None or _has_moved(replica, deployment):
                leaving.append((replica, slot))
                continue
            self._stand(replica.id, replica.model_uid, slot)
            if may_move(replica, demand, deployment) and all(uuid in self.devices for uuid in slot.device_uuids):
                self.movable[replica.id] = Movable(replica, demand, deployment, slot)
        return leaving

    # --- who stands where ---

    def arrive(self, each: Movable, target: Slot) -> None:
        """Charge a place for it; it has left nothing yet."""
        self._departing[self.place_of(each).worker_id, each.model_uid] += 1
        for index in (self.now, self.later):
            index.charge(target, each.demand.bytes_per_device, each.model_uid)
        self._arriving[target.worker_id, each.model_uid] += 1
        for uuid in target.device_uuids:
            self._arriving[uuid, each.model_uid] += 1
        self._stand(each.id, each.model_uid, target)
        self._shelve(target.device_uuids)

    def recall(self, each: Movable, target: Slot) -> None:
        """Take ``arrive`` back."""
        self._departing[self.place_of(each).worker_id, each.model_uid] -= 1
        for index in (self.now, self.later):
            index.vacate(target, each.demand.bytes_per_device, loaded=False)
        self._arriving[target.worker_id, each.model_uid] -= 1
        for uuid in target.device_uuids:
            self._arriving[uuid, each.model_uid] -= 1
        self._stand(each.id, each.model_uid, target, -1)
        self._shelve(target.device_uuids)

    def settle(self, moved: Iterable[tuple[Movable, Slot]]) -> None:
        """These have arrived together: they leave where they were, and what arrives next sees them as being there."""
        for each, target in moved:
            planned = self.targets.get(each.id)
            if planned is not None:
                self.recall(each, planned)  # it goes straight to the new place
            else:
                self.later.vacate(each.slot, each.replica.reserved_bytes, loaded=each.replica.loaded)
                self._stand(each.id, each.model_uid, each.slot, -1)
                self._shelve(each.slot.device_uuids)
            self.targets[each.id] = target
        self._arriving.clear()
        self._departing.clear()

    def keep(self, slot: Slot, need: int, model_uid: ModelUid) -> None:
        """A place for somebody who is not there yet."""
        for index in (self.now, self.later):
            index.charge(slot, need, model_uid)
        self._stand(ReplicaId(""), model_uid, slot)
        self._shelve(slot.device_uuids)

    def place_of(self, each: Movable) -> Slot:
        """Where it will be after the moves."""
        return self.targets.get(each.id, each.slot)

    def _stand(self, replica_id: ReplicaId, model_uid: ModelUid, slot: Slot, by: int = 1) -> None:
        self._of_model[slot.worker_id, model_uid] += by
        for uuid in slot.device_uuids:
            self._of_model[uuid, model_uid] += by
            holders = self.holders.get(uuid, {})
            if by > 0:
                holders[replica_id] = None
            else:
                holders.pop(replica_id, None)

    def _shelve(self, changed: Iterable[DeviceUuid]) -> None:
        """These devices, and those of their memory, have another room."""
        known = [self.devices[uuid][1] for uuid in changed if uuid in self.devices]
        for uuid in {other: None for device in known for other in self._domains[device.memory_domain]}:
            held = bool(self.holders[uuid])
            self._shelves[not held].remove(uuid)
            self._shelves[held].put(self.now.room(self.devices[uuid][1]), self._rank[uuid], uuid)

    # --- where to go ---

    def find(self, each: Movable, closed: Collection[DeviceUuid], *, anywhere: bool = False) -> Slot | None:
        """The fullest place that has room, of its own worker first, and where no replica of its model stands already.

        Args:
            closed: devices that it must not go to, beside its own.
            anywhere: if nothing else does, devices that hold nothing may be taken, and then places beside others of its model.
        """
        ways = ((True, True), (False, True), (True, False)) if anywhere else ((True, True),)
        return next((slot for held, apart in ways if (slot := self._find(each, closed, held, apart)) is not None), None)

    def _find(self, each: Movable, closed: Collection[DeviceUuid], held: bool, apart: bool) -> Slot | None:
        """On devices that are held already, or on others as well; apart from its model, or not."""
        here = self.place_of(each)
        shut = {*closed, *here.device_uuids}
        if each.demand.n_devices > 1:
            return self._find_group(each, here, shut, held, apart)
        need = each.demand.bytes_per_device
        own = next((worker for worker in self.workers if worker.id == here.worker_id), None)
        near = sorted((self.now.room(d), d.index, d.uuid) for d in own.devices if bool(self.holders[d.uuid]) is held) if own else []
        for uuid in (*(uuid for room, _, uuid in near if room >= need), *self._shelves[held].with_room(need)):
            worker, device = self.devices[uuid]
            if uuid not in shut and self._open(each, here, worker, apart) and (not apart or self._is_apart(each, here, device)):
                return Slot(worker.id, (uuid,))
        return None

    def _find_group(self, each: Movable, here: Slot, shut: set[DeviceUuid], held: bool, apart: bool) -> Slot | None:
        need, count = each.demand.bytes_per_device, each.demand.n_devices
        best: tuple[tuple[int, bool, int], Slot] | None = None
        for worker in self.workers:
            if len(worker.devices) < count or not self._open(each, here, worker, apart):
                continue
            fitting = [
                d
                for d in sorted(worker.devices, key=lambda d: (not self.holders[d.uuid], self.now.room(d), d.index))
                if d.uuid not in shut and (self.holders[d.uuid] or not held) and (not apart or self._is_apart(each, here, d))
            ]
            chosen = self.now.together(fitting, need, count, each.demand.alike)
            if len(chosen) == count:
                taken = sum(not self.holders[d.uuid] for d in chosen)
                key = (taken, worker.id != here.worker_id, sum(self.now.room(d) for d in chosen))
                if best is None or key < best[0]:
                    best = key, Slot(worker.id, tuple(d.uuid for d in sorted(chosen, key=lambda d: d.index)))
        return None if best is None else best[1]

    def _open(self, each: Movable, here: Slot, worker: Worker, apart: bool) -> bool:
        """Whether it may be on this worker; ``apart``: which then has no more of its model than its own worker has."""
        if each.demand.worker_id not in (None, worker.id):
            return False
        key = (each.deployment.spec.engine, worker.id)
        if key not in self._blocked:
            self._blocked[key] = worker_blocked(worker, each.deployment.spec) is not None
        if self._blocked[key]:
            return False
        if not apart or worker.id == here.worker_id:
            return True
        uid = each.model_uid
        # Those that come with it count neither there nor here, so no more pairs stand together than before.
        there = self._of_model[worker.id, uid] - self._arriving[worker.id, uid]
        return there <= self._of_model[here.worker_id, uid] - self._departing[here.worker_id, uid] - 1

    def _is_apart(self, each: Movable, here: Slot, device: Device) -> bool:
        """No replica of its model stands there but such as come with it from its own device."""
        uid = each.model_uid
        come = self._arriving[device.uuid, uid]
        return self._of_model[device.uuid, uid] == come <= min(self._of_model[uuid, uid] for uuid in here.device_uuids) - 1


class Shelf:
    """Devices by the room they have, least first."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, DeviceUuid]] = []
        self._at: dict[DeviceUuid, tuple[int, int, DeviceUuid]] = {}

    def put(self, room: int, rank: int, uuid: DeviceUuid) -> None:
        """Put a device there, or elsewhere on it."""
        self.remove(uuid)
        self._at[uuid] = (room, rank, uuid)
        insort(self._entries, self._at[uuid])

    def remove(self, uuid: DeviceUuid) -> None:
        """Take a device off, if it is there."""
        entry = self._at.pop(uuid, None)
        if entry is not None:
            del self._entries[bisect_left(self._entries, entry)]

    def with_room(self, need: int) -> Iterator[DeviceUuid]:
        """Those that have so much, the fullest first; not to be changed meanwhile."""
        for place in range(bisect_left(self._entries, (need,)), len(self._entries)):
            yield self._entries[place][2]


def _has_moved(replica: Replica, deployment: Deployment) -> bool:
    """Ready, and goes as soon as its successor is."""
    return replica.phase is Phase.READY and replica.ordinal in deployment.moves
