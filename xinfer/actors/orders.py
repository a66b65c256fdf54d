"""What people ask of the supervisor: compiled against the snapshot, stepped as one event, answered from what has become of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from xinfer.actors.autoscaler import Autoscaler
from xinfer.actors.messages import Drained, Scaled, Upgraded, Written
from xinfer.actors.survey import Survey
from xinfer.catalog.families import Families
from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import Address, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.bounds import compile_scaling
from xinfer.control.demands import compile_addition, compile_move
from xinfer.control.drains import left_on
from xinfer.control.events import (
    DrainRequested,
    Event,
    KeyMade,
    KeyRevoked,
    LaunchRequested,
    MoveRequested,
    RebalanceRequested,
    ReplicaRemoved,
    ReplicasAdded,
    StopRequested,
)
from xinfer.control.keys import find
from xinfer.control.launch import compile_launch
from xinfer.control.readiness import is_ready, is_settled
from xinfer.control.rebalancing import rooms_of, successors
from xinfer.control.whereabouts import unknown, whereabouts
from xinfer.control.workers import back_from
from xinfer.engines import registry
from xinfer.errors import ModelNotFound, PlanOvertaken, StoreError, Unavailable
from xinfer.placement.describe import plan_reply, rebalance_reply
from xinfer.placement.named import find_worker
from xinfer.placement.plan import plan_launch
from xinfer.placement.rebalance import plan_rebalance
from xinfer.schemas.cluster import RebalanceReply, RebalanceRequest
from xinfer.schemas.launch import LaunchRequest, Placement, PlanReply
from xinfer.schemas.models import ScaleRequest
from xinfer.settings import Timings
from xinfer.store.history import Launched
from xinfer.store.store import Store

log = structlog.get_logger(__name__)

COMES_BACK = 60.0
PLANS = 3
"""How often moves are planned anew that the cluster overtook."""


class Orders:
    """One half of ``SupervisorActor``; the state is the other half's, and ``apply`` the one way to change it."""

    _snapshot: Snapshot
    _store: Store
    _families: Families
    _survey: Survey
    _timings: Timings
    _model_roots: tuple[Path, ...]
    _autoscaler: Autoscaler
    _upgrading: dict[WorkerId, Worker]

    def apply(self, event: Event) -> None:
        """As ``SupervisorActor.apply``."""
        raise NotImplementedError

    async def _until(self, met: Callable[[], bool], wait: float) -> bool:
        raise NotImplementedError

    async def _settle(self) -> None:
        raise NotImplementedError

    async def launch(self, request: LaunchRequest, confined: bool = False) -> ModelUid:
        """Place and begin a deployment: all its replicas or none; ``confined`` to the model roots, if it names a path.

        Raises:
            InvalidRequest, NoFit, ModelNotFound, AlreadyExists, Forbidden, NoWorker, StoreError.
        """
        deployment = await self._compile(request, confined)
        self.apply(LaunchRequested(deployment))
        with contextlib.suppress(StoreError):  # it is launched; that it cannot be listed is no reason to say otherwise
            again = request.model_copy(update={"model_type": deployment.spec.type.value})  # as it was found, where it was not said
            self._store.history.add(time.time(), deployment.uid, again.model_dump_json(exclude_unset=True))
        log.info("launched", model=deployment.uid, replicas=len(deployment.demands), engine=deployment.spec.engine)
        return deployment.uid

    async def launches(self, limit: int) -> tuple[Launched, ...]:
        """The launches that were accepted last, newest first."""
        return self._store.history.newest(limit)

    async def plan(self, request: LaunchRequest, confined: bool = False) -> PlanReply:
        """What ``launch`` would do, from the same functions."""
        deployment, snapshot = await self._compile(request, confined), self._snapshot
        return await asyncio.to_thread(lambda: plan_reply(plan_launch(snapshot, deployment), deployment, snapshot))

    async def _compile(self, request: LaunchRequest, confined: bool) -> Deployment:
        await self._settle()
        alive = [w for w in self._snapshot.workers.values() if w.state is WorkerState.ALIVE]
        findings = await self._survey.look(request, alive, self._model_roots if confined else None)
        return compile_launch(
            request,
            snapshot=self._snapshot,
            families=self._families,
            files=findings.files,
            engines=findings.engines,
            now=time.time(),
            base_bytes={name: registry.base_bytes(name) for name in registry.names()},
            engine_options={name: registry.declared_options(name) for name in registry.names()},
            measured=self._store.figures.measured,
            remembered=self._store.figures.chosen,
            divisions=registry.divisions(),
            offline=findings.offline,
            cached=findings.cached,
            idle=self._timings.scale.idle,
        )

    async def stop(self, model_uid: ModelUid, drain: bool = True) -> None:
        """Stop a deployment, at once or when what it accepted is served; returns when its name is free again. Raises ModelNotFound."""
        self._deployment(model_uid)
        self.apply(StopRequested(model_uid, drain))
        await self._until(lambda: model_uid not in self._snapshot.deployments, self._timings.drain + self._timings.stop)

    async def add_replicas(self, model_uid: ModelUid, placement: Placement) -> tuple[ReplicaId, ...]:
        """Add replicas, all or none. Raises ModelNotFound, InvalidPlacement, NoFit."""
        await self._settle()
        demands = compile_addition(self._deployment(model_uid), placement, self._snapshot, registry.divisions())
        before = set(self._snapshot.replicas)
        self.apply(ReplicasAdded(model_uid, demands))
        return tuple(r for r in self._snapshot.replicas if r not in before)

    async def remove_replica(self, model_uid: ModelUid, replica_id: ReplicaId) -> int:
        """Remove one replica; returns how many stay desired. Raises ModelNotFound, ReplicaNotFound."""
        self._deployment(model_uid)
        self.apply(ReplicaRemoved(model_uid, replica_id))
        left = self._snapshot.deployments.get(model_uid)
        return 0 if left is None else left.wanted

    async def scale(self, model_uid: ModelUid, wanted: ScaleRequest) -> Scaled:
        """Have so many replicas, or within other bounds; returns when they are placed, or leaving.

        Raises:
            ModelNotFound, InvalidRequest, NoFit.
        """
        await self._settle()
        before = self._deployment(model_uid)
        self.apply(compile_scaling(before, wanted, self._timings.scale.idle))
        change = Scaled.between(before, self._deployment(model_uid))
        if change.replicas != before.wanted:
            self._autoscaler.changed(model_uid, f"{before.wanted} → {change.replicas}: asked for", time.time())
        return change

    async def move(self, model_uid: ModelUid, replica_id: ReplicaId, placement: Placement) -> ReplicaId:
        """Start a replica that takes another's place once it is ready; returns its id.

        Raises:
            ModelNotFound, ReplicaNotFound, InvalidPlacement, InvalidRequest, NoFit.
        """
        await self._settle()
        deployment = self._deployment(model_uid)
        demand = compile_move(deployment, replica_id, placement, self._snapshot)
        self.apply(MoveRequested(model_uid, replica_id, demand))
        (successor,) = Scaled.between(deployment, self._deployment(model_uid)).added
        return successor

    async def wait_ready(self, model_uid: ModelUid, wait: float) -> bool:
        """True once every replica is READY; False after ``wait`` seconds. Raises as ``control.readiness.is_ready``."""
        self._deployment(model_uid)
        await self._until(lambda: is_settled(self._snapshot, model_uid), wait)
        return is_ready(self._snapshot, model_uid)

    def _deployment(self, model_uid: ModelUid) -> Deployment:
        deployment = self._snapshot.deployments.get(model_uid)
        if deployment is None:
            raise ModelNotFound(f"No model {model_uid!r} is running.", param="model_uid")  # others are not everybody's to know
        return deployment

    async def drain(self, name: str, undo: bool | None) -> Drained:
        """Begin to empty a worker, end that, or (None) look how far it is. Raises InvalidPlacement, WorkerNotFound."""
        await self._settle()
        workers = self._snapshot.workers
        worker_id = WorkerId(name) if name in self._snapshot.draining else find_worker(name, list(workers.values()), "worker").id
        if undo is True or (undo is False and worker_id not in self._snapshot.draining):
            self.apply(DrainRequested(worker_id, undo))
        leaving, staying = left_on(self._snapshot, worker_id)
        worker = self._snapshot.workers.get(worker_id)
        reasons = {each: self._snapshot.replicas[each].error for each in leaving if self._snapshot.replicas[each].error}
        return Drained(
            worker_id, Address("") if worker is None else worker.address, worker_id in self._snapshot.draining, leaving, staying, reasons
        )

    async def rebalance(self, request: RebalanceRequest) -> RebalanceReply:
        """Begin the moves that leave room, all or none, or only name them. Raises InvalidRequest, PlanOvertaken, Unavailable."""
        await self._settle()
        rooms = rooms_of(request, self._snapshot)
        for left in reversed(range(PLANS)):
            before = self._snapshot
            plan = await asyncio.to_thread(plan_rebalance, before, request.max_moves, rooms)  # seconds, in a large cluster
            if request.dry_run or not plan.moves:
                return rebalance_reply(plan, before, request.dry_run, {})
            try:
                self.apply(RebalanceRequested(plan.moves))
                break
            except PlanOvertaken:
                if not left:
                    raise
        return rebalance_reply(plan, before, False, successors(self._snapshot))

    async def make_key(self, key: Key) -> None:
        """Take an API key from now on. Raises InvalidRequest, AlreadyExists."""
        await self._settle()  # until then API processes go on with the keys they have
        self.apply(KeyMade(key))
        log.info("key made", key=key.name, id=key.id, admin=key.admin)

    async def revoke_key(self, name: str) -> Key:
        """Take an API key, by name or id, no more; as it is now. Raises KeyNotFound, InvalidRequest."""
        await self._settle()
        key_id = find(self._snapshot.keys, name).id
        self.apply(KeyRevoked(name))
        log.info("key revoked", key=name, id=key_id)
        return self._snapshot.keys[key_id]

    async def written(self, model_uid: ModelUid, name: str, lines: int, after: tuple[str, int] | None) -> Written:
        """What the processes of a replica (by number or id) wrote where it is or was last: the last lines, or what follows ``after``.

        Raises:
            ModelNotFound, ReplicaNotFound: nothing of it is kept anywhere.
        """
        place = whereabouts(self._snapshot, model_uid, name)
        found = await self._survey.written(place, lines, after)
        if found is not None:
            return found
        if place.replica is None:
            raise unknown(self._snapshot, model_uid, name)
        return Written(place.id, *(after or ("", 0)), "" if after else place.replica.stderr_tail)

    async def upgrade(self, name: str) -> Upgraded:
        """Have a worker take up the code on its host; returns once it has joined again.

        Raises:
            InvalidPlacement, WorkerNotFound; UpgradeRefused: it goes on as it was; Unavailable: it has not come back yet.
        """
        await self._settle()
        asked = find_worker(name, list(self._snapshot.workers.values()), "worker")
        await self._survey.ref(asked.address).upgrade()
        before = self._snapshot  # what it is about to let go of; the rehearsal took its time
        old = self._upgrading[asked.id] = find_worker(asked.id, list(before.workers.values()), "worker")
        try:
            back = await self._until(lambda: back_from(self._snapshot, old), COMES_BACK)
        finally:
            self._upgrading.pop(old.id, None)
        if not back:
            raise Unavailable(f"Worker {old.address} is not back after {COMES_BACK:g} s; if it died, its launcher starts it again.")
        done = Upgraded.between(before, self._snapshot, old.id)
        log.info("worker upgraded", worker=done.address, before=done.version_before, now=done.version, kept=len(done.kept))
        return done
