"""News of single replicas: progress, ready, ended, refused. Late news, of another epoch or phase, changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xinfer.cluster.ids import Epoch, ReplicaId
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.control.backoff import crashes_after, retry_at
from xinfer.control.draft import Draft
from xinfer.control.dtypes import decide
from xinfer.control.effects import StopReplica
from xinfer.control.events import ReplicaEnded, ReplicaProgressed, ReplicaReady, ReplicaRefused
from xinfer.control.lifecycle import move
from xinfer.control.reconcile import start_due
from xinfer.errors import DeviceMismatch, OutOfMemory

AVOIDED = 8
"""Slots remembered as bad; older ones get another chance."""
LEAVING = frozenset({Phase.DRAINING, Phase.STOPPING})
_NOWHERE: dict[str, Any] = {"reserved_bytes": 0, "loaded": False, "address": None, "pid": None, "reports": ()}


def progressed(draft: Draft, event: ReplicaProgressed) -> None:
    """A start has come further."""
    replica = _living(draft, event.replica_id, event.epoch)
    if replica is None or replica.phase not in STARTING or event.phase not in STARTING:
        return  # one that was written off with its worker comes back by its join, not by news
    after = move(replica, event.phase, draft.now, progress=event.progress, pid=event.pid or replica.pid)
    if after is not None:
        draft.put(after)


def ready(draft: Draft, event: ReplicaReady) -> None:
    """A replica proved its place and can take work; the measured figure replaces the estimate."""
    replica = _living(draft, event.replica_id, event.epoch)
    if replica is None or replica.phase not in STARTING or replica.slot is None:
        return
    seen = {report.uuid for report in event.reports}
    if seen and seen != set(replica.slot.device_uuids):
        wanted, got = ", ".join(replica.slot.device_uuids), ", ".join(sorted(seen))
        draft.effects.append(StopReplica(replica.slot.worker_id, replica.id, replica.epoch))
        fail(draft, replica, f"The replica was bound to {wanted} and sees {got}.", DeviceMismatch.code, "")
        return
    deployment = draft.deployments.get(replica.model_uid)
    if deployment is not None and not deployment.dtype_open and event.dtype not in (None, deployment.spec.dtype):
        draft.effects.append(StopReplica(replica.slot.worker_id, replica.id, replica.epoch))
        crash(draft, replica, f"The replica runs in {event.dtype} and its model in {deployment.spec.dtype}.", "", "")
        return
    open_until_now = deployment is not None and bool(deployment.dtype_open)
    if deployment is not None and open_until_now:
        deployment = decide(draft, deployment, event.dtype, event.dtype_why)
    reserved = event.reserved_bytes
    desired = draft.desired(replica)
    if desired is not None and reserved > 0:
        demand = desired.deployment.demands[desired.position]
        if demand.fixed_bytes:
            reserved = max(reserved, replica.reserved_bytes)
        elif demand.bytes_per_device != reserved:
            demands = list(desired.deployment.demands)
            demands[desired.position] = replace(demand, bytes_per_device=reserved)
            draft.put_deployment(replace(desired.deployment, demands=tuple(demands)))
    after = move(
        replica,
        Phase.READY,
        draft.now,
        address=event.address,
        pid=event.pid or replica.pid,
        reports=event.reports,
        reserved_bytes=reserved or replica.reserved_bytes,
        loaded=True,
        speed=event.speed,
        budget_tokens=event.budget_tokens,
        capacity=event.capacity,
        dtype=event.dtype or (deployment.spec.dtype if deployment is not None else None),
        ready_at=draft.now,
        avoid=(),
        error="",
        error_code="",
        stderr_tail="",
    )
    if after is not None:
        draft.put(after)
    if open_until_now:
        start_due(draft, model=replica.model_uid, wake=True)


def ended(draft: Draft, event: ReplicaEnded) -> None:
    """A process is gone: as asked, by a crash (try again), or for good."""
    replica = _living(draft, event.replica_id, event.epoch)
    if replica is None:
        return
    _credit(draft, replica)
    if replica.phase is Phase.QUEUED:
        # Written off with its worker, and now known to be dead: nothing is left to adopt.
        draft.put(replace(replica, epoch=draft.new_epoch(), address=None))
    elif replica.phase in LEAVING or draft.desired(replica) is None:
        draft.drop(replica)
    elif replica.phase in STARTING or replica.phase is Phase.READY:
        reason = event.error or f"The replica's process ended with exit code {event.code}."
        if event.fatal:
            fail(draft, replica, reason, event.error_code, event.stderr_tail)
        else:
            crash(draft, replica, reason, event.error_code, event.stderr_tail)
            start_due(draft, only=replica.id)


def refused(draft: Draft, event: ReplicaRefused) -> None:
    """The worker did not begin the start: look for another slot, a little later so that two ledgers cannot spin."""
    replica = _living(draft, event.replica_id, event.epoch)
    if replica is None:
        return
    if replica.phase is Phase.STOPPING:
        draft.drop(replica)
    elif replica.phase is Phase.SPAWNING:
        requeue(
            draft,
            replica,
            epoch=draft.new_epoch(),
            error=event.error,
            avoid=_avoiding(replica),
            retry_at=draft.now + draft.timings.heartbeat / 2,
        )


def crash(draft: Draft, replica: Replica, error: str, code: str, stderr_tail: str) -> None:
    """Wait for the next try in the same slot, or give up after too many. An out-of-memory start looks for another slot."""
    if draft.desired(replica) is None:
        draft.drop(replica)  # its deployment is being stopped
        return
    crashes = crashes_after(replica, draft.now)
    again = retry_at(crashes, draft.now)
    replica = replace(replica, crashes=crashes)
    if again is None:
        fail(draft, replica, f"{error.rstrip('.')}; given up after {len(crashes)} crashes.", code, stderr_tail)
        return
    elsewhere = code == OutOfMemory.code and replica.phase in STARTING
    slot, avoid = (None, _avoiding(replica)) if elsewhere else (replica.slot, replica.avoid)
    changes = {"slot": slot, "avoid": avoid, "retry_at": again, "error": error, "error_code": code, "stderr_tail": stderr_tail}
    # The dead life's epoch goes with it, so that no late report of it is ever adopted.
    after = move(replica, Phase.BACKOFF, draft.now, epoch=draft.new_epoch(), **_NOWHERE, **changes)
    if after is not None:
        draft.put(after)


def fail(draft: Draft, replica: Replica, error: str, code: str, stderr_tail: str) -> None:
    """Give up: the slot is free, the reason stays until somebody stops or removes the replica."""
    changes = {"error": error, "error_code": code, "stderr_tail": stderr_tail, "slot": None, "avoid": _avoiding(replica)}
    after = move(replica, Phase.FAILED, draft.now, epoch=draft.new_epoch(), **_NOWHERE, **changes)
    if after is not None:
        draft.put(after)


def requeue(draft: Draft, replica: Replica, **changes: Any) -> None:
    """Back to waiting for a slot, with ``changes`` to other fields."""
    after = move(replica, Phase.QUEUED, draft.now, **{"slot": None, **_NOWHERE, **changes})
    if after is not None:
        draft.put(after)


def let_go(draft: Draft, replica: Replica) -> None:
    """Nobody wants this replica any more: out of the routes now, out of the snapshot when its process is gone."""
    if replica.phase in LEAVING:
        return
    if replica.slot is None or not (replica.phase in STARTING or replica.phase is Phase.READY):
        draft.drop(replica)
        return
    ready_now = replica.phase is Phase.READY
    after = move(replica, Phase.DRAINING if ready_now else Phase.STOPPING, draft.now)
    if after is not None:
        draft.put(after)
        drain = draft.timings.drain if ready_now else 0.0
        draft.effects.append(StopReplica(replica.slot.worker_id, replica.id, replica.epoch, drain))


def end(draft: Draft, replica: Replica) -> None:
    """As ``let_go``, without waiting for what it holds; also for one that drains already."""
    if replica.phase is not Phase.DRAINING and (replica.slot is None or not (replica.phase in STARTING or replica.phase is Phase.READY)):
        let_go(draft, replica)
        return
    after = move(replica, Phase.STOPPING, draft.now)
    if after is not None and replica.slot is not None:
        draft.put(after)
        draft.effects.append(StopReplica(replica.slot.worker_id, replica.id, replica.epoch))


def _living(draft: Draft, replica_id: ReplicaId, epoch: Epoch) -> Replica | None:
    replica = draft.replica(replica_id)
    return replica if replica is not None and replica.epoch == epoch else None


def _credit(draft: Draft, replica: Replica) -> None:
    """What a dead replica held is free, though the worker's last heartbeat does not know it: else a restart would not fit its slot."""
    slot = replica.slot
    worker = draft.workers.get(slot.worker_id) if slot is not None and replica.loaded else None
    if slot is None or worker is None:
        return
    free = dict(worker.free_bytes)
    for uuid in slot.device_uuids:
        device = worker.device(uuid)
        if device is None:
            continue
        for other in worker.devices:
            if other.memory_domain == device.memory_domain and other.uuid in free:
                free[other.uuid] += replica.reserved_bytes
    draft.put_worker(replace(worker, free_bytes=free))


def _avoiding(replica: Replica) -> tuple[Slot, ...]:
    if replica.slot is None:
        return replica.avoid
    return (*(slot for slot in replica.avoid if slot != replica.slot), replica.slot)[-AVOIDED:]
