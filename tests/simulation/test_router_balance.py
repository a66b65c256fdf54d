"""The router over simulated replicas: every slot busy, large requests spread, slow replicas given what they can do."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.simulation.router_sim import Simulation, correct, cpu, documents, founding, gpu
from tests.simulation.sim_replica import SimReplica
from xinfer.batching.form import batches


def ceiling(lengths: Sequence[int], replicas: Sequence[SimReplica]) -> float:
    """Seconds that all of it takes at least: sorted by length, full batches, dealt out to who is free."""
    like = replicas[0]
    free = [0.0] * len(replicas)
    for cut in batches(lengths, like.route.budget_tokens):
        free[free.index(min(free))] += like.base + like.per_token * len(cut) * max(lengths[place] for place in cut)
    return max(free)


def evenness(sim: Simulation) -> float:
    busy = sorted(replica.busy for replica in sim.replicas.values())
    return busy[0] / busy[-1]


@pytest.mark.parametrize("budget", [512, 2048])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_founding_load_keeps_every_replica_busy(budget: int, count: int) -> None:
    sim = Simulation([cpu(str(n), budget=budget) for n in range(count)])
    took = founding(sim, requests=200)
    assert all(replica.busy / took > 0.97 for replica in sim.replicas.values())


def test_two_replicas_are_twice_one() -> None:
    one, two = (founding(Simulation([cpu(str(n)) for n in range(count)]), requests=300) for count in (1, 2))
    assert one / two > 1.96


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("budget", [512, 2048])
@pytest.mark.parametrize("size", [600, 60, 20])
def test_one_request_spreads_over_two_idle_replicas(size: int, budget: int, known: bool) -> None:
    seconds = []
    for count in (1, 2):
        sim = Simulation([cpu(str(n), budget=budget, known=known) for n in range(count)])
        request = sim.submit(documents(random.Random(2), size))
        seconds.append(sim.run())
        assert correct(request, sim)
    assert seconds[0] / seconds[1] > {600: 1.95, 60: 1.85, 20: 1.6}[size]


def test_three_short_documents_are_not_divided() -> None:
    sim = Simulation([cpu("0"), cpu("1")])
    request = sim.submit([30, 50, 60])
    sim.run()
    assert len(request.shards) == 1


@pytest.mark.parametrize("budget", [512, 2048])
def test_what_fits_one_batch_of_the_only_replica_goes_in_one(budget: int) -> None:
    sim = Simulation([cpu("0", budget=budget)], noise=0.0)
    request = sim.submit([90, 91, 92, 103])
    sim.run()
    assert len(request.shards) == 1


@pytest.mark.parametrize("budget", [512, 2048])
def test_uneven_requests_keep_both_replicas_equally_busy(budget: int) -> None:
    sim = Simulation([cpu("0", budget=budget), cpu("1", budget=budget)])
    dice = random.Random(5)
    load = [documents(dice, 60 if turn % 2 else 1) for turn in range(40)]
    for lengths in load:
        sim.submit(lengths)
    took = sim.run()
    assert evenness(sim) > 0.98
    assert ceiling([length for lengths in load for length in lengths], list(sim.replicas.values())) / took > 0.94


@pytest.mark.parametrize("budget", [512, 2048])
def test_600_requests_of_one_document_at_once(budget: int) -> None:
    sim = Simulation([cpu("0", budget=budget), cpu("1", budget=budget)])
    load = documents(random.Random(6), 600)
    for length in load:
        sim.submit([length])
    assert ceiling(load, list(sim.replicas.values())) / sim.run() > 0.95


@pytest.mark.parametrize("requests", [40, 200])
@pytest.mark.parametrize("budget", [512, 2048])
def test_a_replica_four_times_slower_takes_its_share_and_no_more(budget: int, requests: int) -> None:
    """Its calibration does not know: the slowdown is learnt from measured ÷ predicted times."""
    alone = [founding(Simulation([cpu("0", slow=slow, budget=budget)]), requests=requests) for slow in (1.0, 4.0)]
    pair = founding(Simulation([cpu("0", budget=budget), cpu("1", slow=4.0, budget=budget)]), requests=requests)
    assert (1 / pair) / (1 / alone[0] + 1 / alone[1]) > 0.97


@pytest.mark.parametrize("budget", [512, 2048])
def test_a_slow_replica_does_not_hold_the_end_of_one_large_request(budget: int) -> None:
    def took(*slows: float) -> float:
        sim = Simulation([cpu(str(n), slow=slow, budget=budget) for n, slow in enumerate(slows)])
        for seed in range(3):
            sim.submit(documents(random.Random(seed), 40))
            sim.run()
        begun = sim.now
        sim.submit(documents(random.Random(3), 600))
        return sim.run() - begun

    assert (1 / took(1.0, 4.0)) / (1 / took(1.0) + 1 / took(4.0)) > 0.95


def test_speed_is_not_a_picture_of_the_last_traffic() -> None:
    """Two equal GPUs, one last served bulk and the other single documents; then one large request."""

    def large(names: str) -> float:
        sim = Simulation([gpu(name) for name in names])
        for _ in range(30):
            sim.submit([200] * 400, lane="bulk")
            sim.run()
            sim.submit([30])
            sim.run()
        begun = sim.now
        sim.submit(documents(random.Random(4), 4000))
        return sim.run() - begun

    assert large("a") / large("ab") > 1.9


@pytest.mark.parametrize("budget", [512, 2048])
@pytest.mark.parametrize("processes", [2, 3, 8])
def test_several_api_processes_keep_the_replicas_busy_with_shared_windows(processes: int, budget: int) -> None:
    def took(count: int) -> float:
        sim = Simulation([cpu("0", budget=budget), cpu("1", budget=budget)], api_processes=count)
        return founding(sim, requests=150)

    assert took(1) / took(processes) > 0.96


def test_a_process_alone_with_work_uses_what_its_siblings_leave() -> None:
    def took(count: int) -> tuple[float, float]:
        sim = Simulation([cpu("0"), cpu("1")], api_processes=count)
        sim.submit(documents(random.Random(8), 600))
        return sim.run(), sum(each.shards for each in sim.replicas.values())

    (alone, few), (shared, many) = took(1), took(4)
    assert alone / shared > 0.95
    assert many < 1.5 * few
