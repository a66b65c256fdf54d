"""What must hold after every step of every history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from xinfer.cluster.ids import DeviceUuid, Epoch, ReplicaId
from xinfer.cluster.ledger import usable_bytes
from xinfer.cluster.replica import HOLDS_SLOT, STARTING, Phase, Replica
from xinfer.cluster.routes_of import route_table
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState
from xinfer.control.effects import Effect, StartReplica
from xinfer.control.events import Event, ReplicaEnded, WorkerBeat, WorkerJoined


class Invariants:
    """Remembers one history: which epochs were given out, which lives are known to be over."""

    def __init__(self) -> None:
        self._epochs: set[Epoch] = set()
        self._dead: set[tuple[ReplicaId, Epoch]] = set()
        self._log: Iterable[str] = ()
        self.started = 0
        self.restarted = 0

    def begin(self, snapshot: Snapshot) -> None:
        """A supervisor starts."""
        self._new_epoch(snapshot.epoch)

    def told(self, event: Event) -> None:
        """The supervisor is about to learn this."""
        if isinstance(event, ReplicaEnded):
            self._dead.add((event.replica_id, event.epoch))

    def lives(self, replica: Replica) -> None:
        """A process really began."""
        self._dead.discard((replica.id, replica.epoch))

    def stepped(self, before: Snapshot, event: Event, now: float, after: Snapshot, effects: tuple[Effect, ...], log: Iterable[str]) -> None:
        """Check one step."""
        self._log = log
        if after is before and not effects:
            return
        if after.expected and now < after.settle_until:
            self._settling(event, effects)
        self._starts(before, after, effects)
        if after.replicas is not before.replicas or after.deployments is not before.deployments:
            self._memory(after)
            self._places(after)
            self._dtypes(before, after)
            self._deployments(after)
            self._moves(after)
        for key, worker in after.workers.items():
            known = before.workers.get(key)
            if known is None or known.epoch != worker.epoch:
                self._new_epoch(worker.epoch)
        self._routes(before, after)

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

    def _dtypes(self, before: Snapshot, after: Snapshot) -> None:
        """One dtype for all replicas of a deployment, for ever; while it is open, one replica alone finds it out."""
        starting: dict[str, int] = {}
        for replica in after.replicas.values():
            deployment = after.deployments.get(replica.model_uid)
            if deployment is None:
                continue
            if replica.phase is Phase.READY and (deployment.dtype_open or replica.dtype != deployment.spec.dtype):
                self._fail(
                    f"{replica.id} is ready in {replica.dtype}, its model is in {deployment.spec.dtype}, open {deployment.dtype_open}"
                )
            if replica.phase in STARTING and deployment.dtype_open:
                starting[deployment.uid] = starting.get(deployment.uid, 0) + 1
        for uid, count in starting.items():
            if count > 1:
                self._fail(f"{count} replicas of {uid} choose a dtype at once")
        for uid, deployment in after.deployments.items():
            known = before.deployments.get(uid)
            same = known is not None and known.created_at == deployment.created_at
            if known is not None and same and not known.dtype_open and (deployment.dtype_open or known.spec.dtype != deployment.spec.dtype):
                self._fail(f"the dtype of {uid} was {known.spec.dtype} for good and is {deployment.spec.dtype}")

    def _memory(self, after: Snapshot) -> None:
        reserved: dict[DeviceUuid, int] = {}
        for replica in after.replicas.values():
            if replica.slot is not None and replica.phase in HOLDS_SLOT | {Phase.QUEUED}:
                for uuid in replica.slot.device_uuids:
                    reserved[uuid] = reserved.get(uuid, 0) + replica.reserved_bytes
        devices = {d.uuid: d for w in after.workers.values() for d in w.devices}
        for uuid, total in reserved.items():
            if uuid in devices and total > usable_bytes(devices[uuid]):
                self._fail(f"{uuid} has {total} bytes reserved of {usable_bytes(devices[uuid])}")

    def _places(self, after: Snapshot) -> None:
        for key, replica in after.replicas.items():
            if key != replica.id:
                self._fail(f"{key} holds {replica.id}")
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
            deployment = after.deployments.get(replica.model_uid)
            if deployment is None or replica.ordinal not in deployment.ordinals or replica.slot is None:
                continue
            demand = deployment.demands[deployment.ordinals.index(replica.ordinal)]
            if demand.pin is not None and replica.slot != demand.pin:
                self._fail(f"{replica.id} is on {replica.slot} and pinned to {demand.pin}")
            if demand.worker_id is not None and replica.slot.worker_id != demand.worker_id:
                self._fail(f"{replica.id} is on {replica.slot} and bound to {demand.worker_id}")
            if len(replica.slot.device_uuids) != demand.n_devices or len(set(replica.slot.device_uuids)) != demand.n_devices:
                self._fail(f"{replica.id} is on {replica.slot} and needs {demand.n_devices} devices")

    def _deployments(self, after: Snapshot) -> None:
        rows: dict[str, set[int]] = {}
        for replica in after.replicas.values():
            rows.setdefault(replica.model_uid, set()).add(replica.ordinal)
        for uid, deployment in after.deployments.items():
            there = rows.get(uid, set())
            if not there >= set(deployment.ordinals):
                self._fail(f"{uid} wants {deployment.ordinals} and has rows for {there}")
            if not there:
                self._fail(f"{uid} has neither replicas nor a wish for any")
            if len(deployment.demands) != len(deployment.ordinals) or len(set(deployment.ordinals)) != len(deployment.ordinals):
                self._fail(f"{uid} has ordinals {deployment.ordinals} for {len(deployment.demands)} demands")

    def _moves(self, after: Snapshot) -> None:
        """Both ends are wanted, nobody is in two moves, and a move is over once its successor is ready."""
        for uid, deployment in after.deployments.items():
            ends = [*deployment.moves, *deployment.moves.values()]
            if len(set(ends)) != len(ends) or not set(ends) <= set(deployment.ordinals):
                self._fail(f"{uid} has moves {deployment.moves} and replicas {deployment.ordinals}")
            ready = {r.ordinal for r in after.replicas.values() if r.model_uid == uid and r.phase is Phase.READY}
            if not after.expected and ready & set(deployment.moves.values()):
                self._fail(f"{uid} has moves {deployment.moves} though {ready} are ready")

    def _routes(self, before: Snapshot, after: Snapshot) -> None:
        shown = route_table(after).models
        changed = shown != route_table(before).models
        if changed != (after.version != before.version) or after.version < before.version:
            self._fail(f"routes {'changed' if changed else 'are the same'} and version went from {before.version} to {after.version}")
        for model in shown.values():
            if len({after.replicas[route.replica_id].phase for route in model.replicas}) > 1:
                self._fail(f"routes of {model.model_uid} mix replicas that are ready with others")
            for route in model.replicas:
                replica = after.replicas[route.replica_id]
                if (route.replica_id, route.epoch) in self._dead:
                    self._fail(f"routes name {route.uid}, which is known to be dead")
                if replica.phase is Phase.QUEUED and replica.slot is None:
                    continue  # its worker is lost, not known to be dead
                if (
                    replica.phase is not Phase.READY
                    or replica.slot is None
                    or after.workers[replica.slot.worker_id].state is WorkerState.LOST
                ):
                    self._fail(f"routes name {route.uid}, which is {replica.phase}")
