"""Whether a deployment is as it was asked for: what those who wait for a launch wait for."""

from __future__ import annotations

from xinfer.cluster.ids import ModelUid
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import ReplicaTable
from xinfer.errors import LaunchFailed, ModelNotFound


def is_settled(snapshot: Snapshot, uid: ModelUid) -> bool:
    """Nothing is left to wait for: all are ready, one has given up, or the deployment is gone."""
    deployment = snapshot.deployments.get(uid)
    if deployment is None:
        return True
    phases = [replica.phase for replica in _replicas(snapshot, uid)]
    return Phase.FAILED in phases or phases.count(Phase.READY) >= len(deployment.demands)


def is_ready(snapshot: Snapshot, uid: ModelUid) -> bool:
    """Every replica is ready; a model that sleeps is as it was asked for.

    Raises:
        ModelNotFound: it was stopped; LaunchFailed: a replica has given up, with its reason.
    """
    deployment = snapshot.deployments.get(uid)
    if deployment is None or deployment.stopping:
        raise ModelNotFound(f"Model {uid} was stopped before it was ready.", param="model_uid")
    mine = _replicas(snapshot, uid)
    failed = next((replica for replica in mine if replica.phase is Phase.FAILED), None)
    if failed is not None:
        raise LaunchFailed(
            f"Replica {failed.id} failed: {failed.error}", cause=failed.error_code, replica_id=failed.id, stderr_tail=failed.stderr_tail
        )
    return sum(replica.phase is Phase.READY for replica in mine) >= len(deployment.demands)


def _replicas(snapshot: Snapshot, uid: ModelUid) -> list[Replica]:
    table = ReplicaTable.of(snapshot.replicas)
    return [table[key] for key in table.of_model(uid)]
