"""The state machine of the cluster: one event in, the next snapshot and what to do about it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xinfer.cluster.snapshot import Snapshot
from xinfer.control import changes, drains, events, keys, launches, liveness, rebalancing, replicas, workers
from xinfer.control.draft import Draft
from xinfer.control.effects import Effect
from xinfer.control.events import Event
from xinfer.control.restore import restore as restore
from xinfer.settings import Timings

HANDLERS: Mapping[type, Callable[[Draft, Any], None]] = {
    events.LaunchRequested: launches.launch,
    events.StopRequested: launches.stop,
    events.QueuesEmpty: launches.queues_empty,
    events.ReplicasAdded: changes.add_replicas,
    events.ReplicaRemoved: changes.remove_replica,
    events.ScaledDown: changes.scale_down,
    events.ScalingSet: changes.set_scaling,
    events.MoveRequested: changes.move_replica,
    events.DrainRequested: drains.drain,
    events.RebalanceRequested: rebalancing.rebalance,
    events.KeyMade: keys.make,
    events.KeyRevoked: keys.revoke,
    events.WorkerJoined: workers.joined,
    events.WorkerBeat: workers.beat,
    events.WorkerGone: workers.gone,
    events.WorkerHungUp: workers.hung_up,
    events.ReplicaProgressed: replicas.progressed,
    events.ReplicaReady: replicas.ready,
    events.ReplicaEnded: replicas.ended,
    events.ReplicaRefused: replicas.refused,
    events.Tick: liveness.tick,
}


def step(snapshot: Snapshot, event: Event, now: float, timings: Timings) -> tuple[Snapshot, tuple[Effect, ...]]:
    """What the cluster is after ``event``, and the effects to carry out once that is written.

    Pure: ``snapshot`` is not changed, and equal arguments give equal results. News of unknown ids or earlier lives is
    normal and gives back the very same snapshot with no effects. ``version`` grows exactly when what routes show changed.

    Args:
        now: unix seconds; taken instead of ``Tick.now``.

    Raises:
        XinferError: for requests of people only (see ``launches``); nothing is changed then.
    """
    draft = Draft(snapshot, now, timings)
    HANDLERS[type(event)](draft, event)
    changes.finish_moves(draft)
    return draft.finish()
