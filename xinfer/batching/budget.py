"""The batch budget of one replica: it halves on OOM, grows back slowly, and is careful where it has failed before."""

from __future__ import annotations

from dataclasses import dataclass, replace

GROW_AFTER = 200
GROWTH = 1.1
MOST_PATIENCE = 6
"""Doublings of the wait at a wall; 12,800 clean batches at most between two looks over it."""


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Padded tokens a batch may hold; each event gives a new value.

    Attributes:
        tokens: the bound now.
        calibrated: the bound found at load; growth ends there.
        clean: batches since the last OOM or growth.
        splits: OOMs so far, for metrics.
        wall: padded tokens of the smallest batch known not to fit; 0 = none. Memory that others took may come back, so it
            is looked over from time to time, and forgotten when a batch above it went through.
        patience: how often growth has met this wall; each time doubles the wait for the next look.
    """

    tokens: int
    calibrated: int
    clean: int = 0
    splits: int = 0
    wall: int = 0
    patience: int = 0

    @classmethod
    def of(cls, calibrated: int) -> TokenBudget:
        """The budget right after calibration."""
        return cls(calibrated, calibrated)

    def after_oom(self, padded: int, longest: int) -> TokenBudget:
        """A batch of ``padded`` tokens whose longest item has ``longest`` did not fit.

        Halves what failed, which may be less than the bound; never below one item, which must still be tried alone.
        A batch over the bound (it had slack, or was formed before the bound fell) says nothing against the bound.
        """
        if padded > self.tokens:
            return replace(self, splits=self.splits + 1)
        halved = max(1, longest, min(self.tokens, padded) // 2)
        again = self.wall > 0 and padded * GROWTH >= self.wall
        return replace(
            self,
            tokens=min(self.tokens, halved),
            clean=0,
            splits=self.splits + 1,
            wall=min(self.wall, padded) if self.wall else padded,
            patience=min(MOST_PATIENCE, self.patience + 1) if again else 0,
        )

    def after_clean(self, padded: int | None = None) -> TokenBudget:
        """A batch of ``padded`` tokens (None = about the bound) went through; every 200th in a row raises the bound by a tenth.

        Right below the wall it takes 200 * 2**patience of them. A batch of less than half the bound proves nothing about it
        and is not counted.
        """
        size = self.tokens if padded is None else padded
        if 2 * size < self.tokens:
            return self
        known = replace(self, wall=0, patience=0) if 0 < self.wall <= size else self
        clean = known.clean + 1
        grown = min(known.calibrated, max(known.tokens + 1, int(known.tokens * GROWTH)))
        needed = GROW_AFTER << known.patience if 0 < known.wall <= grown else GROW_AFTER
        if clean < needed or known.tokens >= known.calibrated:
            return replace(known, clean=min(clean, needed))
        return replace(known, tokens=grown, clean=0)
