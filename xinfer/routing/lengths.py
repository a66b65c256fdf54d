"""Waiting items by length: finds those nearest to a length among tens of thousands."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable

from xinfer.routing.pending import PendingItem


class LengthIndex:
    """Items in buckets of equal length, the lengths sorted.

    Adding and removing cost O(log d) and a short memory move for d different lengths (at most the model's maximum);
    within a length the order is that of arrival, kept apart per API key so that a key whose turn it is not is skipped whole.
    """

    def __init__(self) -> None:
        self._lengths: list[int] = []
        self._buckets: dict[int, dict[str, dict[PendingItem, None]]] = {}

    def add(self, item: PendingItem) -> None:
        """Put one item in."""
        bucket = self._buckets.get(item.tokens)
        if bucket is None:
            bucket = self._buckets[item.tokens] = {}
            insort(self._lengths, item.tokens)
        bucket.setdefault(item.request.key, {})[item] = None

    def remove(self, item: PendingItem) -> None:
        """Take one item out; it must be in."""
        bucket = self._buckets[item.tokens]
        waiting = bucket[item.request.key]
        del waiting[item]
        if waiting:
            return
        del bucket[item.request.key]
        if not bucket:
            del self._buckets[item.tokens]
            del self._lengths[bisect_left(self._lengths, item.tokens)]

    def near(
        self,
        lead: PendingItem,
        cap: int,
        padding: int,
        allowance: Callable[[str], float],
    ) -> list[PendingItem]:
        """``lead`` and the items nearest to it in length that can share a batch with it. Takes nothing out.

        Args:
            cap: padded tokens that all together may have.
            padding: of these, tokens that may be padding. Beyond it a batch of its own is cheaper for what is left.
            allowance: tokens that this API key may still put into this shard.
        """
        taken, longest, wasted = [lead], lead.tokens, 0
        spent: dict[str, float] = {lead.request.key: float(lead.tokens)}
        low = bisect_right(self._lengths, lead.tokens) - 1
        high = low + 1
        while low >= 0 or high < len(self._lengths):
            take_low = low >= 0 and (high >= len(self._lengths) or lead.tokens - self._lengths[low] <= self._lengths[high] - lead.tokens)
            length = self._lengths[low] if take_low else self._lengths[high]
            stretched = max(longest, length)
            stretch = (stretched - longest) * len(taken)
            room = cap // max(1, stretched) - len(taken)
            if stretched > length:
                room = min(room, (padding - wasted) // (stretched - length))
            elif wasted + stretch > padding:
                room = 0
            if room <= 0:  # whatever lies further out on this side fits even less
                low, high = (-1, high) if take_low else (low, len(self._lengths))
                continue
            found = self._eligible(self._buckets[length], lead, room, spent, allowance)
            if found:
                wasted += stretch + len(found) * (stretched - length)
                longest = stretched
                taken += found
            low, high = (low - 1, high) if take_low else (low, high + 1)
        return taken

    def _eligible(
        self,
        bucket: dict[str, dict[PendingItem, None]],
        lead: PendingItem,
        room: int,
        spent: dict[str, float],
        allowance: Callable[[str], float],
    ) -> list[PendingItem]:
        found: list[PendingItem] = []
        for key, waiting in bucket.items():
            most = allowance(key)
            for item in _but(lead, waiting):
                if len(found) >= room:
                    return found
                used = spent.get(key, 0.0)
                if used >= most:
                    break
                spent[key] = used + item.tokens
                found.append(item)
        return found


def _but(lead: PendingItem, waiting: Iterable[PendingItem]) -> Iterable[PendingItem]:
    return (item for item in waiting if item is not lead)
