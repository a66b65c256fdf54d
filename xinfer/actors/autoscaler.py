"""Reports of load in, changes of replica counts out: the shell around ``control.autoscale``. Never on the data path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from xinfer.cluster.deployment import Deployment, ScaleNote
from xinfer.cluster.ids import Address, ModelUid
from xinfer.cluster.load import ModelLoad
from xinfer.cluster.snapshot import Snapshot
from xinfer.control import autoscale
from xinfer.control.autoscale import Verdict
from xinfer.control.demands import compile_growth
from xinfer.control.events import Event, QueuesEmpty, ReplicasAdded, ScaledDown
from xinfer.control.loads import Loads
from xinfer.errors import NoFit, NoWorker, StoreError, Unavailable, XinferError
from xinfer.settings import Timings

log = structlog.get_logger(__name__)


class Autoscaler:
    """What it knows is lost with the supervisor: the next life looks for itself before it decides.

    Args:
        snapshot: the cluster as it is now.
        apply: takes an event; raises what the event is refused with.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], apply: Callable[[Event], None], timings: Timings) -> None:
        self._snapshot = snapshot
        self._apply = apply
        self._timings = timings
        self._loads = Loads(timings.scale.report, timings.scale.mean + timings.scale.down)
        self._askers: Mapping[Address, float] = {}
        self._notes: dict[ModelUid, ScaleNote] = {}
        self._again: dict[ModelUid, float] = {}  # when to look for room again
        self._judged_at = 0.0

    @property
    def notes(self) -> Mapping[ModelUid, ScaleNote]:
        """What listings say of each model that is scaled by load."""
        return dict(self._notes)

    def report(self, process: Address, models: Mapping[ModelUid, ModelLoad], now: float) -> dict[ModelUid, str]:
        """Take in what one API process says; wakes what it waits for. Returns the models that cannot be woken, and why."""
        self._loads.report(process, models, now)
        self._close_empty(now)
        refused = {}
        for uid, load in models.items():
            deployment = self._snapshot().deployments.get(uid)
            if load.waiting and deployment is not None and deployment.asleep is not None:
                reason = self._wake(deployment, now)
                if reason:
                    refused[uid] = reason
        return refused

    def tick(self, askers: Mapping[Address, float], now: float) -> None:
        """Judge every model that is scaled by load, as often as reports come.

        Args:
            askers: API processes that poll for routes, and when they last did.
        """
        self._askers = askers
        self._close_empty(now)
        if now - self._judged_at < self._timings.scale.report or self._snapshot().expected:
            return
        self._judged_at = now
        scaled = {uid: deployment for uid, deployment in self._snapshot().deployments.items() if deployment.scaling is not None}
        self._loads.forget(scaled)
        self._notes = {uid: note for uid, note in self._notes.items() if uid in scaled}
        self._again = {uid: at for uid, at in self._again.items() if uid in scaled}
        for deployment in scaled.values():
            self._judge(deployment, now)

    def changed(self, uid: ModelUid, why: str, now: float) -> None:
        """Somebody else changed the count, or the bounds."""
        self._again.pop(uid, None)
        self._loads.begin_anew(uid)  # or the load of the last minutes would take back at once what was asked for
        deployment = self._snapshot().deployments.get(uid)
        if deployment is not None:
            self._notes[uid] = ScaleNote(deployment.wanted, why=why, since=now)

    def _close_empty(self, now: float) -> None:
        for uid, deployment in self._snapshot().deployments.items():
            since = deployment.closing - self._timings.drain
            if deployment.closing and self._loads.empty(uid, self._askers, since, now):
                self._attempt(QueuesEmpty(uid))

    def _judge(self, deployment: Deployment, now: float) -> None:
        uid, snapshot = deployment.uid, self._snapshot()
        assert deployment.scaling is not None  # noqa: S101
        self._loads.sample(uid, autoscale.window(snapshot, deployment), now)
        standing = autoscale.standing(snapshot, deployment, self._loads.last_busy(uid, now), now)
        verdict = autoscale.decide(self._loads.history(uid), deployment.scaling, standing, now, self._timings.scale)
        note = self._notes.get(uid) or ScaleNote(0)
        self._notes[uid] = replace(note, wanted=verdict.wanted, load=verdict.load)
        if verdict.wanted > deployment.wanted:
            if now >= self._again.get(uid, 0.0):
                self._grow(deployment, verdict, now)
            return
        self._roomy(uid)
        if verdict.wanted < deployment.wanted and self._attempt(ScaledDown(uid, verdict.wanted, by_load=True)) == "":
            self._say(uid, verdict.why, now)

    def _grow(self, deployment: Deployment, verdict: Verdict, now: float) -> None:
        """As many as there is room for; the rest is wanted, and tried again."""
        uid, have, count, no_room = deployment.uid, deployment.wanted, verdict.wanted, ""
        while count > have and (reason := self._attempt(ReplicasAdded(uid, compile_growth(deployment, count - have)))) != "":
            no_room, count = reason or no_room, count - 1
        if count > have:
            self._say(uid, verdict.why if count == verdict.wanted else f"{have} → {count} of {verdict.wanted}: {_cause(verdict.why)}", now)
        if no_room:
            self._again[uid] = now + self._timings.scale.up
            self._crowded(uid, verdict.wanted, no_room)
        else:
            self._roomy(uid)

    def _wake(self, deployment: Deployment, now: float) -> str:
        """Returns why it cannot be woken, or ""."""
        uid = deployment.uid
        reason = self._attempt(ReplicasAdded(uid, compile_growth(deployment, 1)))
        if reason == "":
            self._loads.begin_anew(uid)
            self._roomy(uid)
            self._say(uid, "0 → 1: a request came", now)
        elif reason:
            self._crowded(uid, 1, reason)
        return reason or ""  # where it may be possible later, the request waits, and the next report asks again

    def _attempt(self, event: Event) -> str | None:
        """Returns "" if the event was taken, the reason if it cannot be, None if it may be later."""
        try:
            self._apply(event)
        except (NoFit, NoWorker, StoreError) as error:
            return error.message
        except Unavailable:
            return None
        except XinferError as error:
            return error.message
        return ""

    def _say(self, uid: ModelUid, why: str, now: float) -> None:
        note = self._notes.get(uid) or ScaleNote(0)
        self._notes[uid] = replace(note, wanted=max(note.wanted, self._snapshot().deployments[uid].wanted), why=why, since=now)
        log.info("scaled by load", model=uid, why=why)

    def _crowded(self, uid: ModelUid, wanted: int, reason: str) -> None:
        note = self._notes.get(uid) or ScaleNote(0)
        if not note.no_room or note.wanted != wanted:
            log.warning("no room to scale", model=uid, wanted=wanted, reason=reason)
        self._notes[uid] = replace(note, wanted=wanted, no_room=reason)

    def _roomy(self, uid: ModelUid) -> None:
        self._again.pop(uid, None)
        if uid in self._notes:
            self._notes[uid] = replace(self._notes[uid], no_room="")


def _cause(why: str) -> str:
    return why.partition(": ")[2]
