"""Batches hold every item once and keep both bounds."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.budget import TokenBudget
from xinfer.batching.form import batches, bounds, overhead
from xinfer.batching.timing import BatchTime


@given(
    st.lists(st.integers(0, 1100), max_size=200),
    st.integers(1, 5000),
    st.none() | st.integers(1, 3_000_000),
    st.none() | st.floats(0, 10_000),
)
def test_every_item_once_and_within_both_bounds(lengths: list[int], budget: int, area: int | None, cost: float | None) -> None:
    formed = batches(lengths, budget, area, cost)
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


def padded(formed: list[list[int]], lengths: list[int]) -> int:
    return sum(len(batch) * max(lengths[place] for place in batch) for batch in formed)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(100, 2000), st.integers(0, 500))
def test_no_other_cuts_cost_less(lengths: list[int], budget: int, cost: int) -> None:
    order = sorted(lengths, reverse=True)
    formed = batches(order, budget, overhead=float(cost))
    least = None
    for cuts in range(1 << (len(order) - 1)):
        ends = [place + 1 for place in range(len(order) - 1) if cuts >> place & 1] + [len(order)]
        pieces = [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        if all(len(piece) == 1 or len(piece) * piece[0] <= budget for piece in pieces):
            total = sum(len(piece) * piece[0] for piece in pieces) + cost * len(pieces)
            least = total if least is None else min(least, total)
    assert padded(formed, order) + cost * len(formed) == least


@given(st.lists(st.integers(1, 300), min_size=1, max_size=100), st.integers(100, 2000))
def test_without_a_price_there_are_as_few_batches_as_there_can_be(lengths: list[int], budget: int) -> None:
    formed = batches(lengths, budget)
    order, most = sorted(lengths, reverse=True), 0
    while order:
        most += 1
        order = order[max(1, budget // order[0]) :]
    assert len(formed) == most


def test_what_is_too_much_for_one_batch_is_not_cut_into_a_full_and_a_tiny_one() -> None:
    lengths = [130, 128, 127, 126, 124, 122, 121, 90]
    formed = batches(lengths, 1000)
    assert [len(batch) for batch in formed] == [7, 1]
    assert [len(batch) for batch in batches([130, 128, 127, 126, 60, 60, 59, 58], 1000)] == [4, 4]


def test_many_items_are_cut_quickly_and_within_the_bound() -> None:
    lengths = [20 + n % 300 for n in range(5000)]
    formed = batches(lengths, 8192, overhead=100.0)
    assert sum(len(batch) for batch in formed) == 5000
    assert all(len(batch) * max(lengths[place] for place in batch) <= 8192 for batch in formed)


def test_a_batch_may_be_a_little_larger_than_planned_until_memory_has_run_out() -> None:
    fresh = TokenBudget.of(900)
    assert bounds(fresh) == (900, 1012)
    assert bounds(fresh.after_oom(900, 10)) == (400, 450)
    assert bounds(fresh.after_oom(1000, 10)) == (800, 900)  # only the slack is refuted


def test_a_batch_costs_what_it_takes_at_no_tokens() -> None:
    assert overhead(BatchTime(0.006, 1e-6), 8192) == 6000
    assert overhead(BatchTime(0.0, 1e-6), 8192) == 256
    assert overhead(BatchTime(0.1, 0.0), 512) == 512
