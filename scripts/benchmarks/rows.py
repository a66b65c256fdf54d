"""The measures, each a function that returns its rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from scripts.benchmarks.run import Bench, Figures
from scripts.benchmarks.server import Deployed, Model
from scripts.benchmarks.table import Row
from scripts.benchmarks.throttle import slowed
from xinfer.bench.plan import Run

DOCS = 20
BIG = 600
SLOW = 0.25
MEMORY_TEST = Path("tests/e2e/test_memory.py")
PER_SECOND, SECONDS, MILLISECONDS = "docs/s", "s", "ms"


def rate(bench: Bench, model: Model, label: str, *, ceiling: bool, scaling: bool, least: float = 0.95) -> list[Row]:
    """Documents a second on two replicas, beside the bare model in two processes, and beside one replica."""
    two, one = Deployed(model, (0, 1)), Deployed(model, (0,))
    bench.server.want(two, *([one] if scaling else []))
    plan, figures = bench.plan(two, bench.requests, sizes=(DOCS,)), Figures()
    for _ in range(bench.repeats):
        if ceiling:
            figures.add("bare", bench.bare(model, plan.load, bench.requests).documents_per_second)
        found = bench.ours(plan)
        bench.picture = (plan, found)
        figures.add("two", found.summary.documents_per_second)
        if scaling:
            alone = bench.ours(bench.plan(one, bench.requests, sizes=(DOCS,)))
            figures.add("one", alone.summary.documents_per_second)
        if ceiling and scaling:
            figures.add("bare one", bench.bare(model, plan.load, max(1, bench.requests // 2), processes=1).documents_per_second)
        for name, peer in bench.ask_peers(plan).items():
            figures.add(f"peer {name}", peer.summary.documents_per_second)
    note = f"{bench.requests} × {DOCS} documents, {plan.concurrency} clients"
    note += f"; bare model in batches of {bench.budget(model)} tokens" if ceiling else ""
    rows = []
    if ceiling:
        rows.append(against(f"{label}: 2 replicas ÷ bare model", figures, "two", "bare", least, note))
    if scaling:
        rows.append(against(f"{label}: 2 replicas ÷ 1", figures, "two", "one", 1.9, note))
    if ceiling and scaling:  # how far two cores of this machine are from twice one
        rows.append(against(f"{label}: bare model in 2 processes ÷ in 1", figures, "bare", "bare one", None, note))
    return rows


def against(measure: str, figures: Figures, ours: str, reference: str, least: float | None, note: str, unit: str = PER_SECOND) -> Row:
    """Ratio of two medians that are the better the higher."""
    own, other = figures.median(ours), figures.median(reference)
    return Row(measure, own, other, unit, own / other if other else 0.0, least=least, note=note, runs=figures.runs, peers=figures.peers())


def single_large(bench: Bench, model: Model, label: str = "one large request") -> list[Row]:
    """One request with many documents, on one replica and on two."""
    two, one = Deployed(model, (0, 1)), Deployed(model, (0,))
    bench.server.want(two, one)
    size, figures = bench.count(BIG, 20), Figures()
    for _ in range(bench.repeats):
        for name, deployed in (("one", one), ("two", two)):
            plan = replace(bench.plan(deployed, 1, sizes=(size,)), concurrency=1)
            figures.add(name, bench.ours(plan).summary.seconds)
        for name, peer in bench.ask_peers(plan).items():
            figures.add(f"peer {name}", peer.summary.seconds)
    own, other = figures.median("two"), figures.median("one")
    note = f"{size} documents; seconds with 2 replicas, and with 1"
    measure = f"{label}: time with 1 replica ÷ with 2"
    return [Row(measure, own, other, SECONDS, other / own, least=1.9, note=note, runs=figures.runs, peers=figures.peers())]


def burst(bench: Bench, label: str, requests: int, sizes: tuple[int, ...]) -> tuple[Figures, list[Run]]:
    """All requests at once on two replicas, beside the bare model."""
    model = bench.models["fp32"]
    two = Deployed(model, (0, 1))
    bench.server.want(two)
    plan, figures, runs = replace(bench.plan(two, requests, sizes=sizes), concurrency=requests), Figures(), []
    for _ in range(bench.repeats):
        figures.add("bare", bench.bare(model, plan.load, requests).documents_per_second)
        runs.append(bench.ours(plan))
        figures.add("two", runs[-1].summary.documents_per_second)
        for name, peer in bench.ask_peers(plan).items():
            figures.add(f"peer {name}", peer.summary.documents_per_second)
    return figures, runs


def single_docs(bench: Bench) -> list[Row]:
    """Requests of one document, all at once."""
    figures, _ = burst(bench, "single", bench.requests, (1,))
    note = f"{bench.requests} requests of 1 document at once"
    return [against("single documents: 2 replicas ÷ bare model", figures, "two", "bare", 0.9, note)]


def uneven(bench: Bench) -> list[Row]:
    """Large and small requests in turn: blind round robin sends all the large ones to one replica."""
    count = bench.count(40, 4)
    figures, runs = burst(bench, "uneven", count, (60, 1))
    note = f"{count} requests of 60 and 1 documents in turn, at once"
    for run in runs:
        busy = sorted(each.busy or 0.0 for each in run.replicas)
        figures.add("less busy", busy[0] if busy else 0.0)
        figures.add("busier", busy[-1] if busy else 0.0)
    return [
        against("uneven load: 2 replicas ÷ bare model", figures, "two", "bare", 0.9, note),
        replace(against("uneven load: less busy ÷ busier replica", figures, "less busy", "busier", 0.95, note, SECONDS), peers={}),
    ]


def latency(bench: Bench) -> list[Row]:
    """What HTTP, router and actor add to one short document."""
    model = bench.models["fp32"]
    one = Deployed(model, (0,))
    bench.server.want(one)
    count, figures = bench.count(200, 30), Figures()
    plan = replace(bench.plan(one, count, sizes=(1,), words=(20, 20)), concurrency=1)
    for _ in range(bench.repeats):
        figures.add("bare", bench.bare(model, plan.load, count, processes=1, single=True).latency["p50"])
        figures.add("one", bench.ours(plan).summary.latency.get("p50", 0.0))
        for name, peer in bench.ask_peers(plan).items():
            figures.add(f"peer {name}", peer.summary.latency.get("p50", 0.0))
    own, other = figures.median("one"), figures.median("bare")
    note = f"p50 of {count} requests, 1 client; the ratio is the difference in ms"
    measure = "added to one document: p50 − bare model's"
    return [Row(measure, own, other, MILLISECONDS, own - other, most=2.5, note=note, runs=figures.runs, peers=figures.peers())]


def interactive(bench: Bench) -> list[Row]:
    """Small requests beside bulk: what each does to the other."""
    two = Deployed(bench.models["fp32"], (0, 1))
    bench.server.want(two)
    count = bench.count(300, 10)
    plan = replace(bench.plan(two, count, sizes=(1, 2, 3), words=(20, 60)), rate=2.0, background=8)
    found = bench.ours(plan)
    if found.alone is None or found.bulk is None:
        raise RuntimeError("The run beside bulk has no figures.")
    alone, beside = found.alone.latency.get("p99", 0.0), found.summary.latency.get("p99", 0.0)
    batch = max((each.batch_seconds or 0.0 for each in found.replicas), default=0.0) * 1000
    small = f"{count} requests of 1–3 documents, 2 a second; 8 × 600 documents in flight"
    kept = found.bulk.beside / found.bulk.alone if found.bulk.alone else 0.0
    return [
        Row(
            "interactive beside bulk: p99 − p99 alone", beside, alone, MILLISECONDS, beside - alone, most=2 * batch,
            note=f"{small}; wanted: 2 batches of {batch:.0f} ms; the ratio is the difference in ms",
        ),
        Row("bulk beside interactive ÷ alone", found.bulk.beside, found.bulk.alone, PER_SECOND, kept, least=0.9, note=small),
    ]  # fmt: skip


def throttled(bench: Bench) -> list[Row]:
    """Two replicas, one of them four times slower."""
    model = bench.models["fp32"]
    fast, slow, pair = Deployed(model, (0,)), Deployed(model, (1,)), Deployed(model, (0, 1))
    bench.server.want(fast, slow, pair)
    count, figures = bench.count(200, 6), Figures()
    for _ in range(bench.repeats):
        for name, deployed, pid in (
            ("fast", fast, None),
            ("slow", slow, bench.server.pid(slow.uid)),
            ("pair", pair, bench.server.pid(pair.uid, 1)),
        ):
            requests = max(1, count // 4) if name == "slow" else count
            with slowed(pid, SLOW) if pid is not None else nullcontext():
                found = bench.ours(bench.plan(deployed, requests, sizes=(DOCS,)))
            figures.add(name, found.summary.documents_per_second)
        figures.add("sum", figures.runs["fast"][-1] + figures.runs["slow"][-1])
    note = f"{count} × {DOCS} documents; one replica runs {SLOW:.0%} of the time"
    return [against("one replica 4 × slower: both ÷ the sum alone", figures, "pair", "sum", 0.9, note)]


def memory(bench: Bench) -> list[Row]:
    """The bounds of memory are a test, not a speed: run it and say how it ended."""
    if not MEMORY_TEST.exists():
        return [Row("memory under its bound", 0.0, 1.0, "test", 0.0, least=1.0, note=f"{MEMORY_TEST} is not there")]
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", str(MEMORY_TEST)], capture_output=True, text=True, check=False)
    passed = float(done.returncode == 0)
    note = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return [Row("memory under its bound", passed, 1.0, "test", passed, least=1.0, note=note)]


def throughput(bench: Bench, chosen: Sequence[str]) -> list[Row]:
    """`throughput` and `scaling` share their runs."""
    return rate(bench, bench.models["fp32"], "float32", ceiling="throughput" in chosen, scaling="scaling" in chosen)


def embeddings(bench: Bench) -> list[Row]:
    """The first three rows with an embedding model."""
    model = bench.models["embeddings"]
    return [*rate(bench, model, "embeddings", ceiling=True, scaling=True), *single_large(bench, model, "one large request of embeddings")]


ROWS: dict[str, Callable[[Bench, Sequence[str]], list[Row]]] = {
    "throughput": throughput,
    "scaling": throughput,
    "single-large": lambda bench, _: single_large(bench, bench.models["fp32"]),
    "single-docs": lambda bench, _: single_docs(bench),
    "uneven": lambda bench, _: uneven(bench),
    "bf16": lambda bench, _: rate(bench, bench.models["bf16"], "bfloat16", ceiling=True, scaling=False),
    "int8": lambda bench, _: rate(bench, bench.models["int8"], "int8 onnxruntime", ceiling=True, scaling=False),
    "latency": lambda bench, _: latency(bench),
    "interactive": lambda bench, _: interactive(bench),
    "throttled": lambda bench, _: throttled(bench),
    "embeddings": lambda bench, _: embeddings(bench),
    "memory": lambda bench, _: memory(bench),
}
