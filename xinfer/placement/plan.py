"""Where the replicas of a deployment go: one function for launches, restarts, scaling and dry runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import Device
from xinfer.cluster.ids import WorkerId
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.routes_of import slot_text
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot, floor_of
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.errors import InvalidRequest, NoFit, NoWorker
from xinfer.placement.explain import Failure, explain
from xinfer.placement.filters import Blocked, Obstacle, Refusal, Shortage, refuse_devices, refuse_worker, shortage, worker_blocked
from xinfer.placement.local import LocalUsage
from xinfer.placement.score import Candidate, Ranking, Scorer, Shape


@dataclass(frozen=True, slots=True)
class Placed:
    """One replica and its slot.

    Attributes:
        reserved_bytes: to charge on each device.
        reason: why this slot, for people.
        free_after: least room left on any of its devices once the whole plan is charged, bytes.
    """

    ordinal: int
    slot: Slot
    reserved_bytes: int
    reason: str
    free_after: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A slot for every replica asked for, by ordinal.

    Attributes:
        refusals: devices that were considered for automatic placement and could not have taken a replica, if they were asked for.
    """

    placements: tuple[Placed, ...]
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class NoFitting:
    """Not every replica has a slot.

    Attributes:
        reason: one sentence about the first that has none.
        param: the request field that would have to change, None if none is at fault.
        refusals: every slot considered for that replica, with its reason; without a pin, only if they were asked for.
        placements: what would fit nevertheless, by ordinal.
        no_worker: no worker is alive, so later may be better.
    """

    reason: str
    param: str | None
    refusals: tuple[Refusal, ...]
    placements: tuple[Placed, ...] = ()
    no_worker: bool = False

    def to_error(self) -> NoFit | NoWorker:
        """The error a launch answers with; ``details["refusals"]`` has slot, obstacle, reason and hint of each."""
        refusals: list[dict[str, Any]] = [
            {"slot": r.text, "worker_id": r.slot.worker_id, "obstacle": r.obstacle.value, "reason": r.reason, "hint": r.hint}
            for r in self.refusals
        ]
        if self.no_worker:
            return NoWorker(self.reason, param=self.param, retry_after=5.0, refusals=refusals)
        return NoFit(self.reason, param=self.param, refusals=refusals)


def plan_launch(
    snapshot: Snapshot,
    deployment: Deployment,
    ordinals: Collection[int] | None = None,
    *,
    avoid: Collection[Slot] = (),
    refusals: bool = True,
) -> Plan | NoFitting:
    """A slot for each of ``ordinals``; reads the snapshot, changes nothing.

    Args:
        ordinals: replicas to place anew: their own charges are left out, all others count as they stand.
            None = those that have never had a slot or wait for one.
        avoid: slots that come last, beside those that each replica avoids already.
        refusals: name every device that could not have taken a replica, which takes a look at each; for people.

    Raises:
        InvalidRequest: an ordinal that the deployment does not have.
    """
    floor = floor_of(snapshot)
    own = {r.ordinal: r for r in (floor.table[key] for key in floor.table.of_model(deployment.uid))}
    demands = _demands(deployment, own, ordinals)
    without = frozenset(own[ordinal].id for ordinal, _ in demands if ordinal in own)
    local = LocalUsage(floor, deployment.uid, without)
    return _Planner(snapshot, deployment, local, tuple(avoid), refusals).plan(demands, own)


def _demands(deployment: Deployment, own: dict[int, Replica], ordinals: Collection[int] | None) -> list[tuple[int, Demand]]:
    every = dict(zip(deployment.ordinals, deployment.demands, strict=True))
    if ordinals is None:
        return [(o, d) for o, d in every.items() if o not in own or own[o].phase is Phase.QUEUED]
    unknown = sorted(set(ordinals) - set(every))
    if unknown:
        raise InvalidRequest(f"{deployment.uid} has no replica {unknown[0]}, its replicas are {sorted(every)}.", param="ordinals")
    return [(ordinal, every[ordinal]) for ordinal in sorted(set(ordinals))]


