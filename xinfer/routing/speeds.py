"""How fast replicas are beside each other, where not all are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Rated(Protocol):
    """Something with tokens/s; 0 = unknown."""

    @property
    def speed(self) -> float: ...


def speeds(loads: Sequence[Rated]) -> list[float]:
    """Tokens/s of each; an unknown one is taken for the median of the known, and all alike while none is known."""
    each = [load.speed for load in loads]
    if all(each):
        return each
    known = sorted(speed for speed in each if speed > 0)
    middle = known[len(known) // 2] if known else 1.0
    return [speed or middle for speed in each]
