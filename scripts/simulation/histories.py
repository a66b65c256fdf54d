"""Many seeded histories, on clusters of all sizes, in as many processes as are asked for."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import structlog

from scripts.simulation.figures import Figure, times
from tests.simulation.fake_cluster import FakeCluster
from tests.simulation.history import FAULT_EVERY, history
from tests.simulation.weather import Shape

FULL_FAULT_EVERY = 0.02
"""Seconds between faults on a cluster of full size, where a second has hundreds of heartbeats."""
WHOLE_AT_FULL_SIZE = 1_000
"""Steps between two checks of everything there; between them, what each step wrote is checked."""


@dataclass(frozen=True, slots=True)
class Task:
    """One history to run; ``full``: on a cluster of this shape, else on one drawn by the seed."""

    seed: int
    steps: int
    full: Shape | None = None

    @property
    def replay(self) -> str:
        """The command that runs exactly this history."""
        if self.full is None:
            return f"scripts/simulate --replay {self.seed} --steps {self.steps}"
        size = f"--workers {self.full.workers} --devices {self.full.gpus} --replicas {self.full.replicas}"
        return f"scripts/simulate --replay {self.seed} --full --full-steps {self.steps} {size}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        broken: the invariant that did not hold, with the seed, the step and the last events; "" if all did.
        events, seconds: by kind of event: how many, and what each took; the times of full-size histories only.
        started, restarted: replicas. wholes: how often everything was checked.
    """

    task: Task
    broken: str
    steps: int = 0
    workers: int = 0
    events: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    started: int = 0
    restarted: int = 0
    wholes: int = 0


def full_shape(workers: int, gpus: int, replicas: int) -> Shape:
    """The size that is asked for."""
    return Shape(workers, gpus, 24, replicas, each=10, models=40, check_whole=WHOLE_AT_FULL_SIZE)


def shape_of(seed: int) -> Shape | None:
    """Two of three histories run on the tests' small clusters, one on 5 to 30 workers that are half full."""
    dice = random.Random(f"shape {seed}")
    if dice.random() < 2 / 3:
        return None
    workers, gpus = dice.randint(5, 30), dice.randint(1, 8)
    return Shape(workers, gpus, 24, dice.randint(1, workers * gpus), each=dice.randint(1, 8), models=12)


def run(task: Task) -> Outcome:
    """One history; what the autoscaler has to say goes nowhere."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    shape, every = (shape_of(task.seed), FAULT_EVERY) if task.full is None else (task.full, FULL_FAULT_EVERY)
    try:
        cluster = history(task.seed, shape, task.steps, every)
    except AssertionError as error:
        return Outcome(task, str(error) or "an assertion without words")
    return _outcome(task, cluster)


def _outcome(task: Task, cluster: FakeCluster) -> Outcome:
    return Outcome(
        task,
        "",
        cluster.steps,
        len(cluster.workers),
        Counter({kind: len(spent) for kind, spent in cluster.spent.items()}),
        {kind: list(spent) for kind, spent in cluster.spent.items()} if task.full is not None else {},
        cluster.check.started,
        cluster.check.restarted,
        cluster.check.wholes,
    )


def run_all(tasks: Sequence[Task], jobs: int, done: Callable[[Outcome], None]) -> list[Outcome]:
    """All of them; ``done`` is told each as it ends."""
    found = []
    for outcome in _each(tasks, jobs):
        done(outcome)
        found.append(outcome)
    return found


def _each(tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(run, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, tasks)


def figures(outcomes: Sequence[Outcome], seconds: float) -> list[Figure]:
    """What ran and what broke; the times of steps, where they ran at full size."""
    broken = [outcome for outcome in outcomes if outcome.broken]
    full = [outcome for outcome in outcomes if outcome.task.full is not None and not outcome.broken]
    drawn = [outcome for outcome in outcomes if outcome.task.full is None]
    steps = sum(outcome.steps for outcome in outcomes)
    small = sum(outcome.workers <= 4 for outcome in drawn if not outcome.broken)
    events: Counter[str] = sum((outcome.events for outcome in outcomes), Counter())
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in events.most_common())
    rows = [
        Figure("histories", "histories", len(drawn), "", f"{small} on 2–4 workers, the others on 5–30"),
        Figure(
            "histories",
            "at full size",
            len(full),
            "",
            f"{sum(o.steps for o in full):,} steps on {full[0].workers:,} workers" if full else "",
        ),
        Figure("histories", "broken invariants", len(broken), "", "see above" if broken else "", most=0),
        Figure("histories", "steps", steps, "", f"{steps / max(seconds, 1e-9):,.0f} a second, checks included"),
        Figure("histories", "fewest steps of one", min((o.steps for o in drawn if not o.broken), default=0), ""),
        Figure("histories", "events", sum(events.values()), "", kinds),
        Figure("histories", "starts", sum(o.started for o in outcomes), "", f"{sum(o.restarted for o in outcomes):,} of them restarts"),
        Figure("histories", "checks of everything", sum(o.wholes for o in outcomes), "", "what a step wrote is checked after every step"),
    ]
    together: dict[str, list[float]] = {}
    for outcome in full:
        for kind, spent in outcome.seconds.items():
            together.setdefault(kind, []).extend(spent)
    return rows + [times("full size", f"step {kind}", spent) for kind, spent in sorted(together.items())]