class _Planner:
    """State of one plan: the indices being charged, and a ranking per shape."""

    def __init__(self, snapshot: Snapshot, deployment: Deployment, local: LocalUsage, avoid: tuple[Slot, ...], refusals: bool) -> None:
        self._workers = snapshot.workers
        self._draining = snapshot.draining
        self._deployment = deployment
        self._local = local
        self._avoid = avoid
        self._with_refusals = refusals
        self._scorer = Scorer(local, deployment.uid)
        self._rankings: dict[tuple[Shape, WorkerId | None], Ranking] = {}
        self._refusals: dict[Slot, Refusal] = {}
        self._taken: list[tuple[int, Slot, int, str, tuple[Device, ...]]] = []
        self._failures: list[tuple[int, Demand, Refusal | None]] = []

    def plan(self, demands: list[tuple[int, Demand]], own: Mapping[int, Replica]) -> Plan | NoFitting:
        """The least free to choose go first, so that no automatic replica takes the room of a pin."""
        for demand in {demand for _, demand in demands if demand.pin is None}:
            self._rank(demand)  # before anything is charged, so that refusals speak of the cluster as it stands
        for ordinal, demand in sorted(demands, key=_freedom):
            if demand.pin is not None:
                self._place_pin(ordinal, demand, demand.pin)
            else:
                self._place_freely(ordinal, demand, (*self._avoid, *(own[ordinal].avoid if ordinal in own else ())))
        placements = self._placements()
        if not self._failures:
            return Plan(placements, tuple(self._refusals.values()))
        failure = self._first_failure(len(placements), len(demands))
        reason, param = explain(failure, self._deployment.spec)
        no_worker = not any(worker.state is WorkerState.ALIVE for worker in self._workers.values())
        return NoFitting(reason, param, self._refused(failure), placements, no_worker)

    def _rank(self, demand: Demand) -> None:
        key = _key(demand)
        if key in self._rankings:
            return
        # Nothing that holds this planner: a cycle would keep its copies of large tables until the collector comes by.
        may_take = partial(_may_take, demand.worker_id, self._deployment.spec, self._draining)
        self._rankings[key] = Ranking(self._scorer, key[0], may_take)
        for refusal in self._refuse(demand) if self._with_refusals else ():
            self._refusals.setdefault(refusal.slot, refusal)

    def _blocked(self, worker: Worker) -> Blocked | None:
        return worker_blocked(worker, self._deployment.spec, worker.id in self._draining)

    def _asked(self, demand: Demand) -> list[tuple[Worker, Blocked | None]]:
        """Every worker that comes into question, in the order of addresses, and what shuts all its devices."""
        asked = [worker for worker in self._workers.values() if demand.worker_id in (None, worker.id)]
        return [(worker, self._blocked(worker)) for worker in sorted(asked, key=lambda w: (w.address, w.id))]

    def _refuse(self, demand: Demand) -> Iterator[Refusal]:
        for worker, blocked in self._asked(demand):
            if blocked is not None:
                yield from refuse_worker(worker, blocked)
            else:
                yield from refuse_devices(worker, demand.bytes_per_device, demand.n_devices, self._local.at(worker.id), demand.alike)

    def _place_pin(self, ordinal: int, demand: Demand, pin: Slot) -> None:
        worker = self._workers.get(pin.worker_id)
        devices = [device for uuid in pin.device_uuids if worker and (device := worker.device(uuid))]
        need = demand.bytes_per_device
        if worker is None or len(devices) < len(pin.device_uuids):
            gone = "its worker is not there" if worker is None else "its worker has no such device any more"
            blocked: Blocked | Shortage | None = Blocked(Obstacle.WORKER, gone, "start xinfer-worker there again, or choose another slot")
        elif demand.alike and len(kinds := sorted({device.name for device in devices})) > 1:
            reason = f"{self._deployment.spec.engine} needs devices of one kind, and these are {' and '.join(kinds)}"
            blocked = Blocked(Obstacle.COUNT, reason, "choose devices of one kind")
        elif (blocked := self._blocked(worker)) is None:
            usage = self._local.at(worker.id)
            lacking = usage.lacking(devices, need)
            blocked = None if lacking is None else shortage(lacking, need, usage)
        if blocked is None:
            self._take(ordinal, pin, need, "pinned", devices)
        else:
            self._failures.append((ordinal, demand, Refusal(pin, slot_text(pin, self._workers), blocked)))

    def _place_freely(self, ordinal: int, demand: Demand, avoid: Iterable[Slot]) -> None:
        ranking = self._rankings[_key(demand)]
        candidate = ranking.take(frozenset(uuid for slot in avoid for uuid in slot.device_uuids))
        if candidate is None:
            self._failures.append((ordinal, demand, None))
            return
        slot = Slot(candidate.worker.id, tuple(device.uuid for device in candidate.devices))
        self._take(ordinal, slot, demand.bytes_per_device, _why(candidate), candidate.devices)

    def _take(self, ordinal: int, slot: Slot, need: int, reason: str, devices: Sequence[Device]) -> None:
        self._local.charge(slot, need)
        self._taken.append((ordinal, slot, need, reason, tuple(devices)))

    def _placements(self) -> tuple[Placed, ...]:
        """By ordinal, with the room that is left once all are charged."""
        return tuple(
            Placed(ordinal, slot, need, reason, min(self._local.at(slot.worker_id).room(device) for device in devices))
            for ordinal, slot, need, reason, devices in sorted(self._taken, key=lambda taken: taken[0])
        )

    def _first_failure(self, placed: int, asked: int) -> Failure:
        """Seen from the end of the plan: its own replicas are among what takes the room."""
        ordinal, demand, refusal = min(self._failures, key=_ordinal)
        every = [(worker, blocked) for worker, blocked in self._asked(demand) if worker.devices]
        rooms = [self._local.standing(worker).rooms for worker, blocked in every if blocked is None]
        return Failure(
            ordinal,
            demand,
            refusal,
            tuple(blocked for _, blocked in every),
            placed,
            asked,
            most_room=max((each[0] for each in rooms), default=0),
            most_devices=max((_fitting(each, demand.bytes_per_device) for each in rooms), default=0),
        )

    def _refused(self, failure: Failure) -> tuple[Refusal, ...]:
        """Every slot that was considered for it."""
        if failure.pinned is not None:
            return (failure.pinned,)
        if not self._with_refusals:
            return ()
        if not self._taken and len(self._rankings) == 1:
            return tuple(self._refusals.values())  # nothing has changed since these were found
        return tuple(self._refuse(failure.demand))


