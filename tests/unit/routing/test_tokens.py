"""Token estimates start right for English and Chinese and follow the true counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.work import WorkItem
from xinfer.routing.tokens import TokenEstimator, size


def test_first_guess_is_close_for_either_script() -> None:
    estimator = TokenEstimator(512)
    assert estimator.estimate(size(WorkItem("word " * 100))) == pytest.approx(120, rel=0.3)
    assert estimator.estimate(size(WorkItem("汉字" * 50))) == pytest.approx(85, rel=0.3)


def test_pairs_instructions_ids_and_lone_surrogates_count() -> None:
    assert size(WorkItem("abc", pair="de", instruction="f")) == 6
    assert size(WorkItem(tuple(range(27)))) == 100
    assert size(WorkItem("\ud800")) == 3


def test_learns_a_line_from_true_counts() -> None:
    estimator = TokenEstimator(10_000)
    for n in range(200):
        estimator.observe([(50 + n, 20 + (50 + n) // 2), (900 + n, 20 + (900 + n) // 2)])
    assert estimator.estimate(100) == pytest.approx(70, abs=3)
    assert estimator.estimate(2000) == pytest.approx(1020, rel=0.02)


def test_equal_sizes_teach_a_ratio() -> None:
    estimator = TokenEstimator(10_000)
    for _ in range(300):
        estimator.observe([(100, 50)] * 5)
    assert estimator.estimate(100) == pytest.approx(50, abs=2)


@given(st.lists(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 8192)), max_size=5), max_size=20), st.integers(0, 10**7))
def test_always_between_one_and_the_maximum(shards: list[list[tuple[int, int]]], size_bytes: int) -> None:
    estimator = TokenEstimator(512)
    for shard in shards:
        estimator.observe(shard)
    assert 1 <= estimator.estimate(size_bytes) <= 512
