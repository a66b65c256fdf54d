"""Histograms: every observation is in one bucket, and what travels is what was counted."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.serving import histogram
from xinfer.serving.histogram import Distribution, Histogram

ALL = [histogram.SECONDS, histogram.TOKENS, histogram.ITEMS, histogram.RATIO]
VALUES = st.lists(st.floats(min_value=0, max_value=1e6))
BOUNDS = st.sampled_from([*ALL, (1.0,)])


def counted(bounds: tuple[float, ...], values: list[float]) -> Distribution:
    made = Histogram(bounds)
    for value in values:
        made.observe(value)
    return made.distribution()


@given(BOUNDS, VALUES)
def test_counts_are_observations_and_the_sum_is_theirs(bounds: tuple[float, ...], values: list[float]) -> None:
    found = counted(bounds, values)
    assert found.count == len(values)
    assert found.total == pytest.approx(sum(values))


@given(BOUNDS, VALUES)
def test_a_cumulative_bucket_has_what_is_not_above_its_bound(bounds: tuple[float, ...], values: list[float]) -> None:
    cumulative = counted(bounds, values).cumulative()
    assert [name for name, _ in cumulative[-1:]] == ["+Inf"]
    assert len(cumulative) == len(bounds) + 1
    assert [count for _, count in cumulative] == [sum(value <= float(name) for value in values) for name, _ in cumulative]


@given(BOUNDS, VALUES, VALUES)
def test_two_histograms_add_up_to_the_one_of_all_observations(bounds: tuple[float, ...], some: list[float], more: list[float]) -> None:
    a, b, both = counted(bounds, some), counted(bounds, more), counted(bounds, some + more)
    assert tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)) == both.counts
    assert a.total + b.total == pytest.approx(both.total)


@pytest.mark.parametrize("bounds", ALL)
def test_bounds_ascend_and_belong_to_their_bucket(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
    assert counted(bounds, list(bounds)).counts == (*[1] * len(bounds), 0)


def test_a_distribution_is_a_value_of_its_moment() -> None:
    made = Histogram((1.0, 2.0))
    made.observe(1.5)
    before = made.distribution()
    made.observe(9.0)
    assert before == Distribution((1.0, 2.0), (0, 1, 0), 1.5)
    assert pickle.loads(pickle.dumps(made.distribution())) == Distribution((1.0, 2.0), (0, 1, 1), 10.5)
