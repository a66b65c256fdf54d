"""Emptying a worker: nothing new goes there, and what may leave moves away, each replica once its successor is ready."""

from __future__ import annotations

from dataclasses import replace

from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ReplicaId, WorkerId
from xinfer.cluster.replica import HOLDS_SLOT, STARTING, Phase, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.changes import begin_move
from xinfer.control.draft import Desired, Draft
from xinfer.control.events import DrainRequested
from xinfer.control.reconcile import PLANS_PER_STEP, start_due
from xinfer.errors import NoFit, NoWorker, WorkerNotFound


def drain(draft: Draft, event: DrainRequested) -> None:
    """Begin or end it. Replicas that are pinned there, or bound to that worker, stay and serve until a person moves them.

    Raises:
        WorkerNotFound: no worker of that id is known, or it is not being drained.
    """
    if event.undo:
        if event.worker_id not in draft.draining:
            raise WorkerNotFound(f"Worker {event.worker_id} is not being drained.", param="worker")
        draft.draining -= {event.worker_id}
        start_due(draft, wake=True)
        return
    if event.worker_id not in draft.workers:
        raise WorkerNotFound(f"There is no worker {event.worker_id}.", param="worker")
    draft.draining |= {event.worker_id}
    move_away(draft)


def move_away(draft: Draft) -> None:
    """Begin some moves; one for which there is no room says so and is tried again with the next heartbeat."""
    if draft.settling:
        return
    plans = PLANS_PER_STEP
    for worker_id in sorted(draft.draining):
        for replica in list(draft.on_worker(worker_id)):
            desired = draft.desired(replica)
            if desired is None or not may_leave(replica, desired) or replica.retry_at > draft.now:
                continue
            if not plans:
                draft.behind = True
                return
            plans -= 1
            _move(draft, replica, desired)


def left_on(snapshot: Snapshot, worker_id: WorkerId) -> tuple[tuple[ReplicaId, ...], tuple[ReplicaId, ...]]:
    """Replicas that are still there: those on their way out, and those that only a person can move."""
    leaving: list[ReplicaId] = []
    staying: list[ReplicaId] = []
    for replica in snapshot.replicas.values():
        if replica.slot is None or replica.slot.worker_id != worker_id or replica.phase not in HOLDS_SLOT:
            continue
        deployment = snapshot.deployments.get(replica.model_uid)
        wanted = deployment is not None and replica.ordinal in deployment.ordinals
        demand = deployment.demands[deployment.ordinals.index(replica.ordinal)] if deployment is not None and wanted else None
        (leaving if demand is None or _is_free(demand) else staying).append(replica.id)
    return tuple(sorted(leaving)), tuple(sorted(staying))


def may_leave(replica: Replica, desired: Desired) -> bool:
    """It runs, no pin and no worker's name holds it there, and it is in no move yet."""
    deployment = desired.deployment
    demand = deployment.demands[desired.position]
    moving = {*deployment.moves, *deployment.moves.values()}
    return _is_free(demand) and replica.phase in STARTING | {Phase.READY} and replica.ordinal not in moving


def _is_free(demand: Demand) -> bool:
    return demand.pin is None and demand.worker_id is None


def _move(draft: Draft, replica: Replica, desired: Desired) -> None:
    try:
        begin_move(draft, desired.deployment, replica, desired.deployment.demands[desired.position], refusals=False)
        draft.put(replace(replica, error=""))
    except (NoFit, NoWorker) as error:
        again = draft.now + draft.timings.heartbeat
        draft.put(replace(replica, error=f"It has to leave its worker and cannot: {error.message}", retry_at=again))
