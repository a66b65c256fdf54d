"""Which items share a forward pass: sorted by length, bounded in padded tokens."""

from __future__ import annotations

from collections.abc import Sequence


def batches(lengths: Sequence[int], budget: int, area: int | None = None) -> list[list[int]]:
    """Split items into padded batches, longest first.

    Sorting gives the speed, the bound the memory. Longest first, so that the largest allocation comes while memory
    is least fragmented, and every later batch fits into what that one left.

    Args:
        lengths: tokens of each item, any order.
        budget: padded tokens a batch may hold, ``B * Lmax <= budget``.
        area: without flash attention also ``B * Lmax**2 <= area``; None = unbounded.

    Returns:
        Positions in ``lengths``, each exactly once. An item that is over a bound by itself is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    formed: list[list[int]] = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        most = budget // longest
        if area is not None:
            most = min(most, area // (longest * longest))
        end = start + max(1, most)
        formed.append(order[start:end])
        start = end
    return formed
