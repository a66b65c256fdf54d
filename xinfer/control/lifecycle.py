"""Which phase may follow which. Late news asks for moves that are not in the table, and is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.errors import ReplicaNotFound

_ENDED_BADLY = frozenset({Phase.QUEUED, Phase.BACKOFF, Phase.FAILED})
_UNWANTED = frozenset({Phase.STOPPING, Phase.STOPPED})

TABLE: Mapping[Phase, frozenset[Phase]] = {
    # A queued one may also be found running: its worker came back, or the supervisor did.
    Phase.QUEUED: STARTING | {Phase.READY, Phase.FAILED, Phase.STOPPED},
    # A start is asked for as SPAWNING; a worker that has packages to install first says so.
    Phase.SPAWNING: STARTING | {Phase.READY} | _ENDED_BADLY | _UNWANTED,
    Phase.INSTALLING: STARTING | {Phase.READY} | _ENDED_BADLY | _UNWANTED,
    Phase.FETCHING: frozenset({Phase.FETCHING, Phase.LOADING, Phase.WARMING, Phase.READY}) | _ENDED_BADLY | _UNWANTED,
    Phase.LOADING: frozenset({Phase.LOADING, Phase.WARMING, Phase.READY}) | _ENDED_BADLY | _UNWANTED,
    Phase.WARMING: frozenset({Phase.WARMING, Phase.READY}) | _ENDED_BADLY | _UNWANTED,
    Phase.READY: frozenset({Phase.DRAINING}) | _ENDED_BADLY | _UNWANTED,
    Phase.DRAINING: _UNWANTED,
    Phase.STOPPING: frozenset({Phase.STOPPED}),
    Phase.BACKOFF: frozenset({Phase.SPAWNING, Phase.QUEUED, Phase.FAILED, Phase.STOPPED}),
    Phase.FAILED: frozenset({Phase.STOPPED}),
    Phase.STOPPED: frozenset(),
}
"""STOPPED is the end: a replica that reaches it is taken out of the snapshot."""


def replica_id(model_uid: str, ordinal: int) -> ReplicaId:
    """The id of one place in a deployment."""
    return ReplicaId(f"{model_uid}-{ordinal}")


def no_such_replica(deployment: Deployment, wanted: str) -> ReplicaNotFound:
    """The error that names the replicas that there are."""
    there = ", ".join(replica_id(deployment.uid, ordinal) for ordinal in deployment.ordinals[:16]) or "none"
    return ReplicaNotFound(f"Model {deployment.uid!r} has no replica {wanted!r}, its replicas are: {there}.", param="replica_id")


def legal(before: Phase, after: Phase) -> bool:
    """Whether a replica may go from ``before`` to ``after``."""
    return after in TABLE[before]


def move(replica: Replica, phase: Phase, now: float, **changes: Any) -> Replica | None:
    """The replica in its next phase, or None where the table has no such move.

    Args:
        now: supervisor clock; becomes ``progress.since`` when the phase changes.
        changes: other fields of the replica.
    """
    if not legal(replica.phase, phase):
        return None
    if phase != replica.phase or "progress" in changes:
        progress = changes.get("progress", replica.progress)
        since = now if phase != replica.phase else replica.progress.since
        if phase != replica.phase and "progress" not in changes:
            progress = replace(progress, stage=phase.value, fraction=1.0 if phase is Phase.READY else 0.0, files=())
        changes["progress"] = replace(progress, since=since)
    return replace(replica, phase=phase, **changes)
