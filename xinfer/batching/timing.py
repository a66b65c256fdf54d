"""The time model of a batch, ``a + b * padded_tokens``, and how far reality has drifted from it.

A plain average of tokens/s measures the traffic, not the replica: one that was last sent single documents looks slow.
Measured over predicted does not depend on the batch's size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Seconds of a batch: ``base + per_token * padded_tokens``."""

    base: float
    per_token: float

    @classmethod
    def fit(cls, samples: Iterable[tuple[int, float]]) -> BatchTime:
        """Least squares over (padded tokens, seconds), both coefficients kept at zero or above.

        With one distinct size the whole time is put on the tokens.

        Raises:
            ValueError: no sample.
        """
        points = [(float(tokens), seconds) for tokens, seconds in samples]
        if not points:
            raise ValueError("samples must hold at least one (padded_tokens, seconds)")
        n = len(points)
        mean_x = sum(x for x, _ in points) / n
        mean_y = sum(y for _, y in points) / n
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
        if slope < 0:
            return cls(max(0.0, mean_y), 0.0)
        base = mean_y - slope * mean_x
        if not spread or base < 0:  # the best line through the origin
            squares = sum(x * x for x, _ in points)
            return cls(0.0, max(0.0, sum(x * y for x, y in points) / squares) if squares else 0.0)
        return cls(base, slope)

    def predict(self, padded_tokens: int) -> float:
        """Seconds of a batch of that many padded tokens."""
        return self.base + self.per_token * padded_tokens

    def speed(self, budget: int) -> float:
        """Tokens/s with full batches; 0 while nothing was measured."""
        seconds = self.predict(budget)
        return budget / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Measured ÷ predicted batch time, exponentially smoothed; 1.0 = as calibrated, 4.0 = four times slower."""

    value: float = 1.0
    weight: float = 0.2

    def after(self, measured: float, predicted: float) -> Slowdown:
        """One more batch; a batch without a prediction changes nothing. One stall counts 20-fold at most."""
        if predicted <= 0 or measured <= 0:
            return self
        ratio = min(20.0, max(0.05, measured / predicted))
        return replace(self, value=self.value + self.weight * (ratio - self.value))
