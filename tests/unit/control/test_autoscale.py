"""The rule that turns load into a replica count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.cluster.deployment import Scaling
from xinfer.control.autoscale import TARGET, Sample, Standing, Verdict, decide
from xinfer.settings import ScaleTimings

TIMINGS = ScaleTimings()
NOW = 10_000.0
BOUNDS = Scaling(1, 8)


def steady(load: float, seconds: float, queue: int = 0) -> list[Sample]:
    """A sample every two seconds until now."""
    return [Sample(NOW - 2.0 * n, load, queue) for n in range(int(seconds / 2), -1, -1)]


def ask(samples: list[Sample], have: int, scaling: Scaling = BOUNDS, **standing: object) -> Verdict:
    return decide(samples, scaling, Standing(have, **{"ready": have, **standing}), NOW, TIMINGS)  # type: ignore[arg-type]


def test_growth_needs_ten_seconds_of_it_and_says_what_waits() -> None:
    assert ask(steady(2.5, 8), 1).wanted == 1
    grown = ask(steady(2.5, 12, queue=120), 1)
    assert (grown.wanted, grown.why) == (2, "1 → 2: queue 120 documents for 12 s, 2.5 windows of work, 1.5 a replica")


def test_a_surge_is_answered_after_six_seconds() -> None:
    assert ask(steady(4.5, 4), 1).wanted == 1
    assert ask(steady(4.5, 6), 1) == Verdict(3, 4.5, "1 → 3: 4.5 windows of work, 1.5 a replica, at once")
    assert ask(steady(2.9, 6), 1).wanted == 1, "less than twice the target is no surge"


def test_one_peak_changes_nothing() -> None:
    samples = steady(1.0, 300)
    samples[-1] = Sample(NOW, 12.0)
    assert ask(samples, 1).wanted == 1, "one report"
    samples[-2] = Sample(samples[-2].at, 12.0)
    assert ask(samples, 1).wanted == 1, "two"


def test_fewer_only_after_five_minutes_without_a_need() -> None:
    assert ask(steady(0.0, 298), 3).wanted == 3
    assert ask(steady(0.0, 330), 3) == Verdict(1, 0.0, "3 → 1: work for no more than 1 for 300 s")
    samples = steady(0.0, 330)
    samples[20:40] = [Sample(each.at, 4.5) for each in samples[20:40]]
    assert ask(samples, 3).wanted == 3, "it was needed within the five minutes"


@pytest.mark.parametrize("load", [3 * TARGET * 0.91, 3 * TARGET, 3 * TARGET * 1.09])
def test_about_the_target_nothing_changes(load: float) -> None:
    assert ask(steady(load, 400), 3).wanted == 3


def test_no_growth_while_one_is_on_its_way() -> None:
    assert ask(steady(9.0, 60), 2, coming=True).wanted == 2
    assert ask(steady(9.0, 60), 2).wanted == 6


def test_an_idle_model_sleeps_only_if_it_may() -> None:
    bounds = Scaling(0, 4, 60.0)
    assert ask(steady(0.0, 60), 1, bounds, idle=60.0) == Verdict(0, 0.0, "1 → 0: no request for 60 s")
    assert ask(steady(0.0, 60), 1, bounds, idle=59.0).wanted == 1
    assert ask(steady(0.1, 60), 1, bounds, idle=60.0).wanted == 1, "a request is running"
    assert ask(steady(0.0, 60), 1, bounds, idle=60.0, pinned=1).wanted == 1
    assert ask(steady(0.0, 60), 1, bounds, idle=60.0, coming=True).wanted == 1
    assert ask(steady(0.0, 60), 1, Scaling(1, 4, 60.0), idle=60.0).wanted == 1
    assert ask(steady(9.0, 60), 0, bounds, ready=0).wanted == 0, "a request wakes it, not the rule"


def test_without_news_nothing_changes_but_for_the_bounds() -> None:
    assert ask([], 3).wanted == 3
    assert ask([], 1, Scaling(2, 4)).wanted == 2
    assert ask([], 6, Scaling(2, 4)).wanted == 4
    assert ask([], 6, Scaling(2, 4), pinned=5).wanted == 5


loads = st.lists(st.tuples(st.floats(0.5, 5), st.floats(0, 40)), max_size=80)


@given(loads, st.integers(0, 8), st.integers(0, 3), st.integers(0, 8), st.booleans(), st.floats(0, 2_000))
def test_every_verdict_is_within_the_bounds(
    steps: list[tuple[float, float]], have: int, least: int, more: int, coming: bool, idle: float
) -> None:
    scaling = Scaling(least, max(1, least + more), 600.0)
    at, samples = NOW, []
    for gap, load in steps:
        samples.insert(0, Sample(at, load))
        at -= gap
    verdict = ask(samples, have, scaling, coming=coming, idle=idle)
    if have:
        assert least <= verdict.wanted <= scaling.max_replica
    else:
        assert verdict.wanted == 0
    assert bool(verdict.why) == (verdict.wanted != have)
    if verdict.wanted == 0 and have:
        assert not least
        assert idle >= scaling.idle_seconds


@given(st.floats(0, 30), st.integers(1, 8))
def test_a_steady_load_settles_after_one_change(load: float, have: int) -> None:
    """No flapping: at the count that the rule asks for, the same load asks for no other."""
    settled = ask(steady(load, 400), have).wanted
    assert ask(steady(load, 400), settled).wanted == settled
