"""What must hold after every step of every history.

After each step the rows, workers and deployments that it wrote are checked, with everything that they may have touched: their
devices, their models and those models' routes. ``whole`` checks all there is, and that nothing was missed on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NoReturn, TypeVar

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.floor import Floor
from xinfer.cluster.ids import DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.ledger import usable_bytes
from xinfer.cluster.replica import HOLDS_SLOT, STARTING, Phase, Replica
from xinfer.cluster.routes import ModelRoutes
from xinfer.cluster.routes_of import route_table, shown_of
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.effects import Effect, StartReplica
from xinfer.control.events import Event, RebalanceRequested, ReplicaEnded, ReplicasAdded, ScaledDown, WorkerBeat, WorkerJoined

CHARGED = HOLDS_SLOT | {Phase.QUEUED}
K = TypeVar("K")
V = TypeVar("V")


class Invariants:
    """Remembers one history: which epochs were given out, which lives are known to be over, what is charged and shown."""

    def __init__(self) -> None:
        self._epochs: set[Epoch] = set()
        self._dead: set[tuple[ReplicaId, Epoch]] = set()
        self._log: Iterable[str] = ()
        self._charged: dict[DeviceUuid, int] = {}
        self._usable: dict[DeviceUuid, int] = {}
        self._rows: dict[ModelUid, set[ReplicaId]] = {}
        self._shown: dict[ModelUid, ModelRoutes] = {}
        self._homes: dict[WorkerId, set[ModelUid]] = {}  # models that were ever there
        self.started = 0
        self.restarted = 0
        self.steps = 0
        self.wholes = 0
        self.rebalanced = 0
        self.by_load: Counter[str] = Counter()

    def begin(self, snapshot: Snapshot) -> None:
        """A supervisor starts."""
        self._new_epoch(snapshot.epoch)
        self._charged, self._usable, self._rows, self._shown = _charges(snapshot.replicas.values()), {}, {}, {}
        for key, replica in snapshot.replicas.items():
            self._rows.setdefault(replica.model_uid, set()).add(key)
        self._shown = dict(plain_routes(snapshot, snapshot.deployments))

    def told(self, event: Event) -> None:
        """The supervisor is about to learn this."""
        if isinstance(event, ReplicaEnded):
            self._dead.add((event.replica_id, event.epoch))

    def lives(self, replica: Replica, others: Collection[WorkerId] = ()) -> None:
        """A process really began; ``others``: workers on which a process of the same life runs already."""
        self._dead.discard((replica.id, replica.epoch))
        if others:
            self._fail(f"{replica.id}@{replica.epoch} runs on {sorted(others)} already")

    def stepped(self, before: Snapshot, event: Event, now: float, after: Snapshot, effects: tuple[Effect, ...], log: Iterable[str]) -> None:
        """Check one step."""
        self._log = log
        self.steps += 1
        if after.expected and now < after.settle_until:
            self._settling(event, effects)
        self._starts(before, after, effects)
        rows = _differing(before.replicas, after.replicas)
        workers = _differing(before.workers, after.workers)
        deployments = _differing(before.deployments, after.deployments)
        models = {*deployments, *self._note_rows(before, after, rows)}
        self._note_workers(before, after, workers)
        self._memory({uuid for key in rows for table in (before, after) for uuid in _devices(table.replicas.get(key))})
        self._places(after, rows)
        for uid in models:
            self._model(before, after, uid)
        models |= {after.replicas[key].model_uid for key in self._on(before, after, workers)}
        if isinstance(event, ReplicaEnded) and event.replica_id in after.replicas:
            models.add(after.replicas[event.replica_id].model_uid)
        self._routes(before, after, models)
        if isinstance(event, RebalanceRequested):
            self._rebalanced(before, event, after)

    def whole(self, snapshot: Snapshot) -> None:
        """Everything, counted anew."""
        self.wholes += 1
        if _charges(snapshot.replicas.values()) != {uuid: size for uuid, size in self._charged.items() if size}:
            self._fail("the charges that were followed are not those of the rows")
        self._memory(self._charged)
        self._places(snapshot, snapshot.replicas)
        for uid in {*snapshot.deployments, *(replica.model_uid for replica in snapshot.replicas.values())}:
            self._model(snapshot, snapshot, uid)
        shown = plain_routes(snapshot, snapshot.deployments)
        if shown != self._shown:
            self._fail("the routes that were followed are not those of the rows")
        carried, anew = snapshot.floor, Floor.of(snapshot.workers, ReplicaTable.of(snapshot.replicas))
        if carried is not None and (carried.standings, list(carried.order)) != (anew.standings, list(anew.order)):
            self._fail("the room that was carried on is not that of the rows")
        if dict(shown_of(snapshot)) != shown or list(shown_of(snapshot)) != list(snapshot.deployments):
            self._fail("the routes that were carried on are not those of the rows")
        for uid in shown:
            self._named(snapshot, shown[uid])

    def scaled(self, before: Snapshot, event: Event, after: Snapshot) -> None:
        """The autoscaler changed something: nothing but what it may, towards or within the bounds, and no pin was let go."""
        if not isinstance(event, ReplicasAdded | ScaledDown):
            self.by_load["stopped with empty queues"] += 1
            return
        old, new = before.deployments[event.model_uid], after.deployments[event.model_uid]
        if old.scaling is None or old.scaling != new.scaling:
            self._fail(f"{old.uid} is scaled by load and nobody asked for that")
        low, high = sorted((old.wanted, new.wanted))
        if not old.scaling.min_replica <= new.wanted <= old.scaling.max_replica and not low < high <= old.scaling.min_replica:
            self._fail(f"{old.uid} went from {old.wanted} to {new.wanted} replicas, outside of {old.scaling}")
        if {d.pin for d in old.demands if d.pin} - {d.pin for d in new.demands if d.pin}:
            self._fail(f"{old.uid} lost a pinned replica to the load")
        self.by_load["woken" if not old.wanted else "asleep" if not new.wanted else "more" if new.wanted > old.wanted else "fewer"] += 1

    def _fail(self, what: str) -> NoReturn:
        raise AssertionError(what + "\n" + "\n".join(self._log))

    def _new_epoch(self, epoch: Epoch) -> None:
        if epoch in self._epochs:
            self._fail(f"epoch {epoch} is given out twice")
        self._epochs.add(epoch)

    def _settling(self, event: Event, effects: tuple[Effect, ...]) -> None:
        """Only what people ask for, and what takes too long, is acted on."""
        for effect in effects:
            if isinstance(effect, StartReplica) or isinstance(event, WorkerJoined | WorkerBeat):
                self._fail(f"{effect} while settling")

    def _starts(self, before: Snapshot, after: Snapshot, effects: tuple[Effect, ...]) -> None:
        seen = set()
        for effect in effects:
            if not isinstance(effect, StartReplica):
                continue
            replica = effect.assignment.replica
            self._new_epoch(replica.epoch)
            self.started += 1
            self.restarted += replica.restarts > 0
            if replica.id in seen:
                self._fail(f"{replica.id} is started twice in one step")
            seen.add(replica.id)
            if after.replicas.get(replica.id) != replica or replica.phase is not Phase.SPAWNING:
                self._fail(f"{replica.id} is started but the snapshot has {after.replicas.get(replica.id)}")
            old = before.replicas.get(replica.id)
            if old is not None and old.epoch == replica.epoch:
                self._fail(f"{replica.id} is started with the epoch it had")
            if effect.worker_id in after.draining:
                self._fail(f"{replica.id} is started on {effect.worker_id}, which is being drained")
            if effect.worker_id not in after.workers or after.workers[effect.worker_id].state is not WorkerState.ALIVE:
                self._fail(f"{replica.id} is started on {effect.worker_id}, which is not alive")

    # --- what is followed from step to step ---

    def _note_rows(self, before: Snapshot, after: Snapshot, rows: Collection[ReplicaId]) -> set[ModelUid]:
        models = set()
        for key in rows:
            for replica, sign in ((before.replicas.get(key), -1), (after.replicas.get(key), 1)):
                if replica is None:
                    continue
                models.add(replica.model_uid)
                self._rows.setdefault(replica.model_uid, set()).discard(key)
                if replica.phase in CHARGED:
                    for uuid in _devices(replica):
                        self._charged[uuid] = self._charged.get(uuid, 0) + sign * replica.reserved_bytes
            replica = after.replicas.get(key)
            if replica is not None:
                self._rows[replica.model_uid].add(key)
                if replica.slot is not None:
                    self._homes.setdefault(replica.slot.worker_id, set()).add(replica.model_uid)
        return models

    def _note_workers(self, before: Snapshot, after: Snapshot, workers: Collection[WorkerId]) -> None:
        for key in workers:
            known, worker = before.workers.get(key), after.workers.get(key)
            if worker is None:
                continue
            if known is None or known.epoch != worker.epoch:
                self._new_epoch(worker.epoch)
            self._usable.update((device.uuid, usable_bytes(device)) for device in worker.devices)

    def _on(self, before: Snapshot, after: Snapshot, workers: Collection[WorkerId]) -> list[ReplicaId]:
        """Replicas on workers that changed otherwise than by the memory they see."""
        moved = set()
        for key in workers:
            if _seen(before.workers.get(key)) != _seen(after.workers.get(key)):
                moved.add(key)
        models = {model for key in moved for model in self._homes.get(key, ())}
        return [key for model in models for key in self._rows.get(model, ()) if key in after.replicas]

    # --- what must hold ---

    def _memory(self, uuids: Iterable[DeviceUuid]) -> None:
        for uuid in uuids:
            total = self._charged.get(uuid, 0)
            if uuid in self._usable and total > self._usable[uuid]:
                self._fail(f"{uuid} has {total} bytes reserved of {self._usable[uuid]}")

    def _places(self, after: Snapshot, rows: Iterable[ReplicaId]) -> None:
        for key in rows:
            replica = after.replicas.get(key)
            if replica is None:
                continue
            if key != replica.id:
                self._fail(f"{key} holds {replica.id}")
            self._charge(replica)
            deployment = after.deployments.get(replica.model_uid)
            if deployment is not None and replica.ordinal in deployment.ordinals and replica.slot is not None:
                self._place(replica, deployment)

    def _charge(self, replica: Replica) -> None:
        holds = replica.phase in HOLDS_SLOT
        if holds and (replica.slot is None or replica.reserved_bytes <= 0 or not replica.epoch):
            self._fail(f"{replica.id} is {replica.phase} without slot, charge or epoch")
        kept = replica.phase is Phase.QUEUED and replica.slot is not None
        if kept != (replica.phase is Phase.QUEUED and replica.reserved_bytes > 0):
            self._fail(f"{replica.id} waits with a slot and no charge, or the other way round")
        if not holds and not kept and (replica.reserved_bytes or (replica.address and replica.phase is not Phase.QUEUED)):
            self._fail(f"{replica.id} is {replica.phase} and still charged")
        if not holds and replica.loaded:
            self._fail(f"{replica.id} is {replica.phase} and still charged")
        if replica.phase is Phase.FAILED and replica.slot is not None:
            self._fail(f"{replica.id} is {replica.phase} with a slot")
        if replica.phase is Phase.FAILED and not replica.error:
            self._fail(f"{replica.id} failed without a reason")

    def _place(self, replica: Replica, deployment: Deployment) -> None:
        assert replica.slot is not None
        demand = deployment.demands[deployment.ordinals.index(replica.ordinal)]
        if demand.pin is not None and replica.slot != demand.pin:
            self._fail(f"{replica.id} is on {replica.slot} and pinned to {demand.pin}")
        if demand.worker_id is not None and replica.slot.worker_id != demand.worker_id:
            self._fail(f"{replica.id} is on {replica.slot} and bound to {demand.worker_id}")
        if len(replica.slot.device_uuids) != demand.n_devices or len(set(replica.slot.device_uuids)) != demand.n_devices:
            self._fail(f"{replica.id} is on {replica.slot} and needs {demand.n_devices} devices")

    def _model(self, before: Snapshot, after: Snapshot, uid: ModelUid) -> None:
        """One deployment with its rows."""
        rows = [after.replicas[key] for key in self._rows.get(uid, ())]
        ordinals = [row.ordinal for row in rows]
        if len(set(ordinals)) != len(ordinals):
            self._fail(f"{uid} has two replicas of one number among {sorted(ordinals)}")
        deployment = after.deployments.get(uid)
        if deployment is None:
            return
        if not set(ordinals) >= set(deployment.ordinals):
            self._fail(f"{uid} wants {deployment.ordinals} and has rows for {ordinals}")
        if not rows and deployment.asleep is None:
            self._fail(f"{uid} has neither replicas nor a wish for any")
        if len(deployment.demands) != len(deployment.ordinals) or len(set(deployment.ordinals)) != len(deployment.ordinals):
            self._fail(f"{uid} has ordinals {deployment.ordinals} for {len(deployment.demands)} demands")
        self._scaling(deployment)
        self._moves(after, deployment, rows)
        self._dtypes(before.deployments.get(uid), deployment, rows)

    def _scaling(self, deployment: Deployment) -> None:
        scaling = deployment.scaling
        if scaling is not None and deployment.wanted > scaling.max_replica:
            self._fail(f"{deployment.uid} has {deployment.wanted} replicas, more than {scaling.max_replica}")
        if deployment.asleep is not None and (deployment.ordinals or scaling is None or scaling.min_replica):
            self._fail(f"{deployment.uid} is asleep and should not be")

    def _moves(self, after: Snapshot, deployment: Deployment, rows: Iterable[Replica]) -> None:
        """Both ends are wanted, nobody is in two moves, and a move is over once its successor is ready."""
        uid, ends = deployment.uid, [*deployment.moves, *deployment.moves.values()]
        if len(set(ends)) != len(ends) or not set(ends) <= set(deployment.ordinals):
            self._fail(f"{uid} has moves {deployment.moves} and replicas {deployment.ordinals}")
        ready = {row.ordinal for row in rows if row.phase is Phase.READY}
        if not after.expected and ready & set(deployment.moves.values()):
            self._fail(f"{uid} has moves {deployment.moves} though {ready} are ready")

    def _rebalanced(self, before: Snapshot, event: RebalanceRequested, after: Snapshot) -> None:
        """The planned moves have begun, all of them, of nothing that is pinned, and not onto a worker that is being drained."""
        begun = {}
        for uid, deployment in after.deployments.items():
            for old, new in deployment.moves.items():
                if old not in before.deployments[uid].moves:
                    begun[f"{uid}-{old}"] = after.replicas[ReplicaId(f"{uid}-{new}")].slot
        if begun != {move.replica_id: move.target for move in event.moves}:
            self._fail(f"{event} began {begun}")
        self.rebalanced += len(begun)
        for move in event.moves:
            replica = before.replicas[move.replica_id]
            deployment = before.deployments[replica.model_uid]
            demand = deployment.demands[deployment.ordinals.index(replica.ordinal)]
            elsewhere = demand.worker_id not in (None, move.target.worker_id)
            if demand.pin is not None or elsewhere or move.target.worker_id in before.draining:
                self._fail(f"{move} must not be")

    def _dtypes(self, known: Deployment | None, deployment: Deployment, rows: Iterable[Replica]) -> None:
        """One dtype for all replicas of a deployment, for ever; while it is open, one replica alone finds it out."""
        uid, dtype, left_open = deployment.uid, deployment.spec.dtype, deployment.dtype_open
        for replica in rows:
            if replica.phase is Phase.READY and (left_open or replica.dtype != dtype):
                self._fail(f"{replica.id} is ready in {replica.dtype}, its model is in {dtype}, open {left_open}")
        choosing = sum(replica.phase in STARTING for replica in rows) if left_open else 0
        if choosing > 1:
            self._fail(f"{choosing} replicas of {uid} choose a dtype at once")
        same = known is not None and known.created_at == deployment.created_at
        if known is not None and same and not known.dtype_open and (left_open or known.spec.dtype != dtype):
            self._fail(f"the dtype of {uid} was {known.spec.dtype} for good and is {dtype}")

    def _routes(self, before: Snapshot, after: Snapshot, models: Collection[ModelUid]) -> None:
        shown = plain_routes(after, models, self._rows)
        changed = False
        for uid in models:
            routes = shown.get(uid)
            changed = changed or routes != self._shown.get(uid)
            if routes is None:
                self._shown.pop(uid, None)
            else:
                self._shown[uid] = routes
                self._named(after, routes)
        if changed != (after.version != before.version) or after.version < before.version:
            self._fail(f"routes {'changed' if changed else 'are the same'} and version went from {before.version} to {after.version}")

    def _named(self, after: Snapshot, model: ModelRoutes) -> None:
        if len({after.replicas[route.replica_id].phase for route in model.replicas}) > 1:
            self._fail(f"routes of {model.model_uid} mix replicas that are ready with others")
        if len({route.replica_id for route in model.replicas}) != len(model.replicas):
            self._fail(f"routes of {model.model_uid} name a replica twice")
        for route in model.replicas:
            replica = after.replicas[route.replica_id]
            if (route.replica_id, route.epoch) in self._dead:
                self._fail(f"routes name {route.uid}, which is known to be dead")
            if replica.phase is Phase.QUEUED and replica.slot is None:
                continue  # its worker is lost, not known to be dead
            if replica.phase is not Phase.READY or replica.slot is None or after.workers[replica.slot.worker_id].state is WorkerState.LOST:
                self._fail(f"routes name {route.uid}, which is {replica.phase}")


def plain_routes(
    snapshot: Snapshot, models: Collection[ModelUid], rows: Mapping[ModelUid, Collection[ReplicaId]] | None = None
) -> dict[ModelUid, ModelRoutes]:
    """What routes say of these models, worked out of the rows alone."""
    replicas = dict(snapshot.replicas) if rows is None else {key: snapshot.replicas[key] for uid in models for key in rows.get(uid, ())}
    deployments = {uid: snapshot.deployments[uid] for uid in models if uid in snapshot.deployments}
    return dict(route_table(Snapshot(workers=snapshot.workers, deployments=deployments, replicas=replicas)).models)


def _differing(before: Mapping[K, V], after: Mapping[K, V]) -> set[K]:
    if before is after:
        return set()
    return {key for key, value in after.items() if before.get(key) is not value} | {key for key in before if key not in after}


def _seen(worker: Worker | None) -> tuple[object, ...] | None:
    """What routes may tell of a worker: all but its memory and its age."""
    return None if worker is None else (worker.state, worker.address, worker.devices)


def _devices(replica: Replica | None) -> tuple[DeviceUuid, ...]:
    return () if replica is None or replica.slot is None else replica.slot.device_uuids


def _charges(replicas: Iterable[Replica]) -> dict[DeviceUuid, int]:
    found: dict[DeviceUuid, int] = {}
    for replica in replicas:
        if replica.phase in CHARGED:
            for uuid in _devices(replica):
                found[uuid] = found.get(uuid, 0) + replica.reserved_bytes
    return {uuid: size for uuid, size in found.items() if size}
