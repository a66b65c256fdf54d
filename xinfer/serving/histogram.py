"""Histograms with fixed bounds: plain integers, cheap enough for every batch and every request."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

SECONDS = (0.00025, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
TOKENS = tuple(float(1 << power) for power in range(6, 17))
ITEMS = tuple(float(1 << power) for power in range(11))
RATIO = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0, 5.0)
"""Padded over real tokens: 1.0 is no padding at all."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram held at one moment; a value that travels.

    Attributes:
        bounds: upper bounds, each included, ascending.
        counts: observations up to each bound and above the one before; one more at the end for those above all.
        total: sum of the observations.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """Observations."""
        return sum(self.counts)

    def since(self, before: Distribution | None) -> Distribution:
        """What has come since ``before``, an earlier state of the same histogram; all of it where there is none."""
        if before is None or before.bounds != self.bounds:
            return self
        counts = tuple(max(0, now - then) for now, then in zip(self.counts, before.counts, strict=True))
        return Distribution(self.bounds, counts, max(0.0, self.total - before.total))

    def quantile(self, share: float) -> float | None:
        """The value below which ``share`` (0..1) of the observations lie, taken as even within a bound; None without any.

        What lies above the last bound counts as that bound.
        """
        left = share * self.count
        if not self.count:
            return None
        lower = 0.0
        for upper, here in zip(self.bounds, self.counts, strict=False):
            if here and left <= here:
                return lower + (upper - lower) * left / here
            left -= here
            lower = upper
        return self.bounds[-1]

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), the last one "+Inf", as Prometheus wants them."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class Histogram:
    """Counts observations. One thread observes, any thread may look: it may see a sum that is one observation behind."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def distribution(self) -> Distribution:
        """The figures of this moment."""
        return Distribution(self.bounds, tuple(self.counts), self.total)
