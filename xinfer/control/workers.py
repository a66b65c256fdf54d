"""News of workers: join with adoption of what they run, heartbeat, goodbye, loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xinfer.cluster.ids import Epoch, ReplicaId, WorkerId
from xinfer.cluster.replica import HOLDS_SLOT, STARTING, Phase, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.draft import Draft
from xinfer.control.dtypes import agrees, decide
from xinfer.control.effects import StopReplica
from xinfer.control.events import WorkerBeat, WorkerGone, WorkerHungUp, WorkerJoined
from xinfer.control.lifecycle import move
from xinfer.control.reconcile import start_due
from xinfer.control.replicas import LEAVING, crash, requeue

ADOPTABLE = STARTING | {Phase.READY}


def must_rejoin(snapshot: Snapshot, worker_id: WorkerId, epoch: Epoch) -> bool:
    """Whether a worker that beats so has to introduce itself again: unknown, lost, or registered anew since."""
    worker = snapshot.workers.get(worker_id)
    return worker is None or worker.epoch != epoch or worker.state is WorkerState.LOST


def back_from(snapshot: Snapshot, old: Worker) -> bool:
    """Whether a worker that was ``old`` has introduced itself anew since."""
    now = snapshot.workers.get(old.id)
    return now is not None and now.epoch != old.epoch and now.state is WorkerState.ALIVE


def joined(draft: Draft, event: WorkerJoined) -> None:
    """Register a worker, adopt what it runs that is still wanted, stop the rest (after settling)."""
    draft.next_epoch = max([draft.next_epoch, event.begun + 1, *(replica.epoch + 1 for replica in event.running)])
    worker = replace(event.worker, epoch=draft.new_epoch(), state=WorkerState.ALIVE, last_seen=draft.now)
    draft.put_worker(worker)
    reported = {replica.id: replica for replica in event.running}
    for known in list(draft.on_worker(worker.id)):
        there = reported.get(known.id)
        if known.phase in HOLDS_SLOT and (there is None or there.epoch != known.epoch) and not _just_asked_for(draft, known):
            _gone_with_worker(draft, known)
    for replica in event.running:
        _take_in(draft, worker, replica)
    if draft.expected:
        draft.expected = draft.expected - {worker.id}
        if not draft.expected:
            settled(draft)
    start_due(draft, wake=True)


def settled(draft: Draft) -> None:
    """The end of settling: what nobody wants is stopped now."""
    draft.expected = frozenset()
    for replica in list(draft.underway()):
        if replica.phase in LEAVING and replica.slot is not None:
            drain = draft.timings.drain if replica.phase is Phase.DRAINING else 0.0
            draft.effects.append(StopReplica(replica.slot.worker_id, replica.id, replica.epoch, drain))


def beat(draft: Draft, event: WorkerBeat) -> None:
    """A worker lives; what it holds is compared with what it should hold."""
    worker = draft.workers.get(event.worker_id)
    if worker is None or must_rejoin(draft.before, event.worker_id, event.epoch):
        return
    draft.put_worker(replace(worker, last_seen=draft.now, state=WorkerState.ALIVE, free_bytes=event.free_bytes))
    if event.running is None or draft.settling:
        return
    running = dict(event.running)
    for known in list(draft.on_worker(worker.id)):
        # News may overtake a heartbeat, so only what has been there for a while can be missing.
        settled_in = draft.now - known.progress.since > draft.timings.suspect and not _just_asked_for(draft, known)
        if known.phase in HOLDS_SLOT and known.id not in running and settled_in:
            if known.phase in LEAVING:
                draft.drop(known)
            else:
                crash(draft, known, "The worker has no such process any more.", "", "")
                start_due(draft, only=known.id)
    for replica_id, epoch in event.running:
        _stop_stray(draft, worker.id, replica_id, epoch)


def gone(draft: Draft, event: WorkerGone) -> None:
    """A worker left for good, and its replicas with it."""
    worker = draft.workers.get(event.worker_id)
    if worker is None or worker.epoch != event.epoch:
        return
    draft.drop_worker(worker.id)
    write_off(draft, worker, dead=True)
    start_due(draft)


def hung_up(draft: Draft, event: WorkerHungUp) -> None:
    """A worker whose link broke gets no new work until it is heard of; it is lost when it has been silent for as long as any other."""
    worker = draft.workers.get(event.worker_id)
    if worker is not None and worker.epoch == event.epoch and worker.state is WorkerState.ALIVE:
        draft.put_worker(replace(worker, state=WorkerState.SUSPECT))


def write_off(draft: Draft, worker: Worker, *, dead: bool) -> None:
    """Every replica of a worker waits for a slot again.

    Args:
        dead: their processes are known to have ended; otherwise they may come back with their worker and be adopted, and
            those that served keep their address: routes fall back on it while nobody else serves the model, as a silent
            worker is no dead replica.
    """
    for replica in list(draft.on_worker(worker.id)):
        if replica.phase in LEAVING or (dead and draft.desired(replica) is None):
            draft.drop(replica)
        elif replica.phase in HOLDS_SLOT or (dead and replica.phase is Phase.BACKOFF):
            epoch = draft.new_epoch() if dead else replica.epoch
            retry_at = replica.retry_at if replica.phase is Phase.BACKOFF else draft.now
            address = replica.address if replica.phase is Phase.READY and not dead else None
            error = f"Its worker {worker.address} is {'gone' if dead else 'lost'}."
            requeue(draft, replica, epoch=epoch, retry_at=retry_at, address=address, error=error)
        elif replica.phase is Phase.QUEUED:
            draft.put(replace(replica, slot=None, reserved_bytes=0))  # the place that was kept for it is gone


def _just_asked_for(draft: Draft, replica: Replica) -> bool:
    """A start that may still be on its way to the worker; past ``timings.spawn`` the tick gives it up."""
    return replica.phase is Phase.SPAWNING and draft.now - replica.progress.since <= draft.timings.suspect


def _gone_with_worker(draft: Draft, replica: Replica) -> None:
    """The worker came back without it, so it ended; no fault of its own: start it again in the same slot."""
    if replica.phase in LEAVING or draft.desired(replica) is None:
        draft.drop(replica)
        return
    after = move(
        replica,
        Phase.BACKOFF,
        draft.now,
        epoch=draft.new_epoch(),
        reserved_bytes=0,
        loaded=False,
        address=None,
        pid=None,
        reports=(),
        retry_at=draft.now,
        error="Its worker was restarted.",
    )
    if after is not None:
        draft.put(after)


def _take_in(draft: Draft, worker: Worker, reported: Replica) -> None:
    """One replica that a joining worker holds: go on with it, adopt it, or stop it."""
    known = draft.replica(reported.id)
    if known is None:
        _orphan(draft, worker, reported)
    elif known.phase in HOLDS_SLOT and known.epoch == reported.epoch:
        if known.phase in LEAVING:
            if not draft.settling:
                draft.effects.append(StopReplica(worker.id, known.id, known.epoch, draft.timings.drain))
        elif _belongs(draft, worker, known, reported):
            _adopt(draft, known, reported)
    elif known.phase is Phase.QUEUED and reported.epoch >= known.epoch and _belongs(draft, worker, known, reported):
        _adopt(draft, known, reported)
    elif not draft.settling:
        draft.effects.append(StopReplica(worker.id, reported.id, reported.epoch, draft.timings.drain))


def _belongs(draft: Draft, worker: Worker, known: Replica, reported: Replica) -> bool:
    """Wanted, alive, on devices of this worker and where a pin would have it."""
    desired, slot = draft.desired(known), reported.slot
    if desired is None or slot is None or reported.phase not in ADOPTABLE or slot.worker_id != worker.id or not agrees(draft, reported):
        return False
    pin = desired.deployment.demands[desired.position].pin
    return (pin is None or pin == slot) and all(worker.device(uuid) is not None for uuid in slot.device_uuids)


def _adopt(draft: Draft, known: Replica, reported: Replica) -> None:
    """Go on with a life that was never interrupted: the worker's figures, our history."""
    ready = reported.phase is Phase.READY
    changes: dict[str, Any] = {
        "epoch": reported.epoch,
        "slot": reported.slot,
        "reserved_bytes": reported.reserved_bytes,
        "loaded": reported.loaded or ready,
        "address": reported.address,
        "pid": reported.pid,
        "reports": reported.reports,
        "speed": reported.speed,
        "budget_tokens": reported.budget_tokens,
        "capacity": reported.capacity,
        "dtype": reported.dtype,
    }
    deployment = draft.deployments.get(known.model_uid)
    if ready and deployment is not None and deployment.dtype_open:
        decide(draft, deployment, reported.dtype, "chosen by the first replica")
    if known.phase is Phase.READY:
        if ready:
            draft.put(replace(known, **changes))
        return
    ready_at = known.ready_at or min(reported.ready_at, draft.now) or draft.now
    history: dict[str, Any] = {"ready_at": ready_at, "avoid": (), "retry_at": 0.0, "error": "", "error_code": "", "stderr_tail": ""}
    after = move(known, reported.phase, draft.now, **changes, **(history if ready else {"retry_at": 0.0, "error": ""}))
    if after is not None:
        draft.put(after)


def _orphan(draft: Draft, worker: Worker, reported: Replica) -> None:
    """A replica of no deployment: charged to its devices until it is gone, in no route."""
    slot = reported.slot
    if slot is not None and slot.worker_id == worker.id:
        phase = Phase.DRAINING if reported.phase is Phase.READY else Phase.STOPPING
        draft.put(replace(reported, phase=phase, progress=replace(reported.progress, stage=phase.value, since=draft.now)))
    if not draft.settling:
        draft.effects.append(StopReplica(worker.id, reported.id, reported.epoch, draft.timings.drain))


def _stop_stray(draft: Draft, worker_id: WorkerId, replica_id: ReplicaId, epoch: Epoch) -> None:
    known = draft.replica(replica_id)
    if known is None or known.epoch != epoch or known.slot is None or known.slot.worker_id != worker_id:
        draft.effects.append(StopReplica(worker_id, replica_id, epoch, draft.timings.drain))
