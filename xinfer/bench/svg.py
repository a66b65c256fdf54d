"""A picture of how busy each slot was over time: one lane per replica, an area chart, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from xinfer.bench.readings import Lane

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 56, 24, 64, 56
LANE, GAP = 96, 34
COLOURS = ("#2f6fb2", "#c96a1b", "#3a8f57", "#8a5aa8", "#b23a48", "#4d8f94", "#8c7a2b", "#5b5b8f")
INK, FAINT, PAPER = "#222222", "#d8d8d8", "#ffffff"


def picture(title: str, lanes: Sequence[Lane], seconds: float) -> str:
    """The whole file; lanes without points are drawn empty.

    Args:
        seconds: what the time axis shows.
    """
    span = max(seconds, 1e-9)
    height = TOP + max(1, len(lanes)) * (LANE + GAP) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        _text(LEFT, 26, title, size=16, weight="bold"),
        _text(LEFT, 46, "Filled: share of the time inside the model. Dashed: mean of the run."),
    ]
    for index, lane in enumerate(lanes):
        parts += _lane(lane, TOP + index * (LANE + GAP) + GAP - 8, COLOURS[index % len(COLOURS)], span)
    if not lanes:
        parts.append(_text(LEFT, TOP + 40, "No replica reported how busy it was."))
    parts += _time_axis(height - BOTTOM + 6, span)
    return "\n".join([*parts, "</svg>", ""])


def _lane(lane: Lane, top: float, colour: str, span: float) -> list[str]:
    base = top + LANE
    mean = mean_of(lane)
    parts = [
        f'<rect x="{LEFT}" y="{top - 15}" width="11" height="11" fill="{colour}"/>',
        _text(LEFT + 17, top - 5, f"{lane.name}: {mean:.0%} busy" if lane.points else f"{lane.name}: no figures"),
    ]
    for share in (0.0, 0.5, 1.0):
        y = base - share * LANE
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{FAINT}"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{share:.0%}", anchor="end", size=11))
    if lane.points:
        parts.append(f'<path d="{_area(lane, base, span)}" fill="{colour}" fill-opacity="0.55" stroke="{colour}"/>')
        y = base - mean * LANE
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{INK}" stroke-dasharray="5 4"/>')
    return parts


def mean_of(lane: Lane) -> float:
    """Mean share over the lane's time, 0 without points."""
    total = before = 0.0
    for at, share in lane.points:
        total += share * (at - before)
        before = at
    return total / before if before > 0 else 0.0


def _area(lane: Lane, base: float, span: float) -> str:
    # Steps, not slopes: a figure holds for the whole interval that it was measured over.
    steps = [f"M{_x(0, span):.1f},{base:.1f}"]
    before = 0.0
    for at, share in lane.points:
        y = base - share * LANE
        steps.append(f"L{_x(before, span):.1f},{y:.1f} L{_x(at, span):.1f},{y:.1f}")
        before = at
    return " ".join([*steps, f"L{_x(before, span):.1f},{base:.1f} Z"])


def _x(at: float, span: float) -> float:
    return LEFT + min(1.0, at / span) * (WIDTH - LEFT - RIGHT)


def _time_axis(y: float, span: float) -> list[str]:
    step = tick(span)
    parts = [f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="{INK}"/>']
    for number in range(int(span / step + 1e-9) + 1):
        x = _x(number * step, span)
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + 5}" stroke="{INK}"/>')
        parts.append(_text(x, y + 19, f"{number * step:g}", anchor="middle", size=11))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, y + 37, "seconds since the start", anchor="middle"))
    return parts


def tick(span: float, most: int = 10) -> float:
    """A round step (1, 2 or 5 times a power of ten) that divides ``span`` into at most ``most``."""
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(float(f"{factor * power:.6g}") for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    font = f'font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}" {font}>{escape(words)}</text>'
