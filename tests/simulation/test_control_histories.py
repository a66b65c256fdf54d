"""Seeded histories of a whole cluster under faults; the invariants are checked after every step.

A failure prints its seed and the last events; ``scripts/simulate --replay SEED`` and ``pytest -k 'seed_block3'`` bring it back.
"""

from __future__ import annotations

import pytest

from tests.simulation.history import history

HISTORIES, BLOCK = 200, 10


@pytest.mark.parametrize("block", range(HISTORIES // BLOCK), ids=lambda block: f"seed_block{block}")
def test_a_cluster_comes_through_any_history(block: int) -> None:
    steps = started = restarted = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        cluster = history(seed)
        steps += cluster.steps
        started += cluster.check.started
        restarted += cluster.check.restarted
    assert steps > 200 * BLOCK, "a history that does nothing proves nothing"
    assert started > 10 * BLOCK
    assert restarted > BLOCK


def test_histories_have_moves_of_rebalances_in_them() -> None:
    assert sum(history(seed).check.rebalanced for seed in range(3 * BLOCK)) > BLOCK


def test_equal_seeds_give_equal_histories() -> None:
    one, other = history(11), history(11)
    assert one.steps == other.steps
    assert dict(one.snapshot.replicas) == dict(other.snapshot.replicas)
