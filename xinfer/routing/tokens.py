"""Tokens of a text before anyone has tokenised it: from its size, corrected by the true counts that replies carry."""

from __future__ import annotations

from collections.abc import Iterable

from xinfer.batching.work import WorkItem

FIRST_RATIO = 0.27
"""Tokens per UTF-8 byte: about right for English (0.2 to 0.25) and Chinese (0.3) alike, where characters differ fourfold."""
FIRST_EXTRA = 3.0
DECAY = 0.97


def size(item: WorkItem) -> int:
    """UTF-8 bytes of all that is tokenised; token ids count as what they are worth at the first ratio."""
    total = round(len(item.text) / FIRST_RATIO) if isinstance(item.text, tuple) else _bytes(item.text)
    if item.pair is not None:
        total += _bytes(item.pair)
    if item.instruction is not None:
        total += _bytes(item.instruction)
    return total


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class TokenEstimator:
    """``tokens = extra + ratio * bytes`` for one model: a least-squares line over the recent true counts.

    Args:
        max_tokens: inputs are truncated to this, so no estimate is above it.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max(1, max_tokens)
        self._ratio = FIRST_RATIO
        self._extra = FIRST_EXTRA
        # Decayed sums n, x, y, xx, xy; two invented points on the first line keep it until there is evidence.
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._add([(200, round(FIRST_EXTRA + FIRST_RATIO * 200)), (800, round(FIRST_EXTRA + FIRST_RATIO * 800))])

    def estimate(self, size_bytes: int) -> int:
        """Tokens, 1..max_tokens."""
        return max(1, min(self.max_tokens, round(self._extra + self._ratio * size_bytes)))

    def observe(self, pairs: Iterable[tuple[int, int]]) -> None:
        """True counts of one shard as (bytes, tokens). Leave truncated items out: their counts say nothing."""
        n, x, y, xx, xy = self._sums
        self._sums = (n * DECAY, x * DECAY, y * DECAY, xx * DECAY, xy * DECAY)
        self._add(pairs)
        n, x, y, xx, xy = self._sums
        if n <= 0 or x <= 0:
            return
        spread = xx - x * x / n
        slope = (xy - x * y / n) / spread if spread > 1e-6 * xx else 0.0
        extra = (y - slope * x) / n
        if slope <= 0 or extra < 0:  # the best line through the origin
            slope, extra = xy / xx, 0.0
        self._ratio, self._extra = slope, extra

    def _add(self, pairs: Iterable[tuple[int, int]]) -> None:
        n, x, y, xx, xy = self._sums
        for size_bytes, tokens in pairs:
            n += 1.0
            x += size_bytes
            y += tokens
            xx += size_bytes * size_bytes
            xy += size_bytes * tokens
        self._sums = (n, x, y, xx, xy)
