"""What people ask for: launch and stop. These raise; news of workers and replicas never does."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import Epoch, ModelUid
from xinfer.cluster.replica import Phase, Progress, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import ReplicaTable
from xinfer.control.draft import Draft
from xinfer.control.dtypes import WAITS, undecided
from xinfer.control.events import LaunchRequested, QueuesEmpty, StopRequested
from xinfer.control.lifecycle import replica_id
from xinfer.control.reconcile import plan_at, start
from xinfer.control.replicas import end, let_go
from xinfer.errors import AlreadyExists, InvalidRequest, ModelNotFound, NoFit, Unavailable
from xinfer.placement.plan import NoFitting, plan_launch


def launch(draft: Draft, event: LaunchRequested) -> None:
    """Place and begin every replica of a new deployment.

    Raises:
        AlreadyExists: the uid is taken, perhaps by a deployment that is still stopping.
        NoFit, NoWorker: some replica has no slot; nothing is changed.
        Unavailable: the supervisor has just started and waits for its workers.
    """
    deployment = event.deployment
    if not deployment.ordinals:
        raise InvalidRequest("replica must be at least 1, not 0.", param="replica")
    check_free(draft.before, deployment.uid)
    draft.put_deployment(deployment)
    begin(draft, deployment, deployment.ordinals)


def check_free(snapshot: Snapshot, uid: ModelUid) -> None:
    """Raises AlreadyExists, with a hint, if a deployment or the remains of one have this uid."""
    deployment = snapshot.deployments.get(uid)
    if deployment is not None and not deployment.stopping:
        raise AlreadyExists(f"model_uid {uid!r} is taken by a running model: pass another model_uid, or stop that one.", param="model_uid")
    if deployment is not None or ReplicaTable.of(snapshot.replicas).of_model(uid):
        raise AlreadyExists(
            f"model_uid {uid!r} is taken by a model that is still stopping: pass another model_uid, or try again.", param="model_uid"
        )


def stop(draft: Draft, event: StopRequested) -> None:
    """Starts are aborted; what serves goes on until the queues are empty (``queues_empty``), and with ``drain=False`` ends at once.

    Stopping twice is the same as once.

    Raises:
        ModelNotFound: no such deployment.
    """
    deployment = deployment_of(draft, event.model_uid)
    if deployment.stopping and event.drain:
        return
    replicas = list(draft.of_model(deployment.uid))
    serving = [replica for replica in replicas if replica.phase is Phase.READY] if event.drain else []
    closing = draft.now + draft.timings.drain if serving else 0.0
    draft.put_deployment(replace(deployment, demands=(), ordinals=(), moves={}, asleep=None, closing=closing))
    for replica in replicas:
        if replica not in serving:
            let_go(draft, replica) if event.drain else end(draft, replica)
    if not any(draft.of_model(deployment.uid)):
        draft.drop_deployment(deployment.uid)


def queues_empty(draft: Draft, event: QueuesEmpty) -> None:
    """The replicas of a deployment that is being stopped have nothing left to serve."""
    deployment = draft.deployments.get(event.model_uid)
    if deployment is not None and deployment.closing:
        _close(draft, deployment, let_go)


def close_late(draft: Draft) -> None:
    """A stop whose time to drain is over ends, whatever is still queued."""
    for deployment in list(draft.deployments.values()):
        if deployment.closing and draft.now >= deployment.closing:
            _close(draft, deployment, end)


def _close(draft: Draft, deployment: Deployment, leave: Callable[[Draft, Replica], None]) -> None:
    draft.put_deployment(replace(deployment, closing=0.0))
    for replica in list(draft.of_model(deployment.uid)):
        leave(draft, replica)


def deployment_of(draft: Draft, uid: ModelUid) -> Deployment:
    """Raises ModelNotFound."""
    deployment = draft.deployments.get(uid)
    if deployment is None:
        raise ModelNotFound(f"No model {uid!r} is running.", param="model_uid")
    return deployment


def begin(
    draft: Draft,
    deployment: Deployment,
    ordinals: Collection[int],
    elsewhere: Slot | None = None,
    at: Slot | None = None,
    *,
    refusals: bool = True,
) -> None:
    """Place and start new replicas, all or none.

    Args:
        refusals: an error names every slot that was refused, for a person to read.
        elsewhere: a slot that is none of theirs to take, and whose devices others go before.
        at: the slot of the only one of ``ordinals``.

    Raises:
        NoFit, NoWorker: no slot; Unavailable: the supervisor has just started. Nothing is written then.
    """
    if draft.settling:
        left = max(1.0, draft.settle_until - draft.now)
        raise Unavailable(
            f"The supervisor has just started and waits for {len(draft.expected)} of its workers: try again in {left:.0f} s.",
            retry_after=left,
        )
    before, avoid = draft.checkpoint(), () if elsewhere is None else (elsewhere,)
    if at is None:
        plan = plan_launch(before, deployment, ordinals, avoid=avoid, refusals=False)
    else:
        (ordinal,) = ordinals
        plan, refusals = plan_at(draft, deployment, ordinal, at), False
    if isinstance(plan, NoFitting):
        told = plan_launch(before, deployment, ordinals, avoid=avoid) if refusals else plan
        raise (told if isinstance(told, NoFitting) else plan).to_error()
    if any(placed.slot == elsewhere for placed in plan.placements):
        raise NoFit("No other slot has room; name one with slots to see why not, or make room.", param="slots")
    waits = undecided(draft, deployment)
    for placed in plan.placements:
        place = Replica(
            id=replica_id(deployment.uid, placed.ordinal),
            model_uid=deployment.uid,
            ordinal=placed.ordinal,
            epoch=Epoch(0),
            phase=Phase.QUEUED,
            progress=Progress(since=draft.now),
            created_at=draft.now,
        )
        if waits:
            # Its place is kept: a launch is of all replicas or of none.
            draft.put(replace(place, slot=placed.slot, reserved_bytes=placed.reserved_bytes, error=WAITS))
            continue
        draft.put(place)
        start(draft, place, deployment, placed.slot, placed.reserved_bytes)
        waits = bool(deployment.dtype_open)
