"""What GET /metrics says of the replicas, and how much it grew between two readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "xinfer_replica_"
COUNTERS = ("_total", "_sum", "_count")
BUSY = "busy_seconds_total"
SHORTEST_PAUSE = 0.5
POINTS = 30


@dataclass(frozen=True, slots=True)
class Reading:
    """Figures of the replicas at one moment.

    Attributes:
        at: seconds on the driver's clock.
        replicas: name of a replica -> figure, without the prefix -> value.
    """

    at: float
    replicas: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lane:
    """How busy one replica was over time.

    Attributes:
        points: (seconds since the first reading, share 0..1 of the time that ended there).
    """

    name: str
    points: tuple[tuple[float, float], ...]


def pause(elapsed: float) -> float:
    """Seconds until the next reading, that far into a run.

    Half a second at first, then longer: a reading costs the server some 10 ms, which a long run pays out of what it measures.
    """
    return max(SHORTEST_PAUSE, elapsed / POINTS)


def parse(text: str, at: float, models: Sequence[str] = ()) -> Reading:
    """The replicas of ``models`` (all if empty) in a Prometheus text; no replicas if it is not one of ours."""
    replicas: dict[str, dict[str, float]] = {}
    ours = "\n".join(line for line in text.splitlines() if PREFIX in line and "_bucket{" not in line)
    for family in text_string_to_metric_families(ours):
        for sample in family.samples:
            name = sample.labels.get("replica")
            if name is None or not sample.name.startswith(PREFIX) or (models and sample.labels.get("model") not in models):
                continue
            replicas.setdefault(name, {})[sample.name.removeprefix(PREFIX)] = float(sample.value)
    return Reading(at, replicas)


def growth(before: Reading, after: Reading) -> dict[str, dict[str, float]]:
    """By replica, how much each counter grew; one that fell was restarted and counts from 0."""
    return {
        name: {figure: _grown(before.replicas.get(name, {}).get(figure, 0.0), value) for figure, value in now.items() if _counts(figure)}
        for name, now in after.replicas.items()
    }


def _counts(figure: str) -> bool:
    return figure.endswith(COUNTERS)


def _grown(old: float, new: float) -> float:
    return new - old if new >= old else new


def lanes(readings: Sequence[Reading], names: Mapping[str, str]) -> list[Lane]:
    """Busy share between each two readings, per replica; ``names`` are what the lanes are called."""
    busy: dict[str, list[tuple[float, float, float]]] = {}
    for before, after in pairwise(readings):
        for name, grown in growth(before, after).items():
            # A replica that is met for the first time has a past that belongs to no interval.
            if BUSY in grown and after.at > before.at and name in before.replicas:
                busy.setdefault(name, []).append((after.at - readings[0].at, after.at - before.at, grown[BUSY]))
    return [Lane(names.get(name, name), _shares(found)) for name, found in sorted(busy.items())]


def _shares(intervals: Sequence[tuple[float, float, float]]) -> tuple[tuple[float, float], ...]:
    """(end, share) of each (end, length, busy seconds counted in it).

    A batch is counted when it ends: what is more than its interval was spent before that.
    """
    made, earlier = [], 0.0
    for end, length, counted in reversed(intervals):
        spent = min(length, counted + earlier)
        earlier += counted - spent
        made.append((end, spent / length))
    return tuple(reversed(made))