def _fitting(rooms: Sequence[int], need: int) -> int:
    """How many of these, which are sorted with the largest first, are large enough."""
    return next((count for count, room in enumerate(rooms) if room < need), len(rooms))


def _ordinal(failure: tuple[int, Demand, Refusal | None]) -> int:
    return failure[0]


def _may_take(asked: str | None, spec: ModelSpec, draining: frozenset[WorkerId], worker: Worker) -> bool:
    return asked in (None, worker.id) and worker_blocked(worker, spec, worker.id in draining) is None


def _key(demand: Demand) -> tuple[Shape, WorkerId | None]:
    return Shape(demand.bytes_per_device, demand.n_devices, demand.alike), None if demand.worker_id is None else WorkerId(demand.worker_id)


def _freedom(entry: tuple[int, Demand]) -> tuple[bool, bool, int, int]:
    """Pins, then one worker's, then many devices, then by ordinal.

    Not by size: within one deployment sizes differ only as they were measured, and a restart should find the same places.
    """
    ordinal, demand = entry
    return demand.pin is None, demand.worker_id is None, -demand.n_devices, ordinal


def _why(candidate: Candidate) -> str:
    score = candidate.score
    where = "device" if len(candidate.devices) == 1 else "devices"
    text = (
        f"{score.on_device} other replicas of the model on the {where}, {score.on_worker} on the worker, "
        f"{candidate.free_fraction:.0%} of the memory free"
    )
    return f"{text}; it failed here before, but nothing else fits" if score.avoided else text
