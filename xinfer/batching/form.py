"""Which items share a forward pass: neighbours in length, bounded in padded tokens, cut where a further batch costs less than padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xinfer.batching.budget import TokenBudget
from xinfer.batching.timing import BatchTime

SLACK = 8
"""A batch may have one part in so many more than its shard was formed with: estimates of length are off by a few per cent,
and two batches where one would do cost more than one that takes a little longer (doc/adr/0010-router-limit.md)."""
FINEST = 32
"""A further batch is never taken for cheaper than one part in so many of the budget: the time model was fitted on full batches."""
FEW = 512
"""Items up to which the cheapest cuts are searched for; the search grows with the square."""


def batches(lengths: Sequence[int], budget: int, area: int | None = None, overhead: float | None = None) -> list[list[int]]:
    """Split items into padded batches, longest first.

    Sorting gives the speed, the bound the memory. Longest first, so that the largest allocation comes while memory
    is least fragmented, and every later batch fits into what that one left.

    Args:
        lengths: tokens of each item, any order.
        budget: padded tokens a batch may hold, ``B * Lmax <= budget``.
        area: without flash attention also ``B * Lmax**2 <= area``; None = unbounded.
        overhead: what a further batch costs, in tokens; cuts are where they make padded tokens and overheads together
            least. None = as few batches as can be, and of those cuts the ones with the least padding.

    Returns:
        Positions in ``lengths``, each exactly once. An item that is over a bound by itself is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    ordered = [max(1, lengths[position]) for position in order]
    ends = _greedy(ordered, budget, area)
    padding = ordered[0] * len(ordered) - sum(ordered) if ordered else 0
    each = float(budget) * max(1, len(ordered)) if overhead is None else overhead
    if 1 < len(ordered) <= FEW and (len(ends) > 1 or padding > each):
        ends = _cheapest(ordered, budget, area, each)
    return [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def bounds(budget: TokenBudget) -> tuple[int, int]:
    """Padded tokens to form shards with, by estimate, and the most that a batch may then really have.

    Until memory has run out the budget is what was found to be fast, and a little more does no harm; afterwards it is what fits.
    """
    if budget.splits:
        return max(1, budget.tokens * SLACK // (SLACK + 1)), budget.tokens
    return budget.tokens, budget.tokens + budget.tokens // SLACK


def overhead(timing: BatchTime, budget: int) -> float:
    """What a further batch costs, in padded tokens."""
    fixed = timing.base / timing.per_token if timing.per_token > 0 else float(budget)
    return max(fixed, budget / FINEST)


def _most(longest: int, budget: int, area: int | None) -> int:
    most = budget // longest
    return max(1, most if area is None else min(most, area // (longest * longest)))


def _greedy(ordered: Sequence[int], budget: int, area: int | None) -> list[int]:
    ends: list[int] = []
    start = 0
    while start < len(ordered):
        start = min(len(ordered), start + _most(ordered[start], budget, area))
        ends.append(start)
    return ends


def _cheapest(ordered: Sequence[int], budget: int, area: int | None, overhead: float) -> list[int]:
    """Where to cut so that the sum over batches of ``overhead + items * longest`` is least: dynamic programming over prefixes."""
    count = len(ordered)
    longest = np.array(ordered, dtype=np.float64)
    most = np.array([_most(each, budget, area) for each in ordered])
    start = np.arange(count)
    best = np.zeros(count + 1)
    last = np.zeros(count + 1, dtype=np.int64)
    first = 0
    for end in range(1, count + 1):
        while most[first] < end - first:  # too long a batch now, and for every later end
            first += 1
        costs = best[first:end] + longest[first:end] * (end - start[first:end])
        chosen = first + int(costs.argmin())
        best[end] = costs[chosen - first] + overhead
        last[end] = chosen
    ends = [count]
    while last[ends[-1]]:
        ends.append(int(last[ends[-1]]))
    return ends[::-1]
