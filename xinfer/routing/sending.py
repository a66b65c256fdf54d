"""The next shard to send: what, how much, and to whom."""

from __future__ import annotations

from collections.abc import Sequence

from xinfer.routing.fleet import Fleet
from xinfer.routing.load import Flight, ReplicaLoad, speeds
from xinfer.routing.pending import PendingItem
from xinfer.routing.pick import Dice, pick
from xinfer.routing.queue import ItemQueue
from xinfer.routing.shards import form, share


def next_flight(queue: ItemQueue, fleet: Fleet, dice: Dice, now: float, api_processes: int) -> Flight | None:
    """Take the next shard out of the queue and count it at its replica; None while no replica has room."""
    willing = fleet.willing(now)
    if willing and queue.again:
        flight, willing = _again(queue, fleet, willing, dice, now, api_processes)
        if flight is not None:
            return flight
    lane = queue.leading_lane()
    if lane is None or not willing:
        return None
    everywhere = sum(load.remaining(now) for load in willing)
    rates = speeds(willing)
    total = sum(rates)
    parts: dict[ReplicaLoad, float] = {}
    for load, rate in zip(willing, rates, strict=True):
        remaining = load.remaining(now)
        # One that is ahead of its part leaves the rest to those that will be done sooner; never one that is idle.
        late = load.flights and share(queue.tokens, remaining, everywhere, rate, total) <= 0
        if not late and load.room(api_processes, now) > 0:
            parts[load] = share(lane.tokens, remaining, everywhere, rate, total)
    if not parts:
        return None
    own = min(lane.tokens, max(load.budget for load in parts))
    chosen, scored = pick(list(parts), own, dice, now, two=api_processes > 1)
    return _fly(chosen, form(queue, chosen.room(api_processes, now), parts[chosen]), now, scored)


def _again(
    queue: ItemQueue, fleet: Fleet, willing: list[ReplicaLoad], dice: Dice, now: float, api_processes: int
) -> tuple[Flight | None, list[ReplicaLoad]]:
    """Ready-made shards first. Returns a flight, or else who is left for ordinary work."""
    suspect = next((group for group in queue.again if group.alone), None)
    for group in queue.again:
        if group.alone:
            continue
        elsewhere = [load for load in willing if load.route.replica_id not in group.avoid] or willing
        candidates = [load for load in elsewhere if load.room(api_processes, now) > 0]
        if candidates:
            chosen, scored = pick(candidates, sum(item.tokens for item in group.items), dice, now)
            return _fly(chosen, queue.take_again(group), now, scored, again=True), willing
    if suspect is None:
        fleet.release_quarantine()
        return None, willing
    ward = fleet.quarantine(willing, now)
    if not ward.flights and ward.room(api_processes, now) > 0:
        return _fly(ward, queue.take_again(suspect), now, [(ward, 0.0)], again=True, alone=True), willing
    return None, [load for load in willing if load is not ward]


def _fly(
    load: ReplicaLoad,
    items: Sequence[PendingItem],
    now: float,
    scored: Sequence[tuple[ReplicaLoad, float]],
    *,
    again: bool = False,
    alone: bool = False,
) -> Flight:
    padded = len(items) * max(item.tokens for item in items)
    candidates = tuple((each.route.replica_id, score) for each, score in scored)
    flight = Flight(load, items, padded, now, candidates, again=again, alone=alone)
    load.send(flight)
    return flight
