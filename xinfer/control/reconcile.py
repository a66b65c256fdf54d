"""Desired against actual: the one path by which replicas are started, after a launch, a crash, a loss or a restart of the supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import ModelUid, ReplicaId
from xinfer.cluster.replica import Assignment, Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import WAITING
from xinfer.cluster.worker import WorkerState
from xinfer.control.draft import Desired, Draft
from xinfer.control.dtypes import hold, undecided
from xinfer.control.effects import StartReplica
from xinfer.control.lifecycle import move, replica_id
from xinfer.placement.plan import NoFitting, Placed, Plan, plan_launch

PLANS_PER_STEP = 1
"""Plans over the whole cluster in one step; the rest wait for the next tick, which ``Snapshot.behind`` brings on."""
STARTS_PER_STEP = 24
"""Replicas that one step looks at to start them; the same holds for the rest."""


def start_due(draft: Draft, *, only: ReplicaId | None = None, model: ModelUid | None = None, wake: bool = False) -> None:
    """Start the replicas whose time has come, those that have waited longest first, where they belong or where there is room.

    Args:
        only, model: look at this replica alone, or at those of this deployment.
        wake: something has changed for the better; those that wait for room need not wait for their next try.
    """
    if draft.settling:
        return
    homeless: dict[ModelUid, tuple[Deployment, list[Replica]]] = {}
    deciding: set[ModelUid] = set()
    looks = STARTS_PER_STEP
    for replica in sorted(_due(draft, only, model, wake), key=_retry_at):
        desired = draft.desired(replica)
        if desired is None or _has_moved(draft, replica, desired):
            continue
        if replica.model_uid in deciding or undecided(draft, desired.deployment):
            deciding.add(replica.model_uid)
            hold(draft, replica)
            continue
        if not looks:
            draft.behind = True
            break
        looks -= 1
        if _start_at_home(draft, replica, desired):
            continue
        if len(homeless) == PLANS_PER_STEP and replica.model_uid not in homeless:
            draft.behind = True
            continue
        homeless.setdefault(replica.model_uid, (desired.deployment, []))[1].append(replica)
    for deployment, replicas in homeless.values():
        _start_anywhere(draft, deployment, replicas)


def start(draft: Draft, replica: Replica, deployment: Deployment, slot: Slot, reserved_bytes: int) -> None:
    """Bind a waiting replica to ``slot`` with a new epoch and ask its worker to begin."""
    again = replica.phase is Phase.BACKOFF or replica.ready_at > 0
    after = move(
        replica,
        Phase.SPAWNING,
        draft.now,
        epoch=draft.new_epoch(),
        slot=slot,
        reserved_bytes=reserved_bytes,
        loaded=False,
        address=None,
        pid=None,
        reports=(),
        retry_at=0.0,
        restarts=replica.restarts + again,
        dtype=None if deployment.dtype_open else deployment.spec.dtype,
    )
    if after is not None:
        draft.put(after)
        assignment = Assignment(after, deployment.spec, deployment.options, deployment.dtype_open)
        draft.effects.append(StartReplica(slot.worker_id, assignment))


def plan_at(draft: Draft, deployment: Deployment, ordinal: int, slot: Slot) -> Plan | NoFitting:
    """Whether one replica can be in ``slot``, pinned or not. Only its worker decides, so only that is looked at."""
    demand = deployment.demands[deployment.ordinals.index(ordinal)]
    one = replace(deployment, demands=(replace(demand, pin=slot),), ordinals=(ordinal,))
    workers = {slot.worker_id: draft.workers[slot.worker_id]} if slot.worker_id in draft.workers else {}
    here = Snapshot(workers=workers, replicas={r.id: r for r in draft.on_worker(slot.worker_id)}, draining=draft.draining)
    return plan_launch(here, one, one.ordinals, refusals=False)


def _due(draft: Draft, only: ReplicaId | None, model: ModelUid | None, wake: bool) -> Iterator[Replica]:
    candidates = [draft.replica(only)] if only is not None else list(draft.waiting() if model is None else draft.of_model(model))
    for replica in candidates:
        if replica is None or replica.phase not in WAITING:
            continue
        if replica.retry_at <= draft.now or (wake and replica.phase is Phase.QUEUED):
            yield replica


def _retry_at(replica: Replica) -> float:
    return replica.retry_at


def _has_moved(draft: Draft, replica: Replica, desired: Desired) -> bool:
    """Its successor is ready, so that it is about to be let go."""
    new = desired.deployment.moves.get(replica.ordinal)
    successor = None if new is None else draft.replica(replica_id(replica.model_uid, new))
    return successor is not None and successor.phase is Phase.READY


def _start_at_home(draft: Draft, replica: Replica, desired: Desired) -> bool:
    """Start in the pinned or the former slot; True if that is settled, be it by waiting."""
    demand = desired.deployment.demands[desired.position]
    pinned = demand.pin is not None
    slot = demand.pin or replica.slot
    if slot is None:
        return False
    worker = draft.workers.get(slot.worker_id)
    if worker is None or worker.state is WorkerState.LOST:
        if pinned:
            _wait(draft, replica, f"Waits for worker {slot.worker_id}, which its pin names and which is not here.")
        return pinned
    if worker.state is WorkerState.SUSPECT:
        _wait(draft, replica, f"Waits for worker {worker.address}, which has not been heard of lately.")
        return True
    plan = plan_at(draft, desired.deployment, replica.ordinal, slot)
    if isinstance(plan, NoFitting):
        if pinned:
            _wait(draft, replica, f"Waits for its pinned slot: {plan.reason}")
        return pinned
    start(draft, replica, desired.deployment, slot, plan.placements[0].reserved_bytes)
    return True


def _start_anywhere(draft: Draft, deployment: Deployment, replicas: list[Replica]) -> None:
    """As many as fit; the others wait and say why. Of those whose dtype is open, one."""
    if deployment.dtype_open:
        first = None if undecided(draft, deployment) else replicas[0]
        for other in replicas[first is not None :]:
            hold(draft, other)
        replicas = [] if first is None else [first]
    plan = plan_launch(draft.checkpoint(), deployment, [replica.ordinal for replica in replicas], refusals=False)
    placed: dict[int, Placed] = {each.ordinal: each for each in plan.placements}
    reason = f"Waits for a slot: {plan.reason}" if isinstance(plan, NoFitting) else ""
    for replica in replicas:
        found = placed.get(replica.ordinal)
        if found is None:
            _wait(draft, replica, reason)
        else:
            start(draft, replica, deployment, found.slot, found.reserved_bytes)


def _wait(draft: Draft, replica: Replica, reason: str) -> None:
    draft.put(replace(replica, retry_at=draft.now + 2 * draft.timings.heartbeat, error=reason))
