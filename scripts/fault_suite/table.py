"""The table of faults: on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scripts.fault_suite.row import Finding

NONE = "–"


def show(console: Console, findings: Sequence[Finding]) -> None:
    """One line per row, and how many held."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("FAULT", ratio=3)
    table.add_column("FAILED", justify="right", no_wrap=True)
    table.add_column("WHAT HAPPENED", ratio=5)
    table.add_column("SECONDS", justify="right", no_wrap=True)
    for each in findings:
        style = "" if each.held else "yellow" if each.skipped else "red"
        table.add_row(each.fault, requests(each), said(each), f"{each.seconds:.1f}", style=style)
    console.print(table)
    console.print(summary(findings), highlight=False)


def requests(finding: Finding) -> str:
    """Failed requests of all."""
    return NONE if finding.failed is None else f"{finding.failed} of {finding.failed + (finding.answered or 0)}"


def said(finding: Finding) -> str:
    """What happened, or why it does not hold."""
    if finding.skipped:
        return f"not possible here: {finding.skipped}"
    if finding.broken:
        return f"DOES NOT HOLD: {finding.broken}"
    slow = f"; slowest request {finding.longest:.1f} s" if finding.answered is not None else ""
    return finding.happened + slow


def summary(findings: Sequence[Finding]) -> str:
    """``17 rows: 14 hold, 1 does not, 2 not possible here``."""
    skipped = sum(bool(each.skipped) for each in findings)
    held = sum(each.held for each in findings)
    return f"{len(findings)} rows: {held} hold, {len(findings) - held - skipped} do not, {skipped} not possible here."


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs."""
    return {"rows": [asdict(each) | {"held": each.held} for each in findings]}
