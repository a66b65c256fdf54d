"""What the passing of time means: silent workers, the end of settling, starts and stops that take too long."""

from __future__ import annotations

from dataclasses import replace

from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.draft import Draft
from xinfer.control.drains import move_away
from xinfer.control.effects import StopReplica
from xinfer.control.events import Tick
from xinfer.control.launches import close_late
from xinfer.control.reconcile import start_due
from xinfer.control.replicas import LEAVING, crash
from xinfer.control.workers import must_rejoin as must_rejoin
from xinfer.control.workers import settled, write_off

FORGET_LOST = 3600.0
"""A worker lost for so long is no longer listed, nor waited for after a restart."""
JUDGE_EVERY = 0.5
"""Seconds; a look at every worker and at every replica that starts or stops costs more than what the rest of a tick is there for."""
LOSSES_PER_STEP = 2
"""Workers that are given up, with all their replicas, in one step; the next tick goes on."""


def tick(draft: Draft, event: Tick) -> None:
    """Judge workers, end settling, give up what takes too long, start what is due.

    It does so much and no more; ``Snapshot.behind`` says that another tick has something to do at once. Of such ticks, which
    follow at once, one in ``JUDGE_EVERY`` judges.
    """
    slept = draft.ticked_at > 0 and draft.now - draft.ticked_at > draft.timings.suspect
    goes_on = draft.behind and draft.now - draft.judged_at < JUDGE_EVERY
    draft.ticked_at, draft.behind = draft.now, False
    if not goes_on:
        _judge_all(draft, slept)
    if draft.behind:
        return  # nothing goes to a worker that is about to be given up
    start_due(draft)
    move_away(draft)


def _judge_all(draft: Draft, slept: bool) -> None:
    lost = 0
    for worker in list(draft.workers.values()):
        if slept and worker.state is not WorkerState.LOST:
            # The silence was ours: heartbeats of that time are still in the inbox.
            draft.put_worker(replace(worker, last_seen=draft.now))
            continue
        lost += _judge(draft, worker)
        if lost == LOSSES_PER_STEP:
            break
    if lost:
        draft.behind, draft.judged_at = True, 0.0  # the next tick judges again, however soon, and does the rest
        return
    draft.judged_at = draft.now
    if draft.expected and not draft.settling:
        settled(draft)
    for replica in list(draft.underway()):
        _hurry(draft, replica)
    close_late(draft)


def _judge(draft: Draft, worker: Worker) -> bool:
    """True if it is given up now."""
    silent = draft.now - worker.last_seen
    if worker.state is WorkerState.LOST:
        if silent > FORGET_LOST:
            draft.drop_worker(worker.id)
    elif silent >= draft.timings.lost:
        draft.put_worker(replace(worker, state=WorkerState.LOST))
        write_off(draft, worker, dead=False)
        return True
    elif silent >= draft.timings.suspect and worker.state is WorkerState.ALIVE:
        draft.put_worker(replace(worker, state=WorkerState.SUSPECT))
    return False


def _hurry(draft: Draft, replica: Replica) -> None:
    """A step that takes longer than it may: ask again for a stop, give a start up."""
    slot, since, timings = replica.slot, draft.now - replica.progress.since, draft.timings
    if slot is None:
        return
    if replica.phase in LEAVING:
        if slot.worker_id not in draft.workers and not draft.settling:
            draft.drop(replica)
        elif since > timings.stop + (timings.drain if replica.phase is Phase.DRAINING else 0.0):
            draft.put(replace(replica, progress=replace(replica.progress, since=draft.now)))
            draft.effects.append(StopReplica(slot.worker_id, replica.id, replica.epoch))
        return
    limits = {
        Phase.INSTALLING: timings.install,
        Phase.SPAWNING: timings.spawn,
        Phase.LOADING: timings.load,
        Phase.WARMING: timings.load,
    }
    limit = limits.get(replica.phase)
    if limit is not None and since > limit:
        draft.effects.append(StopReplica(slot.worker_id, replica.id, replica.epoch))
        crash(draft, replica, f"The replica was {replica.phase.value} for more than {limit:g} s.", "deadline_exceeded", "")
