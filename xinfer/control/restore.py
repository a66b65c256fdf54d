"""The state a supervisor begins with: everything that was desired, nothing yet observed."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import Epoch, WorkerId
from xinfer.cluster.keys import Keys
from xinfer.cluster.replica import Progress, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import ReplicaTable
from xinfer.control.lifecycle import replica_id
from xinfer.settings import Timings


def restore(
    deployments: Iterable[Deployment],
    workers_expected: Collection[WorkerId],
    epoch: Epoch,
    now: float,
    timings: Timings,
    draining: Collection[WorkerId] = (),
    keys: Keys | None = None,
) -> Snapshot:
    """A snapshot that settles until every expected worker has joined or ``timings.settle`` has passed.

    Args:
        deployments: as stored; each replica waits to be found running on a worker, or to be started after settling.
        epoch: of this supervisor's life, larger than any epoch that was ever given out.
        now: unix seconds.
    """
    wanted = {deployment.uid: deployment for deployment in deployments}
    waiting = {
        replica_id(deployment.uid, ordinal): Replica(
            id=replica_id(deployment.uid, ordinal),
            model_uid=deployment.uid,
            ordinal=ordinal,
            epoch=Epoch(0),
            progress=Progress(since=now),
            created_at=deployment.created_at,
            error="Waits for its worker after a restart of the supervisor." if workers_expected else "",
        )
        for deployment in wanted.values()
        for ordinal in deployment.ordinals
    }
    return Snapshot(
        epoch=epoch,
        version=1,
        deployments=wanted,
        replicas=ReplicaTable.of(waiting),
        expected=frozenset(workers_expected),
        draining=frozenset(draining),
        keys=keys or {},
        settle_until=now + timings.settle,
        next_epoch=epoch + 1,
    )
