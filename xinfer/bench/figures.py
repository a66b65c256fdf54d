"""From what was observed to what is reported: rates, percentiles, shares, busy time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xinfer.bench.readings import Reading, growth
from xinfer.bench.verdict import Failure, by_kind

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Done:
    """One request that has ended.

    Attributes:
        begun, ended: seconds on one clock; an open loop begins when the request was due, sent or not.
        size: documents in it.
        tokens: as the server counts them, None if it does not say.
    """

    begun: float
    ended: float
    size: int
    failure: Failure | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaShare:
    """What one replica did during a run.

    Attributes:
        name: its id; ``slot`` where it sits, "" if the server did not say.
        share: of all documents, 0..1.
        busy: seconds inside the model; ``busy_share`` of the run's time, 0..1.
        padding: padded tokens for each true one, at least 1; None if not reported.
        batch_seconds, batch_tokens: means; None if not reported.
    """

    name: str
    slot: str
    documents: float
    share: float
    busy: float | None = None
    busy_share: float | None = None
    batches: float | None = None
    batch_seconds: float | None = None
    batch_tokens: float | None = None
    padding: float | None = None
    oom_splits: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """One stream of requests during one stretch of time.

    Attributes:
        seconds: how long it took.
        latency: milliseconds of the requests that were answered right, by name; empty if none was.
        tokens_per_second: None unless every right answer says its tokens.
        failures: (kind, how many, one sentence).
    """

    requests: int
    ok: int
    documents: int
    seconds: float
    documents_per_second: float
    requests_per_second: float
    tokens_per_second: float | None
    latency: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[tuple[str, int, str], ...] = ()


def percentile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest ranks, linear; ``ordered`` ascends and is not empty."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Mean, percentiles and maximum in milliseconds; empty for no values."""
    if not seconds:
        return {}
    ordered = sorted(value * 1000 for value in seconds)
    figures = {"mean": math.fsum(ordered) / len(ordered)}
    figures |= {name: percentile(ordered, share) for name, share in QUANTILES.items()}
    return figures | {"max": ordered[-1]}


def summarise(done: Sequence[Done], seconds: float) -> Summary:
    """Figures of a stream that ran for ``seconds``."""
    right = [each for each in done if each.failure is None]
    documents = sum(each.size for each in right)
    counted = [each.tokens for each in right if each.tokens is not None]
    over = max(seconds, 1e-9)
    return Summary(
        requests=len(done),
        ok=len(right),
        documents=documents,
        seconds=seconds,
        documents_per_second=documents / over,
        requests_per_second=len(right) / over,
        tokens_per_second=sum(counted) / over if right and len(counted) == len(right) else None,
        latency=latencies([each.ended - each.begun for each in right]),
        failures=tuple(by_kind(each.failure for each in done if each.failure is not None)),
    )


def overlapping(done: Sequence[Done], begin: float, end: float) -> float:
    """Documents a second between two moments; a request that reaches over an edge counts by its part inside."""
    total = 0.0
    for each in done:
        if each.failure is None and each.ended > begin and each.begun < end:
            inside = min(each.ended, end) - max(each.begun, begin)
            total += each.size * inside / max(each.ended - each.begun, 1e-9)
    return total / max(end - begin, 1e-9)


def shares(before: Reading, after: Reading, slots: Mapping[str, str]) -> list[ReplicaShare]:
    """What each replica did between two readings, by name."""
    seconds = after.at - before.at
    grown = growth(before, after)
    documents = sum(figures.get("items_total", 0.0) for figures in grown.values())
    return [_share(name, slots.get(name, ""), figures, documents, seconds) for name, figures in sorted(grown.items())]


def _share(name: str, slot: str, figures: Mapping[str, float], documents: float, seconds: float) -> ReplicaShare:
    own, busy, batches = figures.get("items_total", 0.0), figures.get("busy_seconds_total"), figures.get("batches_total")
    tokens, padded = figures.get("tokens_total"), figures.get("padded_tokens_total")
    # Tokens of a batch are padded ones where they are counted: that is what the model computes.
    computed = padded if padded is not None else tokens
    return ReplicaShare(
        name=name,
        slot=slot,
        documents=own,
        share=own / documents if documents else 0.0,
        busy=busy,
        busy_share=busy / seconds if busy is not None and seconds > 0 else None,
        batches=batches,
        batch_seconds=busy / batches if busy is not None and batches else None,
        batch_tokens=computed / batches if computed is not None and batches else None,
        padding=padded / tokens if padded is not None and tokens else None,
        oom_splits=figures.get("oom_splits_total"),
    )
