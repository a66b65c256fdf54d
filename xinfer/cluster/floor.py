"""How much room every worker has, carried on from step to step: a plan need not look at every device of a large cluster.

Devices that two workers list, or that draw on one memory, are looked at together; all others are a matter of one worker.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xinfer.cluster.ids import Address, ReplicaId, WorkerId
from xinfer.cluster.ledger import CHARGED, LEAVING, Usage, usage_of
from xinfer.cluster.replica import Replica
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker


class Standing(NamedTuple):
    """One worker's room.

    Attributes:
        rooms: bytes that one more replica may take on each device, largest first.
        widest: the largest part of a device's memory that is free.
    """

    rooms: tuple[int, ...]
    widest: float


class Rank(NamedTuple):
    """Orders workers by the largest part of a device that is free, most first, then by address."""

    filled: float
    address: Address
    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Floor:
    """Immutable; ``after`` gives the next one at the cost of what has changed.

    Attributes:
        workers, table: of which snapshot it speaks.
        standings: of every worker.
        sharers: workers by device uuid and by memory domain.
        order: every worker once, the widest first.
    """

    workers: Mapping[WorkerId, Worker]
    table: ReplicaTable
    standings: Mapping[WorkerId, Standing]
    sharers: Mapping[str, tuple[WorkerId, ...]]
    order: Sequence[Rank] = ()

    @classmethod
    def of(cls, workers: Mapping[WorkerId, Worker], table: ReplicaTable) -> Floor:
        """Of a whole cluster, worked out anew."""
        return cls({}, ReplicaTable(), {}, {}).after(workers, table, workers, ())

    def after(
        self, workers: Mapping[WorkerId, Worker], table: ReplicaTable, changed: Iterable[WorkerId], rows: Iterable[ReplicaId]
    ) -> Floor:
        """The floor of the next snapshot.

        Args:
            changed, rows: every worker and replica in which the two may differ; more do no harm.
        """
        touched: dict[WorkerId, None] = {}
        shared: dict[str, tuple[WorkerId, ...]] | None = None
        for worker_id in changed:
            old, new = self.workers.get(worker_id), workers.get(worker_id)
            if old is not None and new is not None and _standing_of(old) == _standing_of(new):
                continue
            touched.update(dict.fromkeys((worker_id, *self.beside(worker_id))))
            if _keys(old) != _keys(new):
                shared = dict(self.sharers) if shared is None else shared
                _share(shared, worker_id, _keys(old), _keys(new))
        sharers = self.sharers if shared is None else shared
        for key in rows:
            old_row, new_row = self.table.get(key), table.get(key)
            if _charge(old_row) != _charge(new_row):
                for row in (old_row, new_row):
                    touched.update(dict.fromkeys(_places(row, sharers)))
        if not touched:
            return Floor(workers, table, self.standings, sharers, self.order)
        standings, order = dict(self.standings), list(self.order)
        bare = Floor(workers, table, standings, sharers, order)
        for worker_id in dict.fromkeys(each for first in touched for each in (first, *bare.beside(first))):
            if worker_id in standings:
                del order[bisect_left(order, _rank(self.workers[worker_id], standings.pop(worker_id)))]
            if worker_id in workers:
                standings[worker_id] = standing(workers[worker_id], bare.usage(worker_id))
                insort(order, _rank(workers[worker_id], standings[worker_id]))
        return bare

    def beside(self, worker_id: WorkerId) -> tuple[WorkerId, ...]:
        """The worker, if it is there, and all that share a device or a memory with it, however indirectly."""
        if worker_id not in self.workers:
            return ()
        found: dict[WorkerId, None] = {worker_id: None}
        ahead = [worker_id]
        while ahead:
            for key in _keys(self.workers.get(ahead.pop())):
                for other in self.sharers.get(key, ()):
                    if other not in found:
                        found[other] = None
                        ahead.append(other)
        return tuple(found)

    def usage(self, worker_id: WorkerId, without: Collection[ReplicaId] = frozenset()) -> Usage:
        """The index of this worker's devices and of those beside it, as ``ledger.usage`` has it for the whole cluster."""
        workers = [self.workers[each] for each in self.beside(worker_id)]
        ids: dict[ReplicaId, None] = {}
        for worker in workers:
            ids.update(dict.fromkeys(self.table.on_worker(worker.id)))
            for device in worker.devices:
                ids.update(dict.fromkeys(self.table.on_device(device.uuid)))
        return usage_of(workers, (self.table[key] for key in ids), without)


def standing(worker: Worker, usage: Usage) -> Standing:
    """The room of this worker as the index has it."""
    rooms = [usage.room(device) for device in worker.devices]
    widest = max((room / max(device.total_bytes, 1) for room, device in zip(rooms, worker.devices, strict=True)), default=0.0)
    return Standing(tuple(sorted(rooms, reverse=True)), widest)


def _rank(worker: Worker, its: Standing) -> Rank:
    return Rank(-its.widest, worker.address, worker.id)


def _standing_of(worker: Worker) -> tuple[object, ...]:
    """Equal for two states of a worker only if they leave the same room at the same address."""
    return worker.address, worker.devices, worker.state, worker.free_bytes


def _charge(row: Replica | None) -> tuple[object, ...] | None:
    if row is None or row.slot is None or row.phase not in CHARGED:
        return None
    return row.slot, row.reserved_bytes, row.loaded, row.phase in LEAVING


def _keys(worker: Worker | None) -> dict[str, None]:
    """What others may share with it."""
    if worker is None:
        return {}
    return dict.fromkeys(key for device in worker.devices for key in (device.uuid, device.memory_domain))


def _places(row: Replica | None, sharers: Mapping[str, tuple[WorkerId, ...]]) -> list[WorkerId]:
    """Workers whose room this row may take."""
    if row is None or row.slot is None:
        return []
    return [row.slot.worker_id, *(worker for uuid in row.slot.device_uuids for worker in sharers.get(uuid, ()))]


def _share(sharers: dict[str, tuple[WorkerId, ...]], worker_id: WorkerId, old: Iterable[str], new: Iterable[str]) -> None:
    for key in old:
        left = tuple(each for each in sharers.get(key, ()) if each != worker_id)
        if left:
            sharers[key] = left
        else:
            sharers.pop(key, None)
    for key in new:
        sharers[key] = (*(each for each in sharers.get(key, ()) if each != worker_id), worker_id)
