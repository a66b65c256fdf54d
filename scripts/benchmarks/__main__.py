"""scripts/bench: runs the rows that are asked for, writes bench.json, bench.md and bench.svg, and prints the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
from rich.console import Console

from scripts.benchmarks import table
from scripts.benchmarks.rows import ROWS
from scripts.benchmarks.run import FULL, Bench, Peer, pressure
from scripts.benchmarks.server import Model, serving
from scripts.benchmarks.table import Row
from xinfer.bench import svg
from xinfer.devices.cores import read_topology, split, usable_cores
from xinfer.errors import XinferError

SLOTS = 2


def read_rows(text: str) -> list[str]:
    """``throughput,scaling``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"there is no row {', '.join(unknown) or text!r}; rows are {', '.join(ROWS)}")
    return names


def read_peer(text: str) -> Peer:
    """``NAME=URL,MODEL[,EMBEDDING MODEL]``."""
    name, _, rest = text.partition("=")
    parts = rest.split(",")
    if not name or len(parts) not in (2, 3) or not all(parts):
        raise argparse.ArgumentTypeError(f"must be NAME=URL,MODEL or NAME=URL,MODEL,EMBEDDING_MODEL, not {text!r}")
    return Peer(name, *parts)


def read_count(text: str) -> int:
    """At least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Ratios of our speed to the bare model's, in one run.")
    parser.add_argument("--rows", type=read_rows, default=list(ROWS), metavar="ROW,ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--requests", type=read_count, default=FULL, metavar="N", help=f"default {FULL}; all counts scale with it")
    parser.add_argument("--repeats", type=read_count, default=3, metavar="N", help="medians of so many; default 3")
    parser.add_argument("--tokens", type=read_count, default=0, metavar="N", help="of the bare model's batches; default: the best of a few")
    parser.add_argument("--model-path", type=Path, metavar="DIR", help="a float32 torch reranker; default: the tests' one")
    parser.add_argument("--embedding-path", type=Path, metavar="DIR", help="a torch embedding model; default: the tests' one")
    parser.add_argument("--onnx-path", type=Path, metavar="DIR", help="an int8 ONNX reranker; default: the tests' one")
    parser.add_argument("--peer", type=read_peer, action="append", default=[], metavar="NAME=URL,MODEL", help="a server that runs already")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR", help="default: build/bench")
    found = parser.parse_args()
    for flag in ("model_path", "embedding_path", "onnx_path"):
        given = getattr(found, flag)
        if given is not None and not given.is_dir():
            parser.error(f"--{flag.replace('_', '-')}: there is no folder {given}")
    return found


def models(asked: argparse.Namespace) -> dict[str, Model]:
    """The folders named, and the tests' models for those that are not."""
    folder = Path()
    if None in (asked.model_path, asked.embedding_path, asked.onnx_path):
        done = subprocess.run([sys.executable, "-m", "tests.support.models"], stdout=subprocess.PIPE, text=True, check=True)
        folder = Path(done.stdout.strip().splitlines()[-1])
    torch = (asked.model_path or folder / "reranker-torch").absolute()
    fp32 = Model("fp32", "rerank", torch)
    return {
        "fp32": fp32,
        "bf16": replace(fp32, name="bf16", dtype="bfloat16"),
        "int8": Model("int8", "rerank", (asked.onnx_path or folder / "reranker-onnx").absolute(), "onnxruntime", bare="onnx"),
        "embeddings": Model("emb", "embedding", (asked.embedding_path or folder / "minilm-embedding").absolute()),
    }


def bind() -> None:
    """Leave this process and its children one core per slot, so that a slot and a process of the bare model are the same."""
    usable = usable_cores()
    if len(usable) > SLOTS:
        os.sched_setaffinity(0, {group[0] for group in split(read_topology(usable), SLOTS)})


def measured(bench: Bench, chosen: list[str], keep: Callable[[list[Row]], None]) -> bool:
    """Every row, each with the pressure before it and its failures; all rows so far are kept after each.

    A row that breaks is said, and the others go on. False if one did.
    """
    rows: list[Row] = []
    whole = True
    for run in dict.fromkeys(ROWS[name] for name in chosen):
        name = next(name for name in chosen if ROWS[name] is run)
        waited, failed = pressure(), bench.failed
        bench.console.print(f"[dim]{name} … (CPU pressure {'unknown' if waited is None else f'{waited:.0f} %'})[/]", highlight=False)
        try:
            found = run(bench, chosen)
        except (XinferError, httpx.HTTPError, RuntimeError, OSError, LookupError) as error:
            bench.console.print(f"[red]{name} broke[/]: {type(error).__name__}: {error}", highlight=False)
            whole = False
            continue
        rows += [replace(row, pressure=waited, failed=bench.failed - failed) for row in found]
        for row in rows[-len(found) :]:
            bench.console.print(f"  {row.measure}: {row.ratio:.3g} (wanted {row.wanted})", highlight=False)
        keep(rows)
    return whole


def write(out: Path, rows: list[Row], bench: Bench, about: str) -> None:
    """The three files."""
    out.mkdir(parents=True, exist_ok=True)
    peers = [peer.name for peer in bench.peers]
    (out / "bench.json").write_text(json.dumps(table.as_json(rows, about), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "bench.md").write_text(table.markdown(rows, peers, about), encoding="utf-8")
    if bench.picture is not None:
        plan, run = bench.picture
        title = f"{plan.load.model}, 2 replicas: {run.summary.documents_per_second:.1f} documents/s"
        (out / "bench.svg").write_text(svg.picture(title, run.lanes, run.summary.seconds), encoding="utf-8")


def main() -> int:
    """0 if every row ran and no request failed; ratios are for people to judge."""
    asked = arguments()
    # SIGTERM ends as Ctrl-C does, so that the server is ended and nothing stays stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    found = models(asked)
    bind()
    about = (
        f"{asked.requests} requests where the whole measure has {FULL}, medians of {asked.repeats}, "
        f"{SLOTS} slots of one core, {platform.processor() or platform.machine()}, Python {platform.python_version()}."
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="xinfer-bench-") as home, serving(Path(home)) as server:
        bench = Bench(server, console, found, asked.requests, asked.repeats, asked.tokens, asked.peer)

        def keep(found: list[Row]) -> None:
            rows[:] = found
            write(asked.out, found, bench, about)

        whole = measured(bench, asked.rows, keep)
    table.show(console, rows, [peer.name for peer in asked.peer], about)
    console.print(f"Written to {asked.out}: bench.json, bench.md" + (", bench.svg." if bench.picture else "."), highlight=False)
    return 1 if bench.failed or not whole else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
