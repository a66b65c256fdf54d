"""The next shard to send: what, how much, and to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xinfer.routing.fleet import Fleet
from xinfer.routing.load import Flight, ReplicaLoad
from xinfer.routing.pending import INTERACTIVE, PendingItem, PendingRequest
from xinfer.routing.pick import Dice, pick
from xinfer.routing.queue import ItemQueue
from xinfer.routing.shards import depth, form, share
from xinfer.routing.speeds import speeds


def next_flight(queue: ItemQueue, fleet: Fleet, dice: Dice, now: float, api_processes: int) -> Flight | None:
    """Take the next shard out of the queue and count it at its replica; None while no replica has room."""
    willing = fleet.willing(now)
    if willing and queue.again:
        flight, willing = _again(queue, fleet, willing, dice, now, api_processes)
        if flight is not None:
            return flight
    turn = queue.turn()
    return None if turn is None or not willing else _ordinary(queue, *turn, willing, dice, now, api_processes)


def _ordinary(
    queue: ItemQueue, name: str, urgent: bool, willing: Sequence[ReplicaLoad], dice: Dice, now: float, api_processes: int
) -> Flight | None:
    """The next shard of one lane. Urgent work shares the replicas with its kind only, bulk work with all."""
    lane = queue.lane(name)
    batches = 1 if urgent else depth(lane.tokens, sum(load.budget for load in willing))
    rooms = [load.room(api_processes, now, urgent, batches) for load in willing]
    if not any(rooms):
        return None
    waiting = lane.tokens if urgent else queue.tokens
    ahead = [load.remaining(now, urgent) for load in willing]
    everywhere = sum(ahead)
    rates = speeds(willing)
    total = sum(rates)
    parts: dict[ReplicaLoad, tuple[int, float]] = {}
    for load, room, rate, remaining in zip(willing, rooms, rates, ahead, strict=True):
        # One that is ahead of its part leaves the rest to those that will be done sooner; never one that is idle.
        if room and (not load.flights or share(waiting, remaining, everywhere, rate, total) > 0):
            parts[load] = room, share(lane.tokens, remaining, everywhere, rate, total)
    if not parts:
        return None
    own = min(lane.tokens, max(load.budget for load in parts))
    chosen, scored = pick(list(parts), own, dice, now, two=api_processes > 1, urgent=urgent)
    return _fly(chosen, form(queue, name, *parts[chosen]), now, scored, urgent=urgent)


def _again(
    queue: ItemQueue, fleet: Fleet, willing: list[ReplicaLoad], dice: Dice, now: float, api_processes: int
) -> tuple[Flight | None, list[ReplicaLoad]]:
    """Ready-made shards first. Returns a flight, or else who is left for ordinary work."""
    suspect = next((group for group in queue.again if group.alone), None)
    for group in queue.again:
        if group.alone:
            continue
        elsewhere = [load for load in willing if load.route.replica_id not in group.avoid] or willing
        candidates = [load for load in elsewhere if load.room(api_processes, now, _urgent(group.items)) > 0]
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
    urgent: bool | None = None,
    again: bool = False,
    alone: bool = False,
) -> Flight:
    padded = len(items) * max(item.tokens for item in items)
    candidates = tuple((each.route.replica_id, score) for each, score in scored)
    urgent = _urgent(items) if urgent is None else urgent
    flight = Flight(load, items, padded, now, urgent, candidates, again=again, alone=alone)
    load.send(flight)
    return flight


def unwanted(flights: Iterable[Flight], request: PendingRequest) -> list[Flight]:
    """Calls worth cancelling now that nobody waits for this request.

    Those with nothing else in them; and those that have not begun and are mostly such: what is left of them goes into the
    next shard, whole.
    """
    found = []
    for flight in flights:
        if flight.abandoned or all(item.request is not request for item in flight.items):
            continue
        left = sum(item.tokens for item in flight.wanted())
        if not left or (2 * left <= flight.padded and flight is not flight.load.flights[0]):
            found.append(flight)
    return found


def _urgent(items: Sequence[PendingItem]) -> bool:
    return items[0].request.lane == INTERACTIVE
