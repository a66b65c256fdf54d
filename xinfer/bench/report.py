"""A run as people read it, and as programs do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xinfer.bench.figures import ReplicaShare, Summary
from xinfer.bench.plan import BULK_SIZE, Plan, Run

NONE = "–"
LATENCY = ("mean", "p50", "p90", "p95", "p99", "max")


def as_json(plan: Plan, run: Run) -> dict[str, Any]:
    """Plain values."""
    asked = asdict(plan) | {"load": asdict(plan.load) | {"kind": plan.load.kind.value}}
    del asked["api_key"], asked["ca_file"]
    return {"plan": asked, "failed": run.failed, **asdict(run)}


def show(console: Console, plan: Plan, run: Run) -> None:
    """Tables on a console."""
    if run.interrupted:
        console.print("[yellow]Interrupted; these are the figures until then.[/]")
    console.print(Text(_title(plan), style="bold"))
    console.print(_streams(plan, run))
    console.print()
    if run.bulk is not None:
        kept = f" ({run.bulk.beside / run.bulk.alone:.0%})" if run.bulk.alone else ""
        console.print(
            f"Bulk, {plan.background} requests of {BULK_SIZE} documents in flight: "
            f"{run.bulk.alone:.1f} docs/s alone, {run.bulk.beside:.1f} beside the measured requests{kept}.\n"
        )
    if run.replicas:
        console.print(_replicas(run.replicas))
        console.print("[dim]MS and TOKENS are of a batch, in the mean; SPLITS happen when memory runs out.[/]")
    failures = [f for part in (run.summary, run.alone, run.bulk and run.bulk.summary) if part for f in part.failures]
    for kind, count, sentence in failures:
        console.print(Text.assemble((f"{count} × {kind}: ", "bold red"), sentence))


def _streams(plan: Plan, run: Run) -> Table:
    beside = f"beside {plan.background} bulk" if run.alone is not None else _loop(plan)
    columns = [("alone", run.alone)] if run.alone is not None else []
    columns.append((beside, run.summary))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("MEASURE")
    for name, _ in columns:
        table.add_column(name.upper(), justify="right")
    rows = [_stream(summary) for _, summary in columns]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    return table


def _title(plan: Plan) -> str:
    load = plan.load
    sizes = ", ".join(map(str, load.sizes))
    return f"{load.kind.value}, {load.model}: {sizes} documents a request, {load.words[0]}–{load.words[1]} words, seed {load.seed}"


def _loop(plan: Plan) -> str:
    return f"{plan.rate:g} a second" if plan.rate is not None else f"{plan.concurrency} clients"


def _stream(summary: Summary) -> dict[str, str]:
    tokens = summary.tokens_per_second
    rows = {
        "requests": f"{summary.ok} of {summary.requests} ok",
        "seconds": f"{summary.seconds:.2f}",
        "documents/s": f"{summary.documents_per_second:.1f}",
        "requests/s": f"{summary.requests_per_second:.2f}",
        "tokens/s": NONE if tokens is None else f"{tokens:.0f}",
    }
    return rows | {f"latency {name}, ms": _milliseconds(summary.latency, name) for name in LATENCY}


def _milliseconds(latency: Mapping[str, float], name: str) -> str:
    return f"{latency[name]:.1f}" if name in latency else NONE


def _replicas(replicas: Sequence[ReplicaShare]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("REPLICA")
    for name in ("DOCS", "SHARE", "BUSY", "BATCHES", "MS", "TOKENS", "PADDING", "SPLITS"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in replicas:
        table.add_row(
            each.name,
            f"{each.documents:.0f}",
            f"{each.share:.1%}",
            _or_none(each.busy_share, "{:.0%}"),
            _or_none(each.batches, "{:.0f}"),
            _or_none(each.batch_seconds and each.batch_seconds * 1000, "{:.1f}"),
            _or_none(each.batch_tokens, "{:.0f}"),
            _or_none(each.padding, "{:.3f}"),
            _or_none(each.oom_splits, "{:.0f}"),
        )
    return table


def _or_none(value: float | None, form: str) -> str:
    return NONE if value is None else form.format(value)
