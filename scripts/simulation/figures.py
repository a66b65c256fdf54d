"""Figures with their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        part: of the report: histories, core, router, sockets.
        most, least: bounds of ``value``, None where there is none.
    """

    part: str
    name: str
    value: float
    unit: str = ""
    note: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def held(self) -> bool:
        """Within its bounds."""
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def wanted(self) -> str:
        """As the table says it."""
        if self.most is not None:
            return f"≤ {self.most:g}"
        return "–" if self.least is None else f"≥ {self.least:g}"


def quantile(values: Sequence[float], part: float) -> float:
    """The nearest-rank quantile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))] if ordered else 0.0


def times(part: str, name: str, seconds: Sequence[float], unit: str = "ms", most: float | None = None) -> Figure:
    """p99 of these times with the rest in the note; ``most`` bounds the p99."""
    scale = {"ms": 1e3, "µs": 1e6}[unit]
    p50, p99, worst = (scale * quantile(seconds, q) for q in (0.5, 0.99, 1.0))
    return Figure(part, name, p99, unit, f"p50 {p50:.3g}, max {worst:.3g}, n {len(seconds)}", most)
