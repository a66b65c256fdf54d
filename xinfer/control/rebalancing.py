"""Moving replicas so that others find room: the moves that ``placement.rebalance`` names, begun like any other move."""

from __future__ import annotations

from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.memory import parse_bytes
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.changes import begin_move
from xinfer.control.draft import Draft
from xinfer.control.events import RebalanceRequested
from xinfer.control.lifecycle import replica_id
from xinfer.errors import InvalidRequest, NoFit, NoWorker, PlanOvertaken
from xinfer.placement.arrangement import may_move
from xinfer.placement.compile import MAX_REPLICAS
from xinfer.placement.rebalance import MAX_MOVES
from xinfer.placement.wants import Room
from xinfer.schemas.cluster import RebalanceRequest

AGAIN = 1.0
"""Seconds until a plan that was overtaken is worth making anew."""


def rebalance(draft: Draft, event: RebalanceRequested) -> None:
    """Begin every move of the plan, or none.

    Raises:
        PlanOvertaken: one of them cannot begin any more. Unavailable: the supervisor has just started and waits for its workers.
    """
    for each in event.moves:
        deployment, replica = draft.deployments.get(each.model_uid), draft.replica(each.replica_id)
        demand = None if deployment is None or replica is None else demand_of(deployment, replica.ordinal)
        if deployment is None or replica is None or demand is None:
            raise PlanOvertaken(f"{each.replica_id} is not there any more: ask again.", retry_after=AGAIN)
        if replica.slot != each.source or not may_move(replica, demand, deployment):
            raise PlanOvertaken(f"{each.replica_id} is not as it was when its move was planned: ask again.", retry_after=AGAIN)
        try:
            begin_move(draft, deployment, replica, demand, at=each.target, refusals=False)
        except (NoFit, NoWorker) as error:
            raise PlanOvertaken(f"The room that was planned for {each.replica_id} is gone: ask again.", retry_after=AGAIN) from error


def demand_of(deployment: Deployment, ordinal: int) -> Demand | None:
    """What the replica of that number needs; None = it is not wanted."""
    return next((demand for own, demand in zip(deployment.ordinals, deployment.demands, strict=True) if own == ordinal), None)


def successors(snapshot: Snapshot) -> dict[str, str]:
    """By id of each replica that moves, the id of the one that takes its place."""
    return {
        replica_id(uid, old): replica_id(uid, new)
        for uid, deployment in snapshot.deployments.items()
        for old, new in deployment.moves.items()
    }


def rooms_of(request: RebalanceRequest, snapshot: Snapshot) -> tuple[Room, ...]:
    """The room that is asked for; empty = none in particular.

    Raises:
        InvalidRequest: a number out of range, an engine that no worker has, or details of a room without its memory.
    """
    if not 1 <= request.max_moves <= MAX_MOVES:
        raise InvalidRequest(f"max_moves must be between 1 and {MAX_MOVES}, not {request.max_moves}.", param="max_moves")
    if request.memory is None:
        given = next((name for name in ("n_gpu", "replica", "model_engine") if getattr(request, name) is not None), None)
        if given is not None:
            raise InvalidRequest(f"{given} says what room is for, so memory must say how much of it, such as 20GiB.", param="memory")
        return ()
    n_gpu, replica = request.n_gpu or 1, request.replica or 1
    if request.n_gpu is not None and request.n_gpu < 1:
        raise InvalidRequest(f"n_gpu must be at least 1, not {request.n_gpu}.", param="n_gpu")
    if request.replica is not None and not 1 <= request.replica <= MAX_REPLICAS:
        raise InvalidRequest(f"replica must be between 1 and {MAX_REPLICAS}, not {request.replica}.", param="replica")
    there = {engine for worker in snapshot.workers.values() for engine in worker.engines}
    if request.model_engine is not None and request.model_engine not in there:
        known = ", ".join(sorted(there)) or "none"
        raise InvalidRequest(f"model_engine: no worker has {request.model_engine!r}; there are {known}.", param="model_engine")
    return (Room(parse_bytes(request.memory), n_gpu, request.model_engine or ""),) * replica
