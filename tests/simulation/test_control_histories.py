"""Seeded histories of a whole cluster under faults; the invariants are checked after every step.

A failure prints its seed and the last events; ``scripts/simulate --replay SEED`` and ``pytest -k 'seed_block3'`` bring it back.
"""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from tests.simulation.history import history
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.effects import Effect
from xinfer.control.events import Event
from xinfer.control.step import step
from xinfer.settings import Timings

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


def test_no_step_leaves_anything_to_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size what a cycle holds are tables of a thousand workers, and freeing them late costs some step its 5 ms."""
    left: Counter[str] = Counter()

    def watched(before: Snapshot, event: Event, now: float, timings: Timings) -> tuple[Snapshot, tuple[Effect, ...]]:
        gc.collect()
        result = step(before, event, now, timings)
        if gc.collect():
            left[type(event).__name__] += 1
        return result

    monkeypatch.setattr("tests.simulation.fake_cluster.step", watched)
    gc.disable()
    gc.freeze()
    try:
        for seed in range(3):
            history(seed)
    finally:
        gc.unfreeze()
        gc.enable()
    assert not left


def test_equal_seeds_give_equal_histories() -> None:
    one, other = history(11), history(11)
    assert one.steps == other.steps
    assert dict(one.snapshot.replicas) == dict(other.snapshot.replicas)
