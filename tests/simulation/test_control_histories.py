"""Seeded histories of a whole cluster under faults; the invariants are checked after every step.

A failure prints its seed and the last events; ``pytest -k 'seed_block3'`` and a loop over ``history(seed)`` bring it back.
"""

from __future__ import annotations

import pytest

from tests.simulation.fake_cluster import FakeCluster
from xinfer.cluster.replica import Phase, Replica
from xinfer.placement.plan import NoFitting, plan_launch

HISTORIES, BLOCK = 200, 10
FAULTS = 60
PATIENCE = 900.0
"""Seconds, by the cluster's clock, in which all must be well once faults have stopped; back-off alone takes up to 300."""


def history(seed: int) -> FakeCluster:
    """Storm, then calm, then what was asked for."""
    cluster = FakeCluster(seed)
    cluster.run(3.0)
    for _ in range(FAULTS):
        cluster.hurt()
        cluster.run(cluster.dice.expovariate(1 / 1.5))
    cluster.calm()
    end = cluster.now + PATIENCE
    while cluster.now < end:
        cluster.run(10.0)
        left = unfinished(cluster)
        if not left:
            return cluster
    raise AssertionError(f"seed {seed}: {PATIENCE:g} s after the last fault: {left}\n" + "\n".join(cluster.log))


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
    return isinstance(plan_launch(cluster.snapshot, deployment, [replica.ordinal]), NoFitting)


@pytest.mark.parametrize("block", range(HISTORIES // BLOCK), ids=lambda block: f"seed_block{block}")
def test_a_cluster_comes_through_any_history(block: int) -> None:
    steps = started = restarted = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            cluster = history(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        steps += cluster.steps
        started += cluster.check.started
        restarted += cluster.check.restarted
    assert steps > 200 * BLOCK, "a history that does nothing proves nothing"
    assert started > 10 * BLOCK
    assert restarted > BLOCK


def test_equal_seeds_give_equal_histories() -> None:
    one, other = history(11), history(11)
    assert one.steps == other.steps
    assert dict(one.snapshot.replicas) == dict(other.snapshot.replicas)
