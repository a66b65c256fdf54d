"""What a batch takes of memory beside the weights, as a function of its shape; fitted on batches measured at load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MARGIN = 1.1
"""Allocators round up and break memory into pieces; by this factor predictions are above what was measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch: ``items`` items padded to ``longest`` tokens took ``size`` bytes at its peak."""

    items: int
    longest: int
    size: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """``bytes = items * (per_token * longest + per_area * longest ** 2)``.

    The square is attention without a flash kernel, which writes its scores down.
    """

    per_token: float
    per_area: float

    @classmethod
    def fit(cls, samples: Sequence[Sample]) -> Footprint:
        """The least function of this form that is above all samples by the margin, close to them otherwise.

        Of the samples' bytes per token, the shortest and the longest length give the slope; one length alone says that all
        grows with tokens.
        """
        rates = {s.longest: 0.0 for s in samples}
        for s in samples:
            rates[s.longest] = max(rates[s.longest], s.size / (s.items * s.longest))
        lengths = np.array(sorted(rates), dtype=np.float64)
        per_token = np.array([rates[int(length)] for length in lengths])
        slope = 0.0
        if len(lengths) > 1:
            slope = max(0.0, float((per_token[-1] - per_token[0]) / (lengths[-1] - lengths[0])))
        base = max(0.0, float(max(per_token - slope * lengths, default=0.0)))
        return cls(base * MARGIN, slope * MARGIN)

    def size(self, items: int, longest: int) -> int:
        """Bytes at the peak of such a batch."""
        return int(items * longest * (self.per_token + self.per_area * longest))

    def most(self, longest: int, room: int) -> int:
        """Items of ``longest`` tokens that fit into ``room`` bytes together; at least 1, which must be tried."""
        each = self.size(1, longest)
        return max(1, room // each) if each > 0 else 1 << 30

    def at_least(self, seen: Sample) -> Footprint:
        """Scaled up where a batch took more than predicted."""
        predicted = self.size(seen.items, seen.longest)
        if seen.size <= predicted:
            return self
        factor = seen.size / max(1, predicted)
        return Footprint(self.per_token * factor, self.per_area * factor)
