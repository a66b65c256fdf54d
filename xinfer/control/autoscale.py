"""How many replicas the load asks for: a pure rule over samples of the load (doc/adr/0015-autoscaling.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from xinfer.cluster.deployment import Deployment, Scaling
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import ReplicaTable
from xinfer.control.lifecycle import replica_id
from xinfer.settings import ScaleTimings

TARGET = 1.5
"""Load of one replica that is aimed at, in windows: one that it works on, and half a one that waits."""
DEAD_BAND = 0.1
WINDOW_BATCHES = 2
"""Batch budgets that a replica is given at a time; their tokens are the unit of the load."""
UNKNOWN_BUDGET = 2048


@dataclass(frozen=True, slots=True)
class Sample:
    """The load of one model at one moment.

    Attributes:
        load: tokens waiting and in flight, over all API processes, in windows of one replica.
        queue: documents that wait.
    """

    at: float
    load: float
    queue: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is of a model.

    Attributes:
        wanted: replicas that are desired now; ``ready``: of these, those that serve.
        coming: some replica starts, or waits for a slot: the last growth has not shown its effect.
        pinned: replicas that people bound to a slot, which are never let go.
        idle: seconds without a request.
    """

    wanted: int
    ready: int
    coming: bool = False
    pinned: int = 0
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rule says.

    Attributes:
        wanted: replicas from now on; as many as before = no change.
        load: mean of late, in windows.
        why: of a change, for people; "" without one.
    """

    wanted: int
    load: float
    why: str = ""


def decide(samples: Sequence[Sample], scaling: Scaling, standing: Standing, now: float, timings: ScaleTimings) -> Verdict:
    """``ceil(load / target)`` within the bounds, more after ``up``, less after ``down``, at once for a surge.

    The same as ``ceil(ready * load per replica / target)``. Without a sample nothing changes but for the bounds.

    Args:
        samples: oldest first; of the last ``mean + down`` seconds, those that there are.
        now: the clock of the samples.
    """
    have = standing.wanted
    lowest = max(scaling.min_replica, standing.pinned)
    load = _mean(samples, now, timings.mean)
    if 0 < have < lowest:
        return Verdict(lowest, load, f"{have} → {lowest}: at least {lowest} are asked for")
    if have > max(scaling.max_replica, lowest):
        most = max(scaling.max_replica, lowest)
        return Verdict(most, load, f"{have} → {most}: at most {most} are asked for")
    if not have or not standing.ready or not samples:
        return Verdict(have, load)
    if not lowest and not standing.coming and not samples[-1].load and standing.idle >= scaling.idle_seconds:
        return Verdict(0, load, f"{have} → 0: no request for {scaling.idle_seconds:g} s")
    lowest = max(1, lowest)

    def within(count: int) -> int:
        return max(lowest, min(scaling.max_replica, count))

    if not standing.coming:
        surge = min((sample.load for sample in samples if sample.at >= now - timings.surge), default=0.0)
        more = within(_asked(surge, have))
        if more > have and surge >= 2 * TARGET * have and _covers(samples, now, timings.surge):
            return Verdict(more, load, f"{have} → {more}: {_work(samples, surge)}, at once")
        more = within(min(_asks(samples, have, now, timings.up, timings.mean), default=have))
        if more > have and _covers(samples, now, timings.up):
            return Verdict(more, load, f"{have} → {more}: {_work(samples, load)}")
    fewer = within(max(_asks(samples, have, now, timings.down, timings.mean), default=have))
    if fewer < have and _covers(samples, now, timings.down):
        return Verdict(fewer, load, f"{have} → {fewer}: work for no more than {fewer} for {timings.down:g} s")
    return Verdict(have, load)


def _work(samples: Sequence[Sample], load: float) -> str:
    """The cause of a growth, for people."""
    windows = f"{load:.1f} windows of work, {TARGET:g} a replica"
    late = samples[-1]
    if not late.queue:
        return windows
    since = late.at
    for sample in reversed(samples):
        if not sample.queue:
            break
        since = sample.at
    return f"queue {late.queue} documents for {late.at - since:.0f} s, {windows}"


def _asked(load: float, have: int) -> int:
    """Replicas for that load; those that there are within the dead band."""
    return have if abs(load / (have * TARGET) - 1) <= DEAD_BAND else ceil(load / TARGET)


def _covers(samples: Sequence[Sample], now: float, seconds: float) -> bool:
    return bool(samples) and samples[0].at <= now - seconds


def _mean(samples: Sequence[Sample], now: float, seconds: float) -> float:
    late = [sample.load for sample in samples if now - seconds < sample.at <= now]
    return sum(late) / len(late) if late else 0.0


def _asks(samples: Sequence[Sample], have: int, now: float, window: float, mean: float) -> list[int]:
    """What the load asked for at each sample of the last ``window`` seconds, by the mean of ``mean`` seconds before it."""
    asks: list[int] = []
    first, total = 0, 0.0
    for index, sample in enumerate(samples):
        total += sample.load
        while samples[first].at <= sample.at - mean:
            total -= samples[first].load
            first += 1
        if sample.at > now - window:
            asks.append(_asked(max(0.0, total) / (index + 1 - first), have))
    return asks


def standing(snapshot: Snapshot, deployment: Deployment, last_busy: float, now: float) -> Standing:
    """What there is of a model, and how long it has been idle: since its last request, or since its youngest replica is ready."""
    replicas = _desired(snapshot, deployment)
    ready = [replica for replica in replicas if replica.phase is Phase.READY]
    return Standing(
        wanted=deployment.wanted,
        ready=len(ready),
        coming=any(replica.phase in STARTING or replica.phase is Phase.QUEUED for replica in replicas),
        pinned=deployment.pinned,
        idle=now - max([last_busy, *(replica.ready_at for replica in ready)]),
    )


def window(snapshot: Snapshot, deployment: Deployment) -> int:
    """Tokens of one replica's window, the mean of those that are ready."""
    budgets = [r.budget_tokens or UNKNOWN_BUDGET for r in _desired(snapshot, deployment) if r.phase is Phase.READY]
    return WINDOW_BATCHES * (sum(budgets) // len(budgets) if budgets else UNKNOWN_BUDGET)


def _desired(snapshot: Snapshot, deployment: Deployment) -> list[Replica]:
    table = ReplicaTable.of(snapshot.replicas)
    ids = (replica_id(deployment.uid, ordinal) for ordinal in deployment.ordinals)
    return [table[key] for key in ids if key in table]
