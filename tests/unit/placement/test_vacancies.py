"""What waits and fits already: places for it without a search for moves."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.nouns import GIB, deployment, replica, snapshot, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.replica import Phase
from xinfer.placement import rebalance
from xinfer.placement.rebalance import plan_rebalance


def test_thousands_that_fit_already_are_found_their_places_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is made between two steps of the supervisor: a search for moves for each of them would take minutes."""
    asked = Counter[str]()
    looks = rebalance._places_on
    monkeypatch.setattr(rebalance, "_places_on", lambda plan, one, *rest: asked.update([one.id]) or looks(plan, one, *rest))
    workers = [worker(f"{n:02d}", 8, address=f"10.0.0.{n}:1") for n in range(50)]
    waiting = [replica("m", n, size=0, phase=Phase.QUEUED, loaded=False, address=None) for n in range(801)]
    plan = plan_rebalance(snapshot(workers, waiting, [deployment("m", [Demand(11 * GIB)] * 801)]))
    assert len(plan.unmet) == 1
    assert plan.moves == ()
    assert max(asked.values()) <= 16 + 3
