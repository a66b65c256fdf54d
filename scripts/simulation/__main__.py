"""scripts/simulate: runs the parts that are asked for, prints the table, and ends with 1 if something broke or missed its bound."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from scripts.simulation import core, histories, routers, sockets, table
from scripts.simulation.figures import Figure
from scripts.simulation.histories import Outcome, Task, full_shape

PARTS = ("histories", "core", "router")


def read_count(text: str) -> int:
    """0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def read_parts(text: str) -> list[str]:
    """``histories,router``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    return names


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Seeded histories of large clusters, and what they cost.",
        epilog="The whole measure: scripts/simulate --histories 500 --full-histories 3 --tries 200 --requests 200 --sockets",
    )
    parser.add_argument("--workers", type=read_count, default=1_000, metavar="N", help="at full size; default 1000")
    parser.add_argument("--devices", type=read_count, default=8, metavar="N", help="of each of those workers; default 8")
    parser.add_argument("--replicas", type=read_count, default=10_000, metavar="N", help="that run there at first; default 10000")
    parser.add_argument("--histories", type=read_count, default=60, metavar="N", help="on clusters of 2 to 30 workers; default 60")
    parser.add_argument("--steps", type=read_count, default=2_000, metavar="N", help="of each at least, under faults; default 2000")
    parser.add_argument("--full-histories", type=read_count, default=1, metavar="N", help="at full size; default 1")
    parser.add_argument("--full-steps", type=read_count, default=3_000, metavar="N", help="of each of those; default 3000")
    parser.add_argument("--seed", type=read_count, default=0, metavar="S", help="of the first history; the others count on from it")
    parser.add_argument("--jobs", type=read_count, default=2, metavar="N", help="processes; default 2")
    parser.add_argument("--tries", type=read_count, default=50, metavar="N", help="of each figure of the core; default 50")
    parser.add_argument("--requests", type=read_count, default=50, metavar="N", help="of the router's loads; default 50")
    parser.add_argument("--parts", type=read_parts, default=list(PARTS), metavar="P,P", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--sockets", action="store_true", help="also a real supervisor with --workers simulated workers")
    parser.add_argument("--socket-seconds", type=read_count, default=20, metavar="N", help="of heartbeats alone; default 20")
    parser.add_argument("--replay", type=read_count, metavar="S", help="run this history alone and print where it breaks")
    parser.add_argument("--full", action="store_true", help="with --replay: a history at full size")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    found = parser.parse_args(argv)
    if found.jobs < 1 or found.workers < 1 or found.devices < 1:
        parser.error("--jobs, --workers and --devices must be at least 1")
    return found


def tasks(asked: argparse.Namespace) -> list[Task]:
    """Those at full size first, as they take longest."""
    shape = full_shape(asked.workers, asked.devices, asked.replicas)
    full = [Task(asked.seed + n, asked.full_steps, shape) for n in range(asked.full_histories)]
    return full + [Task(asked.seed + n, asked.steps) for n in range(asked.histories)]


def replay(asked: argparse.Namespace, console: Console) -> int:
    """One history."""
    shape = full_shape(asked.workers, asked.devices, asked.replicas) if asked.full else None
    outcome = histories.run(Task(asked.replay, asked.full_steps if asked.full else asked.steps, shape))
    console.print(outcome.broken or f"seed {asked.replay}: {outcome.steps:,} steps, nothing broken", highlight=False, markup=False)
    return 1 if outcome.broken else 0


def run_histories(asked: argparse.Namespace, console: Console) -> list[Figure]:
    """All of them, with a word now and then."""
    began, ended = time.monotonic(), 0
    todo = tasks(asked)

    def done(outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        if outcome.broken:
            console.print(f"[red]broken[/]: {outcome.task.replay}", highlight=False)
            console.print(outcome.broken[:2000], highlight=False, markup=False)
        elif ended % max(1, len(todo) // 10) == 0:
            console.print(f"[dim]{ended} of {len(todo)} histories, {time.monotonic() - began:.0f} s[/]", highlight=False)

    outcomes = histories.run_all(todo, asked.jobs, done)
    return histories.figures(outcomes, time.monotonic() - began)


def figures(asked: argparse.Namespace, console: Console) -> Iterator[Figure]:
    """Part by part."""
    shape = full_shape(asked.workers, asked.devices, asked.replicas)
    if "histories" in asked.parts:
        yield from run_histories(asked, console)
    if "core" in asked.parts:
        yield from core.measure(shape, asked.seed, asked.tries)
    if "router" in asked.parts:
        yield from routers.measure(asked.seed + 1, asked.requests)
    if asked.sockets:
        with tempfile.TemporaryDirectory(prefix="xinfer-simulate-") as folder:
            home = Path(folder)
            make = "import sys, pathlib; from tests.support.checkpoints import tiny_xlm_roberta_reranker as m; m(pathlib.Path(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", make, str(home / "model")], check=True)
            yield from sockets.measure(home, asked.workers, asked.devices, asked.socket_seconds, home / "model")


def main(argv: list[str] | None = None) -> int:
    """0 if no invariant broke and every figure is within its bound."""
    asked, console = arguments(argv), Console()
    if asked.replay is not None:
        return replay(asked, console)
    found: list[Figure] = []
    whole = True
    try:
        for figure in figures(asked, console):
            found.append(figure)
    except (RuntimeError, OSError) as error:
        console.print(f"[red]broke[/]: {error}", highlight=False)
        whole = False
    about = f"Python {platform.python_version()}, {platform.processor() or platform.machine()}, seed {asked.seed}, {asked.jobs} jobs."
    table.show(console, found, about)
    if asked.json is not None:
        asked.json.write_text(json.dumps(table.as_json(found, about), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if whole and all(figure.held for figure in found) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
