"""The replicas of a snapshot with the indices that keep a step cheap: by model, worker and device, those that wait, those under way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from xinfer.cluster.ids import DeviceUuid, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Replica

SETTLED = frozenset({Phase.READY, Phase.FAILED})
"""Phases in which time alone changes nothing."""
WAITING = frozenset({Phase.QUEUED, Phase.BACKOFF})
"""Phases that end with a start; all others, which are not settled, are those of replicas under way."""

K = TypeVar("K")
_Ids = dict[ReplicaId, None]  # an ordered set


class ReplicaTable(Mapping[ReplicaId, Replica]):
    """An immutable mapping of replicas; ``changed`` gives the next one.

    Copies are shallow: one event at 10,000 replicas costs some tenths of a millisecond.
    """

    __slots__ = ("_by_model", "_by_worker", "_on_device", "_rows", "_underway", "_waiting")

    def __init__(self) -> None:
        self._rows: dict[ReplicaId, Replica] = {}
        self._by_model: dict[ModelUid, _Ids] = {}
        self._by_worker: dict[WorkerId, _Ids] = {}
        self._on_device: dict[DeviceUuid, _Ids] = {}
        self._waiting: _Ids = {}
        self._underway: _Ids = {}

    @classmethod
    def of(cls, replicas: Mapping[ReplicaId, Replica]) -> ReplicaTable:
        """``replicas`` itself if it is a table already, else a table of them."""
        return replicas if isinstance(replicas, cls) else cls().changed(replicas)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReplicaTable.of, (self._rows,)  # the indices are worked out where it arrives

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

    def on_device(self, uuid: DeviceUuid) -> tuple[ReplicaId, ...]:
        """Ids of the replicas whose slot has that device, on whatever worker."""
        return tuple(self._on_device.get(uuid, ()))

    def waiting(self) -> tuple[ReplicaId, ...]:
        """Ids of the replicas that are to be started some time."""
        return tuple(self._waiting)

    def underway(self) -> tuple[ReplicaId, ...]:
        """Ids of the replicas that start or stop."""
        return tuple(self._underway)

    def changed(self, rows: Mapping[ReplicaId, Replica | None]) -> ReplicaTable:
        """A table with ``rows`` put in; None takes the row out."""
        after = ReplicaTable()
        after._rows = dict(self._rows)
        models = _Index(self._by_model)
        workers = _Index(self._by_worker)
        devices = _Index(self._on_device)
        waiting, underway = dict(self._waiting), dict(self._underway)
        for key, new in rows.items():
            old = after._rows.get(key)
            if new is None:
                after._rows.pop(key, None)
            else:
                after._rows[key] = new
            waits = new is not None and new.phase in WAITING
            _put(waiting, key, waits)
            _put(underway, key, new is not None and not waits and new.phase not in SETTLED)
            models.move(key, _model(old), _model(new))
            workers.move(key, _worker(old), _worker(new))
            devices.move(key, _devices(old), _devices(new))
        after._by_model, after._by_worker = models.after, workers.after
        after._on_device, after._waiting, after._underway = devices.after, waiting, underway
        return after


def _put(ids: _Ids, key: ReplicaId, there: bool) -> None:
    if there:
        ids[key] = None
    else:
        ids.pop(key, None)


def _model(replica: Replica | None) -> tuple[ModelUid, ...]:
    return () if replica is None else (replica.model_uid,)


def _worker(replica: Replica | None) -> tuple[WorkerId, ...]:
    return () if replica is None or replica.slot is None else (replica.slot.worker_id,)


def _devices(replica: Replica | None) -> tuple[DeviceUuid, ...]:
    return () if replica is None or replica.slot is None else replica.slot.device_uuids


class _Index(Generic[K]):
    """Copy-on-write of sets by key: only those that change are copied, once."""

    def __init__(self, before: dict[K, _Ids]) -> None:
        self._before = before
        self._own: set[K] = set()
        self.after = before

    def move(self, item: ReplicaId, old: Iterable[K], new: Iterable[K]) -> None:
        """Take ``item`` from the sets of ``old`` to those of ``new``."""
        if old == new:
            return
        for key in old:
            bucket = self._bucket(key)
            bucket.pop(item, None)
            if not bucket:
                del self.after[key]
                self._own.discard(key)
        for key in new:
            self._bucket(key)[item] = None

    def _bucket(self, key: K) -> _Ids:
        if self.after is self._before:
            self.after = dict(self._before)
        if key not in self._own:
            self.after[key] = dict(self.after.get(key, ()))
            self._own.add(key)
        return self.after[key]
