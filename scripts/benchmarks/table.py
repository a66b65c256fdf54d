"""The table of ratios: on the terminal, as JSON, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

NONE = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure.

    Attributes:
        ours, reference: medians, in ``unit``.
        ratio: what ``wanted`` is about; a difference where the unit says so.
        least, most: bounds of the ratio; None where there is none.
        runs: every single figure behind the medians.
        peers: other servers' figures under the same load.
        pressure: share of the time that something waited for a CPU in the 10 s before the row, in percent; None if unknown.
        failed: requests that failed in it.
    """

    measure: str
    ours: float
    reference: float
    unit: str
    ratio: float
    least: float | None = None
    most: float | None = None
    note: str = ""
    runs: Mapping[str, Sequence[float]] = field(default_factory=dict)
    peers: Mapping[str, float] = field(default_factory=dict)
    pressure: float | None = None
    failed: int = 0

    @property
    def wanted(self) -> str:
        """As the table says it."""
        if self.least is not None:
            return f"≥ {self.least:g}"
        return NONE if self.most is None else f"≤ {self.most:.3g}"

    @property
    def held(self) -> bool:
        """Whether the ratio is within its bounds."""
        return (self.least is None or self.ratio >= self.least) and (self.most is None or self.ratio <= self.most)


HEADERS = ("measure", "ours", "reference", "unit", "ratio", "wanted", "cpu wait %", "note")


def cells(row: Row, peers: Sequence[str]) -> list[str]:
    """One line of the table."""
    failed = f"{row.failed} FAILED " if row.failed else ""
    pressure = NONE if row.pressure is None else f"{row.pressure:.0f}"
    shown = [row.measure, _number(row.ours), _number(row.reference), row.unit, f"{row.ratio:.3g}", row.wanted, pressure, failed + row.note]
    return shown[:3] + [_number(row.peers.get(name)) for name in peers] + shown[3:]


def headers(peers: Sequence[str]) -> list[str]:
    """With a column for each peer."""
    return [*HEADERS[:3], *peers, *HEADERS[3:]]


def show(console: Console, rows: Sequence[Row], peers: Sequence[str], about: str) -> None:
    """On the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown = headers(peers)[:-1]  # the notes are in the files
    for name in shown:
        table.add_column(name.upper(), justify="left" if name in ("measure", "unit", "wanted") else "right", no_wrap=name != "measure")
    for row in rows:
        table.add_row(*cells(row, peers)[: len(shown)], style="" if row.held and not row.failed else "yellow")
    console.print(about)
    console.print(table)
    for row in rows:
        if row.failed:
            console.print(f"[red]{row.failed} requests failed[/] in: {row.measure}", highlight=False)


def markdown(rows: Sequence[Row], peers: Sequence[str], about: str) -> str:
    """For a page."""
    lines = [about, "", _line(headers(peers)), _line(["---"] * len(headers(peers)))]
    return "\n".join([*lines, *(_line(cells(row, peers)) for row in rows), ""])


def as_json(rows: Sequence[Row], about: str) -> dict[str, Any]:
    """For programs."""
    return {"about": about, "rows": [asdict(row) | {"held": row.held} for row in rows]}


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
