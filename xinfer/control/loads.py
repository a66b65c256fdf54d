"""What API processes report: the load by model, and who has nothing left of a model that is being stopped. In memory only."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from xinfer.cluster.ids import Address, ModelUid
from xinfer.cluster.load import ModelLoad
from xinfer.control.autoscale import Sample

MISSED = 3
"""Reports after which a silent process no longer counts."""


@dataclass(slots=True)
class _Process:
    reported_at: float = 0.0
    models: Mapping[ModelUid, ModelLoad] = field(default_factory=dict)


class Loads:
    """Sums over processes, and a history of them.

    Args:
        every: seconds between two reports of a process.
        kept: seconds of history.
    """

    def __init__(self, every: float, kept: float) -> None:
        self._silent = MISSED * every
        self._kept = kept
        self._processes: dict[Address, _Process] = {}
        self._busy: dict[ModelUid, float] = {}
        self._history: dict[ModelUid, deque[Sample]] = {}

    def report(self, process: Address, models: Mapping[ModelUid, ModelLoad], now: float) -> None:
        """Take in one report."""
        known = self._processes.setdefault(process, _Process())
        known.reported_at, known.models = now, models
        for uid, load in models.items():
            if load.busy or load.tokens:
                self._busy[uid] = now

    def _heard(self, now: float) -> dict[Address, _Process]:
        self._processes = {key: each for key, each in self._processes.items() if now - each.reported_at < self._silent}
        return self._processes

    def total(self, uid: ModelUid, now: float) -> tuple[int, int] | None:
        """Tokens waiting and in flight, and documents that wait, over all processes; None while none of them reports."""
        heard = self._heard(now)
        loads = [each.models[uid] for each in heard.values() if uid in each.models]
        return (sum(load.tokens for load in loads), sum(load.documents for load in loads)) if heard else None

    def last_busy(self, uid: ModelUid, now: float) -> float:
        """When a request was last seen; the first time that somebody asks, if none has been."""
        return self._busy.setdefault(uid, now)

    def sample(self, uid: ModelUid, window: int, now: float) -> None:
        """Add the load of this moment to the history; nothing is known while nobody reports."""
        total = self.total(uid, now)
        if total is None:
            self._history.pop(uid, None)
            return
        tokens, documents = total
        history = self._history.setdefault(uid, deque())
        history.append(Sample(now, tokens / window, documents))
        while history[0].at < now - self._kept:
            history.popleft()

    def history(self, uid: ModelUid) -> tuple[Sample, ...]:
        """Samples, oldest first."""
        return tuple(self._history.get(uid, ()))

    def begin_anew(self, uid: ModelUid) -> None:
        """Drop the history of a model whose count was not changed by it: what was before a sleep asks for nothing after it."""
        self._history.pop(uid, None)

    def forget(self, kept: Collection[ModelUid]) -> None:
        """Drop what is known of all models but these."""
        self._busy = {uid: at for uid, at in self._busy.items() if uid in kept}
        self._history = {uid: samples for uid, samples in self._history.items() if uid in kept}

    def empty(self, uid: ModelUid, askers: Mapping[Address, float], since: float, now: float) -> bool:
        """Whether no process holds anything of a model that has been stopping since ``since``, nor can get more.

        A process that is silent for long is not waited for, one that has asked for routes and not yet reported a little.

        Args:
            askers: processes that asked for routes, and when last.
        """
        heard = self._heard(now)
        if any(uid in each.models and (each.models[uid].tokens or not each.models[uid].closing) for each in heard.values()):
            return False
        outstanding = [key for key in {*askers, *heard} if key not in heard or heard[key].reported_at < since]
        return not outstanding or now - since >= self._silent
