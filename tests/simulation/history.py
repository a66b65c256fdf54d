"""One seeded history: storm, then calm, then what was asked for. Tests run small ones, ``scripts/simulate`` large ones too."""

from __future__ import annotations

from tests.simulation.fake_cluster import FakeCluster
from tests.simulation.weather import Shape
from xinfer.cluster.replica import Phase, Replica
from xinfer.placement.plan import NoFitting, plan_launch

FAULTS = 60
FAULT_EVERY = 1.5
PATIENCE = 900.0
"""Seconds, by the cluster's clock, in which all must be well once faults have stopped; back-off alone takes up to 300."""


def history(seed: int, shape: Shape | None = None, steps: int = 0, fault_every: float = FAULT_EVERY) -> FakeCluster:
    """Storm for ``FAULTS`` faults, or until so many steps; then calm until all is as desired.

    Args:
        fault_every: seconds from one fault to the next, in the mean.

    Raises:
        AssertionError: an invariant is broken, or the end is not reached; names the seed and the step.
    """
    cluster = FakeCluster(seed, shape)
    try:
        _storm(cluster, steps, fault_every)
        _calm(cluster)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, step {cluster.steps}: {error}") from error
    return cluster


def _storm(cluster: FakeCluster, steps: int, fault_every: float) -> None:
    cluster.run(3.0)
    faults = 0
    while cluster.steps < steps if steps else faults < FAULTS:
        cluster.hurt()
        cluster.run(cluster.dice.expovariate(1 / fault_every))
        faults += 1


def _calm(cluster: FakeCluster) -> None:
    cluster.calm()
    end = cluster.now + PATIENCE
    while cluster.now < end:
        cluster.run(10.0)
        left = unfinished(cluster)
        if not left:
            cluster.check.whole(cluster.snapshot)
            return
    raise AssertionError(f"{PATIENCE:g} s after the last fault: {left[:20]}\n" + "\n".join(cluster.log))


def unfinished(cluster: FakeCluster) -> list[str]:
    """What is not yet as desired, in the snapshot and in truth."""
    left = [] if cluster.supervisor_up else ["the supervisor is down"]
    left += [f"worker {w.id} has not joined" for w in cluster.workers.values() if w.registration is None or not w.up]
    snapshot = cluster.snapshot
    lives = {(r.id, r.epoch): (w.id, r.phase) for w in cluster.workers.values() for r in (p.replica for p in w.running.values())}
    for replica in snapshot.replicas.values():
        life = lives.pop((replica.id, replica.epoch), None)
        if replica.phase is Phase.READY:
            home = replica.slot.worker_id if replica.slot else None
            if life != (home, Phase.READY):
                left.append(f"{replica.id}@{replica.epoch} should be ready on {home} and really is {life}")
        elif not (_gave_up(replica) or _cannot_be_placed(cluster, replica)):
            left.append(f"{replica.id}@{replica.epoch} is {replica.phase}, really {life}: {replica.error}")
    for uid, deployment in snapshot.deployments.items():
        bounds, room = deployment.scaling, cluster.autoscaler.notes.get(uid)
        if bounds is not None and deployment.wanted < bounds.min_replica and not (room and room.no_room):
            left.append(f"{uid} has {deployment.wanted} replicas, fewer than {bounds.min_replica}, and says no reason")
        if deployment.stopping:
            left.append(f"{uid} is still stopping")
    return left + [f"{key} still runs on {where}" for key, where in lives.items()]


def _gave_up(replica: Replica) -> bool:
    return replica.phase is Phase.FAILED and (replica.error_code == "launch_failed" or len(replica.crashes) >= 5)


def _cannot_be_placed(cluster: FakeCluster, replica: Replica) -> bool:
    """It waits, says why, and the planner agrees that there is no room."""
    deployment = cluster.snapshot.deployments.get(replica.model_uid)
    if (
        deployment is None
        or replica.phase not in {Phase.QUEUED, Phase.BACKOFF}
        or not replica.error
        or replica.retry_at > cluster.now + 10.0
    ):
        return False
    return isinstance(plan_launch(cluster.snapshot, deployment, [replica.ordinal], refusals=False), NoFitting)
