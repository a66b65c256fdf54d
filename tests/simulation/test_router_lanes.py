"""Interactive and bulk work side by side, and API keys side by side."""

from __future__ import annotations

import random

import pytest

from tests.simulation.router_sim import Simulation, correct, cpu, documents
from xinfer.routing.pending import PendingRequest

GAP = 0.25


def mixed(budget: int, processes: int, *, small: int = 200, bulk: bool = True) -> tuple[list[float], float]:
    """A bulk client with 8 requests of 600 documents in flight and small requests of 1 to 3 documents, four a second.

    Returns:
        Seconds that each small request took, sorted; tokens/s of everything.
    """
    sim = Simulation([cpu("0", budget=budget), cpu("1", budget=budget)], api_processes=processes)
    dice = random.Random(9)
    waits: list[float] = []
    end = 1 + 200 * GAP

    def again(request: PendingRequest) -> None:
        if len(request.items) <= 3:
            waits.append(sim.now - request.arrived)
        elif sim.now < end:
            sim.submit(documents(dice, 600), process=dice.randrange(processes))

    sim.on_done = again
    for _ in range(8 if bulk else 0):
        sim.submit(documents(dice, 600), process=dice.randrange(processes))
    for turn in range(small):
        sim.at(
            1 + turn * GAP + dice.random() * 0.1,
            lambda: sim.submit(documents(dice, dice.randint(1, 3)), process=dice.randrange(processes)),
        )
    took = sim.run(until=end + 3)
    return sorted(waits), sum(each.real for each in sim.replicas.values()) / took


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("budget", [512, 2048])
def test_small_interactive_requests_wait_for_two_batches_at_most_behind_bulk(budget: int, processes: int) -> None:
    batch = 0.002 + budget / 5000
    alone, _ = mixed(budget, processes, bulk=False)
    waits, rate = mixed(budget, processes)
    _, undisturbed = mixed(budget, processes, small=0)
    assert len(alone) == len(waits) == 200
    assert waits[197] <= alone[197] + 2 * batch
    assert rate / undisturbed > 0.95  # bulk loses what the small ones themselves need, and little more


def test_bulk_goes_on_under_interactive_load_beyond_capacity() -> None:
    sim = Simulation([cpu("0", budget=512), cpu("1", budget=512)])
    dice = random.Random(3)
    bulk = sim.submit(documents(dice, 100))

    def again(request: PendingRequest) -> None:
        if request is not bulk and sim.now < 100:
            sim.submit(documents(dice, 3), lane="interactive")

    sim.on_done = again
    for _ in range(64):
        sim.submit(documents(dice, 3), lane="interactive")
    sim.run()
    assert bulk.lane == "bulk"
    alone = sum(item.tokens for item in bulk.items) / 10_000
    assert sim.finished[bulk] < 15 * alone


def test_keys_share_evenly_while_both_wait() -> None:
    sim = Simulation([cpu("0")])
    dice = random.Random(11)
    heavy = [sim.submit(documents(dice, 500), key="heavy") for _ in range(8)]
    sim.run(until=1.0)
    light = sim.submit(documents(dice, 100), key="light", lane="bulk")
    begun, tokens = sim.now, sum(item.tokens for item in light.items)
    sim.run()
    assert sim.finished[light] - begun < 3 * tokens / 5000 + 4 * 0.42  # its own work twice over, and what was in flight
    assert all(correct(request, sim) for request in [*heavy, light])
