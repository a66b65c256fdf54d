"""The batch budget of one replica: it halves on OOM and grows back slowly."""

from __future__ import annotations

from dataclasses import dataclass, replace

GROW_AFTER = 200
GROWTH = 1.1


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Padded tokens a batch may hold; each event gives a new value.

    Attributes:
        tokens: the bound now.
        calibrated: the bound found at load; growth ends there.
        clean: batches since the last OOM or growth.
        splits: OOMs so far, for metrics.
    """

    tokens: int
    calibrated: int
    clean: int = 0
    splits: int = 0

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
            return replace(self, clean=0, splits=self.splits + 1)
        halved = max(1, longest, min(self.tokens, padded) // 2)
        return replace(self, tokens=min(self.tokens, halved), clean=0, splits=self.splits + 1)

    def after_clean(self) -> TokenBudget:
        """A batch went through; every 200th in a row raises the bound by a tenth."""
        clean = self.clean + 1
        if clean < GROW_AFTER or self.tokens >= self.calibrated:
            return replace(self, clean=min(clean, GROW_AFTER))
        grown = max(self.tokens + 1, int(self.tokens * GROWTH))
        return replace(self, tokens=min(self.calibrated, grown), clean=0)
