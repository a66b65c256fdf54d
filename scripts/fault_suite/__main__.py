"""scripts/faults: makes the faults that are asked for, one after another, and prints what came of each."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from scripts.fault_suite import changes, hosts, launches, network, processes, state, strangers, table
from scripts.fault_suite.ground import FULL, Pace
from scripts.fault_suite.grounds import GROUNDS, disk_why_not
from scripts.fault_suite.row import BREAKS, Finding, Row, run
from scripts.fault_suite.soak import Times, keep_logs, soak
from tests.support.models import model

LEAST = 7.0
"""Seconds; half of what it takes at least until a worker is given up and its replicas are started elsewhere."""
ROWS: dict[str, Row] = {
    row.name: row for family in (processes.ROWS, changes.ROWS, state.ROWS, launches.ROWS, hosts.ROWS, strangers.ROWS) for row in family
}


def read_rows(text: str) -> list[str]:
    """``replica-killed,link-cut``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"there is no row {', '.join(unknown) or text!r}; rows are {', '.join(ROWS)}")
    return names


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Faults on real processes under 32 concurrent rerank requests.")
    parser.add_argument("--rows", type=read_rows, default=list(ROWS), metavar="ROW,ROW", help="some of --list; default: all")
    parser.add_argument("--list", action="store_true", help="what rows there are")
    parser.add_argument("--seconds", type=read_seconds, metavar="S", help="the control process is away for S, a link for 2 S; default 30")
    parser.add_argument(
        "--soak",
        type=read_soak,
        metavar="Q,F[,P]",
        help="no rows: a mixed load, Q minutes without faults, then F with one a minute; its clients pause P seconds between requests",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--out", type=Path, default=Path("build/faults"), metavar="DIR", help="logs of rows that do not hold")
    return parser.parse_args(given)


def read_seconds(text: str) -> Pace:
    """At least 7: a link has to be cut for longer than it takes to give its worker up."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST <= seconds < 3600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds of at least {LEAST:g}, not {text!r}")
    return Pace(away=seconds, cut=2 * seconds)


def read_soak(text: str) -> Times:
    """``30,30`` or ``30,30,0.5``."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(0 <= number < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(
            f"must be minutes without and with faults, and maybe seconds of pause, such as 30,30, not {text!r}"
        )
    return Times(*numbers)


def place(row: Row) -> tuple[str, str]:
    """The ground on which a row is run here, or "" and why there is none."""
    why = {"hosts": network.why_not, "small disk": disk_why_not}
    reason = ""
    for ground in filter(None, (row.ground, row.elsewhere)):
        here = why[ground]() if ground in why else ""
        if not here:
            return ground, ""
        reason = reason or here
    return "", reason


def made(ground: str, rows: Sequence[Row], pace: Pace, out: Path) -> Iterator[Finding]:
    """All rows of one ground; a row that breaks is followed by a new ground."""
    left = list(rows)
    while left:
        folder = Path(tempfile.mkdtemp(prefix="xinfer-faults-"))
        broken: Finding | None = None
        try:
            with GROUNDS[ground](folder, model("reranker-onnx"), pace) as cluster:
                while left and broken is None:
                    finding = run(left.pop(0), cluster)
                    broken = None if finding.held else finding
                    yield finding
        except BREAKS as error:
            if left and broken is None:
                row = left.pop(0)
                broken = Finding(row.name, row.fault, broken=f"its cluster: {type(error).__name__}: {error}")
                yield broken
        finally:
            if broken is not None:
                keep_logs(folder, out / broken.name)
            shutil.rmtree(folder, ignore_errors=True)


def all_made(rows: Sequence[Row], pace: Pace, out: Path) -> Iterator[Finding]:
    """Every row; those of one ground after another, so that it is started once."""
    places = {row.name: place(row) for row in rows}
    for row in rows:
        if not places[row.name][0]:
            yield Finding(row.name, row.fault, skipped=places[row.name][1])
    for ground in dict.fromkeys(ground for ground, _ in places.values() if ground):
        yield from made(ground, [row for row in rows if places[row.name][0] == ground], pace, out)


def main() -> int:
    """0 if every row that was run holds."""
    asked = arguments()
    console = Console()
    if asked.list:
        for row in ROWS.values():
            console.print(f"{row.name:<20} {row.fault}", highlight=False)
        return 0
    # SIGTERM ends as Ctrl-C does, so that everything is taken down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if asked.soak is not None:
        return 0 if soak(asked.soak, console, asked.out) else 1
    findings: dict[str, Finding] = {}
    try:
        for finding in all_made([ROWS[name] for name in asked.rows], asked.seconds or FULL, asked.out):
            findings[finding.name] = finding
            console.print(f"{finding.name}: {table.said(finding)} ({finding.seconds:.1f} s)", highlight=False, markup=False)
    finally:
        shown = [findings[name] for name in asked.rows if name in findings]
        table.show(console, shown)
        if asked.json is not None:
            asked.json.parent.mkdir(parents=True, exist_ok=True)
            asked.json.write_text(json.dumps(table.as_json(shown), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(each.held or each.skipped for each in findings.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
