"""Which replicas to move: first so that what waits finds room, then so that whole devices become free.

A plan is moves that can begin together, each beside what is there now: a successor needs its room before the old replica goes.
Where the room that a move leaves lets others move, asking again brings those. Each plan lowers a measure, compared from the first
part on, so that planning and moving come to an end: what waits without room; devices that hold something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xinfer.cluster.device import Device
from xinfer.cluster.ids import DeviceUuid, ModelUid, ReplicaId
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.placement.arrangement import Arrangement, Movable
from xinfer.placement.consolidate import consolidate
from xinfer.placement.wants import Room, Want, wants_of

MAX_MOVES = 1_000
"""Moves of one plan at most."""
TRIES = 256
"""Places that are looked at for one that waits, those with the fewest moves first."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """One replica that should be elsewhere.

    Attributes:
        reserved_bytes: what it holds on each device of ``source``.
        why: what is gained, for people, without a full stop.
    """

    replica_id: ReplicaId
    model_uid: ModelUid
    source: Slot
    target: Slot
    reserved_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Rebalance:
    """What can begin now.

    Attributes:
        unmet: what would still find no room, for people.
        freed: devices that hold nothing once all is done, each as a slot of one.
    """

    moves: tuple[Relocation, ...] = ()
    unmet: tuple[str, ...] = ()
    freed: tuple[Slot, ...] = ()


def plan_rebalance(snapshot: Snapshot, max_moves: int = MAX_MOVES, rooms: Sequence[Room] = ()) -> Rebalance:
    """Moves of unpinned, serving replicas between live workers that nobody drains; reads the snapshot, changes nothing.

    Args:
        rooms: make room for these and leave the rest as it is; without any, for what waits, and if that needs no move, empty devices.
    """
    plan = Arrangement(snapshot)
    held = [uuid for uuid, holders in plan.holders.items() if holders]
    gains: dict[ReplicaId, str] = {}
    unmet = _make_room(plan, wants_of(snapshot, rooms), max_moves, gains)
    if not plan.targets and not rooms:
        emptied = consolidate(plan, max_moves)
        gains = {key: f"leaves {_listed(plan, devices)} free as a whole" for key, devices in emptied.items()}
    freed = tuple(Slot(plan.devices[uuid][0].id, (uuid,)) for uuid in held if not plan.holders[uuid])
    return Rebalance(tuple(_relocation(plan.movable[key], to, gains[key]) for key, to in plan.targets.items()), tuple(unmet), freed)


def _relocation(each: Movable, target: Slot, why: str) -> Relocation:
    return Relocation(each.id, each.model_uid, each.slot, target, each.replica.reserved_bytes, why)


def _listed(plan: Arrangement, devices: Iterable[DeviceUuid]) -> str:
    places = sorted((plan.devices[uuid] for uuid in devices), key=lambda place: (place[0].address, place[1].index))
    return ", ".join(f"{worker.address}@{device.index}" for worker, device in places)


@dataclass(frozen=True, slots=True)
class _Place:
    """Devices of one worker that could hold what waits, once ``victims`` have left them."""

    worker: Worker
    devices: tuple[Device, ...]
    victims: tuple[Movable, ...]

    @property
    def slot(self) -> Slot:
        return Slot(self.worker.id, tuple(device.uuid for device in self.devices))


def _make_room(plan: Arrangement, wants: Sequence[Want], max_moves: int, gains: dict[ReplicaId, str]) -> list[str]:
    """Keep a place for each want, if need be after moves; those for which there is none."""
    unmet: list[str] = []
    hopeless: set[tuple[object, ...]] = set()
    vacant = _Vacancies(plan)
    for want in wants:
        slot = None if want.kind in hopeless else vacant.find(want)
        if slot is not None:
            plan.keep(slot, want.need, want.model_uid or ModelUid(""))
        elif want.kind in hopeless or not _place_for(plan, want, max_moves, gains):
            hopeless.add(want.kind)
            unmet.append(want.text)
    return unmet


class _Vacancies:
    """Where there is room without a move. Wants of one kind go through the workers once, so that thousands that wait cost one pass."""

    def __init__(self, plan: Arrangement) -> None:
        self._plan = plan
        self._reached: dict[tuple[object, ...], int] = {}

    def find(self, want: Want) -> Slot | None:
        """On the first worker that has room; those before it have none any more, but for what moves leave, which the search finds."""
        workers = self._plan.workers
        for at in range(self._reached.get(want.kind, 0), len(workers)):
            self._reached[want.kind] = at
            for place in _places_on(self._plan, workers[at], want, {}) if want.may_go_to(workers[at]) else ():
                if self._plan.later.lacking(place.devices, want.need) is None:
                    return place.slot
        self._reached[want.kind] = len(workers)
        return None


def _place_for(plan: Arrangement, want: Want, max_moves: int, gains: dict[ReplicaId, str]) -> bool:
    for place in _places(plan, want, max_moves)[:TRIES]:
        moved = _cleared(plan, want, place)
        if moved is None:
            continue
        plan.settle(moved)
        gains.update({each.id: f"makes room for {want.text}" for each, _ in moved})
        plan.keep(place.slot, want.need, want.model_uid or ModelUid(""))
        return True
    return False


def _places(plan: Arrangement, want: Want, max_moves: int) -> list[_Place]:
    """Those that could hold it, the fewest moves first."""
    on_device: dict[DeviceUuid, list[Movable]] = {}
    for each in plan.movable.values():
        if each.id not in plan.targets:
            for uuid in each.slot.device_uuids:
                on_device.setdefault(uuid, []).append(each)
    found: list[_Place] = []
    for worker in plan.workers:
        if want.may_go_to(worker):
            found.extend(_places_on(plan, worker, want, on_device))
    found = [place for place in found if len(plan.targets) + len(place.victims) <= max_moves]
    return sorted(found, key=lambda place: (len(place.victims), _bytes_of(place.victims)))


def _places_on(plan: Arrangement, worker: Worker, want: Want, on_device: Mapping[DeviceUuid, Sequence[Movable]]) -> Iterator[_Place]:
    """Its devices that need the fewest moves, then those that come next by that."""
    offers: list[tuple[Device, tuple[Movable, ...]]] = []
    for device in worker.devices:
        victims = _victims(plan, device, want.need, on_device.get(device.uuid, ())) if want.may_take(device) else None
        if victims is not None:
            offers.append((device, victims))
    offers.sort(key=lambda offer: (len(offer[1]), _bytes_of(offer[1]), offer[0].index))
    order = {uuid: place for place, uuid in enumerate(want.pin.device_uuids)} if want.pin is not None else {}
    for start in range(len(offers) - want.n_devices + 1):
        chosen = offers[start : start + want.n_devices]
        devices = tuple(sorted((device for device, _ in chosen), key=lambda device: (order.get(device.uuid, 0), device.index)))
        if not want.alike or len({device.name for device in devices}) == 1:
            yield _Place(worker, devices, tuple({v.id: v for _, victims in chosen for v in victims}.values()))


def _victims(plan: Arrangement, device: Device, need: int, there: Sequence[Movable]) -> tuple[Movable, ...] | None:
    """What has to leave for ``need`` bytes: nothing, the smallest that is enough, or the largest ones; None = all are too little."""
    short = need - plan.later.room(device)
    if short <= 0:
        return ()
    by_size = sorted(there, key=lambda each: (each.replica.reserved_bytes, each.id))
    enough = next((each for each in by_size if each.replica.reserved_bytes >= short), None)
    if enough is not None:
        return (enough,)
    chosen: list[Movable] = []
    while by_size and short > 0:
        chosen.append(by_size.pop())
        short -= chosen[-1].replica.reserved_bytes
    return tuple(chosen) if short <= 0 else None


def _cleared(plan: Arrangement, want: Want, place: _Place) -> list[tuple[Movable, Slot]] | None:
    """Where the victims go, charged already; None, and nothing is charged, where one finds no place or there is no room even then."""
    moved: list[tuple[Movable, Slot]] = []
    for victim in place.victims:
        target = plan.find(victim, place.slot.device_uuids, anywhere=True)
        if target is None:
            break
        plan.arrive(victim, target)
        moved.append((victim, target))
    if len(moved) == len(place.victims):
        later = plan.later.copy() if moved else plan.later
        for victim, _ in moved:
            later.vacate(victim.slot, victim.replica.reserved_bytes, loaded=victim.replica.loaded)
        if later.lacking(place.devices, want.need) is None:
            return moved
    for victim, target in reversed(moved):
        plan.recall(victim, target)
    return None


def _bytes_of(victims: Iterable[Movable]) -> int:
    return sum(victim.replica.reserved_bytes for victim in victims)
