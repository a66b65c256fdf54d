"""Token estimates start right for English and Chinese and follow the true counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.work import WorkItem
from xinfer.routing.tokens import Size, TokenEstimator, size


def prose(dice: random.Random) -> tuple[Size, int]:
    """Words of one token each, of very different lengths."""
    words = dice.randint(20, 200)
    return Size(sum(dice.choice((2, 3, 4, 5, 12)) + 1 for _ in range(words)), words - 1), words + 2


def test_first_guess_is_close_for_either_script() -> None:
    estimator = TokenEstimator(512)
    assert estimator.estimate(size(WorkItem("word " * 100))) == pytest.approx(120, rel=0.3)
    assert estimator.estimate(size(WorkItem("汉字" * 50))) == pytest.approx(85, rel=0.3)


def test_pairs_instructions_ids_and_lone_surrogates_count() -> None:
    assert size(WorkItem("a bc", pair="d e", instruction=" f")) == Size(9, 3)
    assert size(WorkItem(tuple(range(27)), pair="x y")) == Size(103, 1)
    assert size(WorkItem("\ud800")) == Size(3, 0)


def test_learns_a_line_from_true_counts() -> None:
    estimator = TokenEstimator(10_000)
    for n in range(200):
        estimator.observe([(Size(50 + n, 0), 20 + (50 + n) // 2), (Size(900 + n, 0), 20 + (900 + n) // 2)])
    assert estimator.estimate(Size(100, 0)) == pytest.approx(70, abs=3)
    assert estimator.estimate(Size(2000, 0)) == pytest.approx(1020, rel=0.02)


def test_where_words_are_tokens_spaces_tell_after_a_few_shards() -> None:
    dice = random.Random(4)
    estimator = TokenEstimator(10_000)
    for _ in range(60):
        estimator.observe(prose(dice) for _ in range(4))
    wrong = [abs(estimator.estimate(seen) - tokens) / tokens for seen, tokens in (prose(dice) for _ in range(200))]
    assert sum(wrong) / len(wrong) < 0.01


def test_where_bytes_are_tokens_spaces_do_not_mislead() -> None:
    dice = random.Random(4)
    estimator = TokenEstimator(10_000)
    for _ in range(60):
        estimator.observe([(Size(n, dice.randint(0, n // 3)), n // 4) for n in (dice.randint(40, 2000) for _ in range(4))])
    assert estimator.estimate(Size(1000, 10)) == pytest.approx(250, rel=0.05)
    assert estimator.estimate(Size(1000, 330)) == pytest.approx(250, rel=0.05)


def test_a_text_like_no_other_is_bounded_by_its_bytes() -> None:
    dice = random.Random(4)
    estimator = TokenEstimator(100_000)
    for _ in range(60):
        estimator.observe(prose(dice) for _ in range(4))
    by_bytes = 3000 / 6.2
    assert by_bytes / 2.3 < estimator.estimate(Size(3000, 0)) < by_bytes
    assert by_bytes < estimator.estimate(Size(3000, 3000)) < 2.3 * by_bytes


def test_equal_sizes_teach_a_ratio() -> None:
    estimator = TokenEstimator(10_000)
    for _ in range(300):
        estimator.observe([(Size(100, 20), 50)] * 5)
    assert estimator.estimate(Size(100, 20)) == pytest.approx(50, abs=2)


Sizes = st.builds(Size, st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.lists(st.lists(st.tuples(Sizes, st.integers(0, 8192)), max_size=5), max_size=20), Sizes)
def test_always_between_one_and_the_maximum(shards: list[list[tuple[Size, int]]], seen: Size) -> None:
    estimator = TokenEstimator(512)
    for shard in shards:
        estimator.observe(shard)
    assert 1 <= estimator.estimate(seen) <= 512
