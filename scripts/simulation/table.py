"""The report on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scripts.simulation.figures import Figure


def show(console: Console, figures: Sequence[Figure], about: str) -> None:
    """One table; what misses its bound is red."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("part", "figure", "value", "unit", "wanted", "note"):
        table.add_column(name.upper(), justify="right" if name == "value" else "left", no_wrap=name in ("part", "value", "unit", "wanted"))
    part = ""
    for figure in figures:
        if part and figure.part != part:
            table.add_section()
        shown = "" if figure.part == part else figure.part
        part = figure.part
        table.add_row(
            shown, figure.name, f"{figure.value:.4g}", figure.unit, figure.wanted, figure.note, style="" if figure.held else "red"
        )
    console.print(about, highlight=False)
    console.print(table)


def as_json(figures: Sequence[Figure], about: str) -> dict[str, Any]:
    """For programs."""
    return {"about": about, "figures": [asdict(figure) | {"held": figure.held} for figure in figures]}
