"""Seeded histories of a whole cluster under faults; the invariants are checked after every step.

A failure prints its seed and the last events; ``scripts/simulate --replay SEED`` and ``pytest -k 'seed_block3'`` bring it back.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.history import history

HISTORIES, BLOCK = 200, 10


@pytest.mark.parametrize("block", range(HISTORIES // BLOCK), ids=lambda block: f"seed_block{block}")
def test_a_cluster_comes_through_any_history(block: int) -> None:
    steps = started = restarted = 0
    by_load: Counter[str] = Counter()
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        cluster = history(seed)
        steps += cluster.steps
        started += cluster.check.started
        restarted += cluster.check.restarted
        by_load += cluster.check.by_load
    assert steps > 200 * BLOCK, "a history that does nothing proves nothing"
    assert started > 10 * BLOCK
    assert restarted > BLOCK
    assert {"more", "fewer", "stopped with empty queues"} <= set(by_load), by_load


def test_models_sleep_and_wake_in_these_histories() -> None:
    by_load: Counter[str] = Counter()
    for seed in range(2 * BLOCK):
        by_load += history(seed).check.by_load
    assert min(by_load["asleep"], by_load["woken"]) > 3, by_load


def test_histories_have_moves_of_rebalances_in_them() -> None:
    assert sum(history(seed).check.rebalanced for seed in range(3 * BLOCK)) > BLOCK


def test_equal_seeds_give_equal_histories() -> None:
    one, other = history(11), history(11)
    assert one.steps == other.steps
    assert dict(one.snapshot.replicas) == dict(other.snapshot.replicas)
