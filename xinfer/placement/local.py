"""The usage of single workers, built when a plan looks at one and charged by that plan alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from xinfer.cluster.floor import Floor, Rank, Standing, standing
from xinfer.cluster.ids import DeviceUuid, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.ledger import CHARGED, LEAVING, Usage
from xinfer.cluster.replica import Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import Worker


class LocalUsage:
    """A plan looks at few workers closely; of the others it needs their standing alone.

    Attributes:
        on_worker, on_device: replicas of the model that were there before the plan.
    """

    def __init__(self, floor: Floor, model_uid: ModelUid, without: Collection[ReplicaId] = frozenset()) -> None:
        self._floor = floor
        self._model_uid = model_uid
        self._without = without
        self._usages: dict[WorkerId, Usage] = {}
        self.on_worker: dict[WorkerId, int] = {}
        self.on_device: dict[DeviceUuid, int] = {}
        for key in floor.table.of_model(model_uid):
            replica = floor.table[key]
            if key not in without:
                self._count(replica)
        for key in without:
            self._open_places(floor.table.get(key))

    def _count(self, replica: Replica) -> None:
        if replica.slot is None or replica.phase not in CHARGED or replica.phase in LEAVING:
            return
        self.on_worker[replica.slot.worker_id] = self.on_worker.get(replica.slot.worker_id, 0) + 1
        for uuid in replica.slot.device_uuids:
            self.on_device[uuid] = self.on_device.get(uuid, 0) + 1

    def _open_places(self, replica: Replica | None) -> None:
        """A replica that is left out leaves more room than the floor says."""
        if replica is None or replica.slot is None:
            return
        for uuid in replica.slot.device_uuids:
            for worker_id in self._floor.sharers.get(uuid, ()):
                self.at(worker_id)

    def at(self, worker_id: WorkerId) -> Usage:
        """The index of this worker's devices; workers that share some share the index."""
        known = self._usages.get(worker_id)
        if known is None:
            known = self._floor.usage(worker_id, self._without)
            self._usages.update(dict.fromkeys(self._floor.beside(worker_id), known))
        return known

    def charge(self, slot: Slot, reserved_bytes: int) -> None:
        """Reserve this on each device of the slot."""
        self.at(slot.worker_id).charge(slot, reserved_bytes, self._model_uid)

    def near(self) -> list[Worker]:
        """Workers that hold replicas of the model, or whose room is not as the floor says."""
        workers = self._floor.workers
        return [workers[each] for each in dict.fromkeys((*self.on_worker, *self._usages)) if each in workers]

    def far(self) -> Iterator[tuple[Rank, Worker]]:
        """All others, the widest first; workers that come near meanwhile are not left out."""
        near = {worker.id for worker in self.near()}
        return ((rank, self._floor.workers[rank.worker_id]) for rank in self._floor.order if rank.worker_id not in near)

    def standing(self, worker: Worker) -> Standing:
        """The worker's room as things stand."""
        usage = self._usages.get(worker.id)
        return self._floor.standings[worker.id] if usage is None else standing(worker, usage)
