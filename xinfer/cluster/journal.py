"""What has changed in the cluster, numbered, so that who watches can go on where it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.replica import Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker

KEPT = 10_000
"""Changes kept; a launch of one replica makes about ten."""


class Kind(StrEnum):
    """What a change is about."""

    WORKER = "worker"
    MODEL = "model"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as people see it: without what every heartbeat changes."""

    worker: Worker
    draining: bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Member) and self._seen() == other._seen()

    __hash__ = None  # type: ignore[assignment]

    def _seen(self) -> tuple[Any, ...]:
        it = self.worker
        return it.address, it.epoch, it.devices, it.engines, it.state, it.host, self.draining


Entity = Member | Deployment | Replica


@dataclass(frozen=True, slots=True)
class Change:
    """One thing became another.

    Attributes:
        number: grows by one from change to change.
        at: supervisor clock, unix seconds.
        before, after: None = it was not there, or is no longer.
    """

    number: int
    at: float
    kind: Kind
    key: str
    before: Entity | None
    after: Entity | None


class Journal:
    """The last changes of one supervisor's life. It asks no clock.

    Attributes:
        number: of the last change; 0 = none yet.
    """

    def __init__(self, snapshot: Snapshot, kept: int = KEPT) -> None:
        self.number = 0
        self._seen = snapshot
        self._changes: deque[Change] = deque(maxlen=kept)

    def advance(self, snapshot: Snapshot, now: float) -> None:
        """Note what is different from the snapshot before."""
        for kind, key, before, after in differences(self._seen, snapshot):
            self.number += 1
            self._changes.append(Change(self.number, now, kind, key, before, after))
        self._seen = snapshot

    def all(self) -> tuple[Change, ...]:
        """Every change that is kept, oldest first."""
        return tuple(self._changes)

    def since(self, number: int) -> tuple[Change, ...] | None:
        """The changes after that one, oldest first; None if some of them are no longer kept, or never were here."""
        missing = self.number - number
        if not 0 <= missing <= len(self._changes):
            return None
        return tuple(islice(self._changes, len(self._changes) - missing, None))


def differences(before: Snapshot, after: Snapshot) -> Iterator[tuple[Kind, str, Entity | None, Entity | None]]:
    """Workers first, then models, then replicas: what is named by a later one is known by then."""
    if before.workers is not after.workers or before.draining != after.draining:
        yield from _members(before, after)
    for kind, old, new in (
        (Kind.MODEL, before.deployments, after.deployments),
        (Kind.REPLICA, before.replicas, after.replicas),
    ):
        if old is not new:
            yield from _rows(kind, old, new)


def _members(before: Snapshot, after: Snapshot) -> Iterator[tuple[Kind, str, Entity | None, Entity | None]]:
    for worker_id in [*after.workers, *(w for w in before.workers if w not in after.workers)]:
        old, new = before.workers.get(worker_id), after.workers.get(worker_id)
        was, is_ = worker_id in before.draining, worker_id in after.draining
        if old is new and was == is_:
            continue
        one = None if old is None else Member(old, was)
        other = None if new is None else Member(new, is_)
        if one != other:
            yield Kind.WORKER, worker_id, one, other


def _rows(
    kind: Kind, before: Mapping[Any, Entity], after: Mapping[Any, Entity]
) -> Iterator[tuple[Kind, str, Entity | None, Entity | None]]:
    for key in before:
        if key not in after:
            yield kind, key, before[key], None
    for key, new in after.items():
        old = before.get(key)
        if old is not new and old != new:
            yield kind, key, old, new
