"""The working copy of one step: handlers write here, ``finish`` turns it into the next snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.floor import Floor
from xinfer.cluster.ids import Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.routes import ModelRoutes, Shown
from xinfer.cluster.routes_of import ON_THEIR_WAY, model_routes, shown_of
from xinfer.cluster.snapshot import Snapshot, floor_of
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker
from xinfer.control.effects import Effect
from xinfer.settings import Timings


@dataclass(frozen=True, slots=True)
class Desired:
    """One place in a deployment that a replica is wanted for."""

    deployment: Deployment
    position: int


class Draft:
    """Mutable, lives for one step, never leaves ``control``.

    Reads see what was written; nothing of the snapshot it began from is changed.
    """

    def __init__(self, before: Snapshot, now: float, timings: Timings) -> None:
        self.before = before
        self.now = now
        self.timings = timings
        self.effects: list[Effect] = []
        self.next_epoch = before.next_epoch
        self.expected = before.expected
        self.draining = before.draining
        self.keys = before.keys
        self.settle_until = before.settle_until
        self.ticked_at = before.ticked_at
        self.judged_at = before.judged_at
        self.behind = before.behind
        self._table = ReplicaTable.of(before.replicas)
        self._rows: dict[ReplicaId, Replica | None] = {}
        self._workers: dict[WorkerId, Worker] | None = None
        self._deployments: dict[ModelUid, Deployment] | None = None
        self._changed_models: dict[ModelUid, None] = {}
        self._changed_workers: set[WorkerId] = set()
        self._floor: Floor | None = None  # of ``before``

    # --- replicas ---

    def replica(self, replica_id: ReplicaId) -> Replica | None:
        """The replica as it is now."""
        if replica_id in self._rows:
            return self._rows[replica_id]
        return self._table.get(replica_id)

    def put(self, replica: Replica) -> None:
        """Write one replica."""
        old = self.replica(replica.id)
        if old is replica or old == replica:
            return
        if old is None or _shown(old) != _shown(replica):
            self._changed_models[replica.model_uid] = None
        self._rows[replica.id] = replica

    def drop(self, replica: Replica) -> None:
        """Take one replica out; its deployment goes with the last one if nobody wants more."""
        self._rows[replica.id] = None
        self._changed_models[replica.model_uid] = None
        deployment = self.deployments.get(replica.model_uid)
        if deployment is not None and deployment.stopping and not any(self.of_model(replica.model_uid)):
            self.drop_deployment(replica.model_uid)

    def of_model(self, uid: ModelUid) -> Iterator[Replica]:
        """Replicas of one deployment, those that are leaving included."""
        return (r for r in self._with_new(self._table.of_model(uid)) if r.model_uid == uid)

    def on_worker(self, worker_id: WorkerId) -> Iterator[Replica]:
        """Replicas with a slot there, those in back-off included."""
        return (r for r in self._with_new(self._table.on_worker(worker_id)) if r.slot is not None and r.slot.worker_id == worker_id)

    def waiting(self) -> Iterator[Replica]:
        """Replicas that are to be started some time, and all that this step wrote."""
        return self._with_new(self._table.waiting())

    def underway(self) -> Iterator[Replica]:
        """Replicas that start or stop, and all that this step wrote."""
        return self._with_new(self._table.underway())

    def _with_new(self, ids: Iterable[ReplicaId]) -> Iterator[Replica]:
        for key in dict.fromkeys((*ids, *self._rows)) if self._rows else ids:
            replica = self._rows[key] if key in self._rows else self._table[key]
            if replica is not None:
                yield replica

    def desired(self, replica: Replica) -> Desired | None:
        """The place in its deployment that wants this replica, or None."""
        deployment = self.deployments.get(replica.model_uid)
        if deployment is None or replica.ordinal not in deployment.ordinals:
            return None
        return Desired(deployment, deployment.ordinals.index(replica.ordinal))

    # --- workers and deployments ---

    @property
    def workers(self) -> Mapping[WorkerId, Worker]:
        """Workers as they are now."""
        return self.before.workers if self._workers is None else self._workers

    def put_worker(self, worker: Worker) -> None:
        """Write one worker; the models on it are looked at again if its address or state changed."""
        old = self.workers.get(worker.id)
        if self._workers is None:
            self._workers = dict(self.before.workers)
        self._workers[worker.id] = worker
        self._changed_workers.add(worker.id)
        if old is None or (old.address, old.state, old.devices) != (worker.address, worker.state, worker.devices):
            self._changed_models.update((r.model_uid, None) for r in self.on_worker(worker.id))

    def drop_worker(self, worker_id: WorkerId) -> None:
        """Forget one worker."""
        if self._workers is None:
            self._workers = dict(self.before.workers)
        self._workers.pop(worker_id, None)
        self._changed_workers.add(worker_id)
        self._changed_models.update((r.model_uid, None) for r in self.on_worker(worker_id))

    @property
    def deployments(self) -> Mapping[ModelUid, Deployment]:
        """Deployments as they are now."""
        return self.before.deployments if self._deployments is None else self._deployments

    def put_deployment(self, deployment: Deployment) -> None:
        """Write one deployment."""
        if self._deployments is None:
            self._deployments = dict(self.before.deployments)
        self._deployments[deployment.uid] = deployment
        self._changed_models[deployment.uid] = None

    def drop_deployment(self, uid: ModelUid) -> None:
        """Take one deployment out."""
        if self._deployments is None:
            self._deployments = dict(self.before.deployments)
        self._deployments.pop(uid, None)
        self._changed_models[uid] = None

    def moving(self) -> list[ModelUid]:
        """Deployments with moves that this step may have brought to an end: those it touched, all when time passed or settling ended."""
        every = self.ticked_at != self.before.ticked_at or self.expected != self.before.expected
        touched = self.deployments if every else self._changed_models
        return [uid for uid in touched if uid in self.deployments and self.deployments[uid].moves]

    # --- the whole ---

    @property
    def settling(self) -> bool:
        """After a supervisor start: workers that were known are still missing, so nothing is started or removed."""
        return bool(self.expected) and self.now < self.settle_until

    def new_epoch(self) -> Epoch:
        """An epoch that no life has had."""
        epoch = Epoch(self.next_epoch)
        self.next_epoch += 1
        return epoch

    def snapshot(self) -> Snapshot:
        """The cluster as written so far, with the version it began with; ``before`` itself if nothing was written."""
        before = self.before
        changes: dict[str, Any] = {}
        if self._rows:
            changes["replicas"] = self._table.changed(self._rows)
        elif self._table is not before.replicas and (self._workers is not None or self._deployments is not None):
            changes["replicas"] = self._table  # keep the indices that this step had to build
        if self._workers is not None:
            changes["workers"] = self._workers
        if self._deployments is not None:
            changes["deployments"] = self._deployments
        for name in ("next_epoch", "expected", "draining", "keys", "settle_until", "ticked_at", "judged_at", "behind"):
            if getattr(self, name) != getattr(before, name):
                changes[name] = getattr(self, name)
        if "replicas" in changes or "workers" in changes:
            workers, table = changes.get("workers", before.workers), changes.get("replicas", self._table)
            self._floor = self._floor or floor_of(before)
            changes["floor"] = self._floor.after(workers, table, self._changed_workers, self._rows)
        return replace(before, **changes) if changes else before

    def checkpoint(self) -> Snapshot:
        """``snapshot`` for reading in mid-step; costs one copy of the tables that were written."""
        after = self.snapshot()
        # Hand over the dictionaries: what is written later goes into copies, so the caller's view stays as it was.
        if self._workers is not None:
            self._workers = dict(self._workers)
        if self._deployments is not None:
            self._deployments = dict(self._deployments)
        return after

    def finish(self) -> tuple[Snapshot, tuple[Effect, ...]]:
        """The next snapshot, its version grown exactly if some model's routes or a key changed, and the effects."""
        before, after = self.before, self.snapshot()
        if after is before:
            return before, tuple(self.effects)
        shown = shown_of(before)
        table = ReplicaTable.of(after.replicas)
        news: dict[ModelUid, ModelRoutes | None] = {}
        for uid in self._changed_models:
            deployment = after.deployments.get(uid)
            now = None if deployment is None else model_routes(deployment, table, after.workers)
            if now != shown.get(uid):
                news[uid] = now
        if news:
            shown = dict(shown)
            for uid, routes in news.items():
                if routes is None:
                    shown.pop(uid, None)
                else:
                    shown[uid] = routes
        version = before.version + bool(news or after.keys is not before.keys)
        carried = Shown(after.workers, after.deployments, after.replicas, shown)
        return replace(after, version=version, shown=carried), tuple(self.effects)


def _shown(replica: Replica) -> tuple[object, ...]:
    """Equal for two states of a replica only if routes cannot tell them apart."""
    ready_before = replica.ready_at > 0
    if replica.phase is Phase.READY:
        measured = (replica.speed, replica.budget_tokens, replica.capacity)
        return (Phase.READY, ready_before, replica.epoch, replica.address, *measured, replica.slot)
    if replica.phase in ON_THEIR_WAY:
        warming = replica.phase is Phase.WARMING
        return (Phase.QUEUED, ready_before, replica.epoch if replica.address else None, replica.address, warming)
    return (replica.phase, ready_before, replica.error)
