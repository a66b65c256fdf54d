"""Batches hold every item once and keep both bounds."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.form import batches


@given(
    st.lists(st.integers(0, 1100), max_size=200),
    st.integers(1, 5000),
    st.none() | st.integers(1, 3_000_000),
)
def test_every_item_once_and_within_both_bounds(lengths: list[int], budget: int, area: int | None) -> None:
    formed = batches(lengths, budget, area)
    assert sorted(position for batch in formed for position in batch) == list(range(len(lengths)))
    for batch in formed:
        longest = max(lengths[position] for position in batch)
        if len(batch) > 1:
            assert len(batch) * longest <= budget
            assert area is None or len(batch) * longest**2 <= area


def test_longest_first_and_neighbours_in_length_together() -> None:
    assert batches([10, 500, 12, 480], 1000) == [[1, 3], [2, 0]]


def test_padding_of_a_mixed_load_stays_small() -> None:
    dice = random.Random(3)
    lengths = [min(1024, int(dice.lognormvariate(4.8, 0.8))) for _ in range(600)]
    padded = sum(len(batch) * max(lengths[p] for p in batch) for batch in batches(lengths, 2048))
    assert padded / sum(lengths) < 1.06
