"""Changing a deployment while it serves: more replicas, fewer, elsewhere. What people ask for raises; ``finish_moves`` never does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.control.demands import compile_growth
from xinfer.control.draft import Draft
from xinfer.control.events import MoveRequested, ReplicaRemoved, ReplicasAdded, ScaledDown, ScalingSet, StopRequested
from xinfer.control.launches import begin, deployment_of, stop
from xinfer.control.lifecycle import no_such_replica, replica_id
from xinfer.control.replicas import let_go
from xinfer.errors import InvalidRequest, ModelNotFound

MOVE_AGAIN = 60.0
"""Seconds after which a replica that has to leave is tried again, once its successor has failed."""


def add_replicas(draft: Draft, event: ReplicasAdded) -> None:
    """More replicas, all or none, numbered on from the last.

    Raises:
        ModelNotFound: no such deployment, or it is stopping. NoFit, NoWorker, Unavailable: as for a launch.
        InvalidRequest: none, or more than its ``max_replica``.
    """
    deployment = _wanted_deployment(draft, event.model_uid)
    if not event.demands:
        raise InvalidRequest("replica must be at least 1, not 0.", param="replica")
    scaling, count = deployment.scaling, deployment.wanted + len(event.demands)
    if scaling is not None and count > scaling.max_replica:
        raise InvalidRequest(f"replica: {count} replicas are more than max_replica, which is {scaling.max_replica}.", param="replica")
    _grow(draft, deployment, event.demands)


def _grow(draft: Draft, deployment: Deployment, demands: tuple[Demand, ...]) -> None:
    first = _next_ordinal(deployment)
    added = tuple(range(first, first + len(demands)))
    after = replace(
        deployment,
        demands=(*deployment.demands, *demands),
        ordinals=(*deployment.ordinals, *added),
        next_ordinal=first + len(added),
        asleep=None,
    )
    draft.put_deployment(after)
    begin(draft, after, added)


def remove_replica(draft: Draft, event: ReplicaRemoved) -> None:
    """One replica less; the last one takes the deployment with it. One that was moving stays with its successor, or where it is.

    Raises:
        ModelNotFound, ReplicaNotFound: nothing of that name, or it is on its way out already.
    """
    deployment = deployment_of(draft, event.model_uid)
    replica = _desired(draft, deployment, event.replica_id)
    if len(deployment.ordinals) == 1:
        stop(draft, StopRequested(deployment.uid))
        return
    _without(draft, deployment, {replica.ordinal})


def scale_down(draft: Draft, event: ScaledDown) -> None:
    """Let go what is worth least: what has failed or waits before what starts, that before what serves; then unpinned before
    pinned, young before old. A replica that moves goes with its successor.

    Raises:
        ModelNotFound: no such deployment, or it is stopping. InvalidRequest: none, where it may not sleep.
    """
    deployment = _wanted_deployment(draft, event.model_uid)
    if event.replicas < 1:
        check_may_sleep(deployment)
    _shrink(draft, deployment, max(0, event.replicas), by_load=event.by_load)


def check_may_sleep(deployment: Deployment) -> None:
    """Raises InvalidRequest unless the model may have no replica at all."""
    if deployment.scaling is None or deployment.scaling.min_replica > 0:
        raise InvalidRequest(
            f"replica must be at least 1, not 0: stop {deployment.uid} to have none, or let it sleep with min_replica 0.", param="replica"
        )
    if any(demand.pin is not None for demand in deployment.demands):
        raise InvalidRequest(
            f"replica must be at least 1, not 0: {deployment.uid} has pinned replicas, which never sleep.", param="replica"
        )


def set_scaling(draft: Draft, event: ScalingSet) -> None:
    """Other bounds, and as many replicas as they ask for; all or nothing.

    Raises:
        ModelNotFound: no such deployment, or it is stopping. NoFit, NoWorker, Unavailable: as for a launch.
        InvalidRequest: it is to sleep with replicas that are pinned.
    """
    deployment = replace(_wanted_deployment(draft, event.model_uid), scaling=event.scaling)
    draft.put_deployment(deployment)
    if event.replicas < 1:
        check_may_sleep(deployment)
    if event.demands:
        _grow(draft, deployment, event.demands)
    else:
        _shrink(draft, deployment, event.replicas)


def _shrink(draft: Draft, deployment: Deployment, replicas: int, by_load: bool = False) -> None:
    """Down to ``replicas`` by worth; with none it sleeps, and keeps what one of them needs."""
    successors = set(deployment.moves.values())
    places = [ordinal for ordinal in deployment.ordinals if ordinal not in successors]
    kept = _bound(deployment) if by_load else set()
    spare = [ordinal for ordinal in places if ordinal not in kept and deployment.moves.get(ordinal) not in kept]
    surplus = sorted(spare, key=lambda ordinal: _worth(draft, deployment, ordinal))[: max(0, len(places) - replicas)]
    going = {*surplus, *(deployment.moves[ordinal] for ordinal in surplus if ordinal in deployment.moves)}
    if not going:
        return
    if not replicas:
        (needed,) = compile_growth(deployment, 1)
        deployment = replace(deployment, asleep=needed, slept=True)
    _without(draft, deployment, going)


def _bound(deployment: Deployment) -> set[int]:
    """Those that people pinned to a slot."""
    return {ordinal for ordinal, demand in zip(deployment.ordinals, deployment.demands, strict=True) if demand.pin is not None}


def move_replica(draft: Draft, event: MoveRequested) -> None:
    """Start a successor; ``finish_moves`` lets the old one go when it is ready.

    Raises:
        ModelNotFound, ReplicaNotFound: nothing of that name, or it is on its way out already.
        InvalidRequest: it moves already, or is there already. NoFit, NoWorker, Unavailable: as for a launch.
    """
    deployment = _wanted_deployment(draft, event.model_uid)
    replica = _desired(draft, deployment, event.replica_id)
    moving = {**deployment.moves, **{new: new for new in deployment.moves.values()}}
    if replica.ordinal in moving:
        other = replica_id(deployment.uid, moving[replica.ordinal])
        raise InvalidRequest(f"replica_id: {replica.id} is part of a move already; wait for {other}, or remove it.", param="replica_id")
    if event.demand.pin is not None and event.demand.pin == replica.slot:
        raise InvalidRequest(f"slots: {replica.id} is in that slot already.", param="slots")
    begin_move(draft, deployment, replica, event.demand)


def begin_move(
    draft: Draft, deployment: Deployment, replica: Replica, demand: Demand, at: Slot | None = None, *, refusals: bool = True
) -> None:
    """Start a successor somewhere else.

    Args:
        at: in this very slot, which is no pin: a restart may be elsewhere.
        refusals: as in ``launches.begin``.

    Raises:
        NoFit, NoWorker, Unavailable: as for a launch; nothing is written then.
    """
    new = _next_ordinal(deployment)
    after = replace(
        deployment,
        demands=(*deployment.demands, demand),
        ordinals=(*deployment.ordinals, new),
        next_ordinal=new + 1,
        moves={**deployment.moves, replica.ordinal: new},
    )
    begin(draft, after, (new,), elsewhere=replica.slot, at=at, refusals=refusals)
    draft.put_deployment(after)


def finish_moves(draft: Draft) -> None:
    """Let a replica go whose successor is ready; give a move up whose successor has failed, the old one stays."""
    if draft.settling:
        return
    for uid in draft.moving():
        for old, new in dict(draft.deployments[uid].moves).items():
            deployment = draft.deployments[uid]
            successor = draft.replica(replica_id(uid, new))
            if successor is None or successor.phase is Phase.FAILED:
                _without(draft, deployment, {new})
                _say_failed(draft, uid, old, successor)
            elif successor.phase is Phase.READY:
                _without(draft, deployment, {old})


def _say_failed(draft: Draft, uid: ModelUid, ordinal: int, successor: Replica | None) -> None:
    stays = draft.replica(replica_id(uid, ordinal))
    # One that is down has an error and a next try of its own, and a new start is told to its worker as it stands.
    if stays is not None and stays.phase is Phase.READY and successor is not None:
        draft.put(replace(stays, error=f"It was not moved: {successor.error}", retry_at=draft.now + MOVE_AGAIN))


def _worth(draft: Draft, deployment: Deployment, ordinal: int) -> tuple[int, bool, int]:
    replica = draft.replica(replica_id(deployment.uid, ordinal))
    phase = Phase.FAILED if replica is None else replica.phase
    rank = 3 if phase is Phase.READY else 2 if phase in STARTING else 0 if phase is Phase.FAILED else 1
    pinned = deployment.demands[deployment.ordinals.index(ordinal)].pin is not None
    return rank, pinned, -ordinal


def _without(draft: Draft, deployment: Deployment, going: Collection[int]) -> None:
    """These replicas are no longer wanted; moves that they are part of are over."""
    kept = [pair for pair in zip(deployment.ordinals, deployment.demands, strict=True) if pair[0] not in going]
    draft.put_deployment(
        replace(
            deployment,
            ordinals=tuple(ordinal for ordinal, _ in kept),
            demands=tuple(demand for _, demand in kept),
            next_ordinal=_next_ordinal(deployment),
            moves={old: new for old, new in deployment.moves.items() if old not in going and new not in going},
        )
    )
    for ordinal in sorted(going):
        replica = draft.replica(replica_id(deployment.uid, ordinal))
        if replica is not None:
            let_go(draft, replica)


def _next_ordinal(deployment: Deployment) -> int:
    """Numbers are never used twice."""
    return max(deployment.next_ordinal, max(deployment.ordinals, default=-1) + 1)


def _wanted_deployment(draft: Draft, uid: ModelUid) -> Deployment:
    deployment = deployment_of(draft, uid)
    if deployment.stopping:
        raise ModelNotFound(f"Model {uid!r} is stopping: launch it again instead.", param="model_uid")
    return deployment


def _desired(draft: Draft, deployment: Deployment, wanted: str) -> Replica:
    replica = next((r for r in draft.of_model(deployment.uid) if r.id == wanted), None)
    if replica is None or replica.ordinal not in deployment.ordinals:
        raise no_such_replica(deployment, wanted)
    return replica
