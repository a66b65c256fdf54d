"""Undoing fragmentation: devices that hold little give it to others that hold something already, until no more can be emptied.

Devices that share a replica are emptied together or not at all. What is emptied takes nothing in, and what takes something in has
room for it beside all that is there now, so the moves may run in any order, or all at once. It ends where no device can be
emptied any more, so asking again finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from xinfer.cluster.ids import DeviceUuid, ReplicaId
from xinfer.cluster.slot import Slot
from xinfer.placement.arrangement import Arrangement, Movable

Part = tuple[frozenset[DeviceUuid], tuple[Movable, ...]]
"""Devices that share replicas, and all that stands on them."""


def consolidate(plan: Arrangement, max_moves: int) -> dict[ReplicaId, frozenset[DeviceUuid]]:
    """Empty one part after the other, the one that holds least first; by replica that moves, the devices that this empties.

    Args:
        max_moves: a part for which this is not enough stays as it is.
    """
    empties: dict[ReplicaId, frozenset[DeviceUuid]] = {}
    progress = True
    while progress:
        progress = False
        for devices, standing in sorted(_parts(plan), key=lambda part: _weight(plan, part)):
            ids = {each.id for each in standing}
            if {replica_id for uuid in devices for replica_id in plan.holders[uuid]} != ids:
                continue  # an earlier part has moved something here: the next round looks at it anew
            if len(plan.targets.keys() | ids) > max_moves:
                continue
            if _empty(plan, devices, standing):
                empties.update({each.id: empties.get(each.id, frozenset()) | devices for each in standing})
                progress = True
    return empties


def _parts(plan: Arrangement) -> list[Part]:
    """Only those whose replicas may all move."""
    parts: list[Part] = []
    seen: set[DeviceUuid] = set()
    for first, holders in plan.holders.items():
        if first in seen or not holders:
            continue
        devices, ahead, standing = {first}, [first], dict[ReplicaId, Movable | None]()
        while ahead:
            for replica_id in plan.holders[ahead.pop()]:
                each = standing[replica_id] = plan.movable.get(replica_id)
                more = set(plan.place_of(each).device_uuids) - devices if each is not None else set()
                devices |= more
                ahead.extend(more)
        seen |= devices
        may_go = tuple(each for each in standing.values() if each is not None)
        if len(may_go) == len(standing):
            parts.append((frozenset(devices), may_go))
    return parts


def _weight(plan: Arrangement, part: Part) -> tuple[int, list[tuple[str, int]]]:
    """Bytes to load anew; then by place, so that equal clusters give equal plans."""
    devices, standing = part
    places = sorted((plan.devices[uuid][0].address, plan.devices[uuid][1].index) for uuid in devices)
    return sum(each.demand.bytes_per_device * each.demand.n_devices for each in standing), [(str(a), i) for a, i in places]


def _empty(plan: Arrangement, devices: frozenset[DeviceUuid], standing: Iterable[Movable]) -> bool:
    """A place for each, the largest first, or nothing is done."""
    moved: list[tuple[Movable, Slot]] = []
    for each in sorted(standing, key=lambda each: (-each.demand.bytes_per_device, each.id)):
        target = plan.find(each, devices)
        if target is None:
            for other, place in reversed(moved):
                plan.recall(other, place)
            return False
        plan.arrive(each, target)
        moved.append((each, target))
    plan.settle(moved)
    return True
