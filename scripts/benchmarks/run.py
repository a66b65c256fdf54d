"""What every row needs: loads on our server and on peers, the bare model, medians of repeats."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from rich.console import Console

from scripts.benchmarks.server import Deployed, Model, Server
from xinfer.bench.bare_process import Task
from xinfer.bench.ceiling import Ceiling, measure
from xinfer.bench.driver import run
from xinfer.bench.load import Kind, Load
from xinfer.bench.plan import Plan, Run

FULL = 600
"""Requests of the whole measure; other counts scale with ``requests``."""
CLIENTS = 32
BUDGETS = (512, 1024, 2048, 4096)
TRIED = 20
"""Requests by which the bare model's budget is chosen."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server that runs already.

    Attributes:
        model, embedding_model: uids there; "" if it has none.
    """

    name: str
    url: str
    model: str
    embedding_model: str = ""


@dataclass(slots=True)
class Bench:
    """One run of the comparison.

    Attributes:
        tokens: padded tokens of the bare model's batches; 0 = what suits each model best.
        budgets: what was found to suit, by model.
        picture: the last run on two slots that is worth a picture.
    """

    server: Server
    console: Console
    models: dict[str, Model]
    requests: int = FULL
    repeats: int = 3
    tokens: int = 0
    peers: list[Peer] = field(default_factory=list)
    picture: tuple[Plan, Run] | None = None
    failed: int = 0
    budgets: dict[str, int] = field(default_factory=dict)

    def count(self, full: int, least: int = 1) -> int:
        """``full`` of the whole measure, scaled."""
        return max(least, round(full * self.requests / FULL))

    def plan(self, deployed: Deployed, requests: int, **load: object) -> Plan:
        """A closed loop of `CLIENTS`, on our server."""
        shape = Load(Kind(deployed.model.kind), deployed.uid, **load)  # type: ignore[arg-type]
        return Plan(self.server.url, shape, requests, concurrency=CLIENTS)

    def ours(self, plan: Plan, *, warm: bool = True) -> Run:
        """Run it, warmed up with its own sizes; failures are counted and said."""
        if warm:
            run(replace(plan, requests=min(8, plan.requests or 8), concurrency=8, rate=None, background=0, warmup=1))
        found = run(replace(plan, warmup=0))
        self.failed += found.failed
        for kind, count, sentence in found.summary.failures:
            self.console.print(f"[red]{count} × {kind}[/]: {sentence}", highlight=False)
        if found.interrupted:
            raise KeyboardInterrupt
        return found

    def bare(self, model: Model, load: Load, requests: int, *, processes: int = 2, single: bool = False) -> Ceiling:
        """The same texts without a server, in batches of the size that suits the model best."""
        task = Task(model.path, load, requests, model.bare, model.dtype, single=single)
        return measure(task if single else replace(task, tokens=self.budget(model)), processes)

    def budget(self, model: Model) -> int:
        """Padded tokens of the bare model's batches: `tokens`, or the best of `BUDGETS` by its CPU time, found once."""
        if self.tokens:
            return self.tokens
        if model.name not in self.budgets:
            tried = min(self.requests, TRIED)
            task = Task(model.path, Load(Kind(model.kind), sizes=(20,)), tried, model.bare, model.dtype)
            found = {tokens: measure(replace(task, tokens=tokens), 2) for tokens in BUDGETS}
            # A few texts pad more than all of them would; the time of a padded token says what a large pool would take.
            whole = self.requests <= TRIED
            costs = {tokens: each.cpu_seconds / (1.0 if whole else each.padding) for tokens, each in found.items()}
            self.budgets[model.name] = min(costs, key=costs.__getitem__)
            shown = ", ".join(f"{tokens}: {cost:.1f} s" for tokens, cost in costs.items())
            self.console.print(f"  [dim]bare {model.name}, CPU time by padded tokens of a batch: {shown}[/]", highlight=False)
        return self.budgets[model.name]

    def ask_peers(self, plan: Plan) -> dict[str, Run]:
        """The same load on every peer that has such a model."""
        found = {}
        for peer in self.peers:
            uid = peer.embedding_model if plan.load.kind is Kind.EMBEDDING else peer.model
            if uid:
                found[peer.name] = self.ours(replace(plan, base_url=peer.url, load=replace(plan.load, model=uid)))
        return found


class Figures:
    """Named figures, one per repeat."""

    def __init__(self) -> None:
        self.runs: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One more."""
        self.runs.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The middle one."""
        return median(self.runs[name])

    def peers(self) -> dict[str, float]:
        """Medians of what was noted as ``peer NAME``."""
        return {name.removeprefix("peer "): median(values) for name, values in self.runs.items() if name.startswith("peer ")}


def pressure(file: Path = Path("/proc/pressure/cpu")) -> float | None:
    """Percent of the last 10 s in which something waited for a CPU; None where the kernel does not say."""
    try:
        return float(file.read_text().split("avg10=")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None
