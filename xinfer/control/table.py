"""The replicas of a snapshot with the indices that keep a step cheap: by model, by worker, and those that wait or move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from xinfer.cluster.ids import ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Replica

SETTLED = frozenset({Phase.READY, Phase.FAILED})
"""Phases in which time alone changes nothing."""

K = TypeVar("K")
_Ids = dict[ReplicaId, None]  # an ordered set


class ReplicaTable(Mapping[ReplicaId, Replica]):
    """An immutable mapping of replicas; ``changed`` gives the next one.

    Copies are shallow: one event at 10,000 replicas costs some tenths of a millisecond.
    """

    __slots__ = ("_by_model", "_by_worker", "_rows", "_unsettled")

    def __init__(self) -> None:
        self._rows: dict[ReplicaId, Replica] = {}
        self._by_model: dict[ModelUid, _Ids] = {}
        self._by_worker: dict[WorkerId, _Ids] = {}
        self._unsettled: _Ids = {}

    @classmethod
    def of(cls, replicas: Mapping[ReplicaId, Replica]) -> ReplicaTable:
        """``replicas`` itself if it is a table already, else a table of them."""
        return replicas if isinstance(replicas, cls) else cls().changed(replicas)

    def __getitem__(self, key: ReplicaId) -> Replica:
        return self._rows[key]

    def __iter__(self) -> Iterator[ReplicaId]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"ReplicaTable({self._rows!r})"

    def of_model(self, uid: ModelUid) -> tuple[ReplicaId, ...]:
        """Ids of one deployment's replicas, in order of creation."""
        return tuple(self._by_model.get(uid, ()))

    def on_worker(self, worker_id: WorkerId) -> tuple[ReplicaId, ...]:
        """Ids of the replicas with a slot there, those in back-off included."""
        return tuple(self._by_worker.get(worker_id, ()))

    def unsettled(self) -> tuple[ReplicaId, ...]:
        """Ids of the replicas that wait, start or stop."""
        return tuple(self._unsettled)

    def changed(self, rows: Mapping[ReplicaId, Replica | None]) -> ReplicaTable:
        """A table with ``rows`` put in; None takes the row out."""
        after = ReplicaTable()
        after._rows = dict(self._rows)
        models = _Index(self._by_model)
        workers = _Index(self._by_worker)
        unsettled = dict(self._unsettled)
        for key, new in rows.items():
            old = after._rows.get(key)
            if new is None:
                after._rows.pop(key, None)
                unsettled.pop(key, None)
            else:
                after._rows[key] = new
                if new.phase in SETTLED:
                    unsettled.pop(key, None)
                else:
                    unsettled[key] = None
            models.move(key, old.model_uid if old else None, new.model_uid if new else None)
            workers.move(key, _worker(old), _worker(new))
        after._by_model, after._by_worker, after._unsettled = models.after, workers.after, unsettled
        return after


def _worker(replica: Replica | None) -> WorkerId | None:
    return replica.slot.worker_id if replica is not None and replica.slot is not None else None


class _Index(Generic[K]):
    """Copy-on-write of sets by key: only those that change are copied, once."""

    def __init__(self, before: dict[K, _Ids]) -> None:
        self.after = dict(before)
        self._own: set[K] = set()

    def move(self, item: ReplicaId, old: K | None, new: K | None) -> None:
        """Take ``item`` from the set of ``old`` to that of ``new``."""
        if old == new:
            return
        if old is not None:
            bucket = self._bucket(old)
            bucket.pop(item, None)
            if not bucket:
                del self.after[old]
                self._own.discard(old)
        if new is not None:
            self._bucket(new)[item] = None

    def _bucket(self, key: K) -> _Ids:
        if key not in self._own:
            self.after[key] = dict(self.after.get(key, ()))
            self._own.add(key)
        return self.after[key]
