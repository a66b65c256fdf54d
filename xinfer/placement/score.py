"""Which of the slots that fit is best.

The score is lexicographic, lower is better: failed there before, replicas of the model on the devices, on the worker, the
part of the memory that is in use, then (worker, device index).

Candidates are kept as one heap entry per worker, which begins as a bound that the worker's standing gives: no group of its
devices is better. A charge makes every group of that worker worse (one more replica of the model there, less room), never
better, so an entry can be trusted to be at least as good as its worker really is: take the top, score it anew, and put it back
if it has sunk. Workers without the model come to the heap in the floor's order, as far as they are needed. One plan thus costs
a look at the workers that hold the model and at few others per replica, however many there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from xinfer.cluster.device import Device
from xinfer.cluster.floor import Rank
from xinfer.cluster.ids import Address, DeviceUuid, ModelUid, WorkerId
from xinfer.cluster.ledger import Usage
from xinfer.cluster.worker import Worker
from xinfer.placement.local import LocalUsage


class Score(NamedTuple):
    """Lower is better; compared from the first field on."""

    avoided: bool
    on_device: int
    on_worker: int
    memory: float
    address: Address
    worker_id: WorkerId
    first_index: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a candidate must offer.

    Attributes:
        need: bytes on each device.
        n_devices: devices on one worker.
        alike: of one name.
    """

    need: int
    n_devices: int = 1
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """The best group of devices of one worker, in index order."""

    score: Score
    worker: Worker
    devices: tuple[Device, ...]
    free_fraction: float


class Scorer:
    """Scores groups of devices for replicas of one model; counts what it looks at."""

    __slots__ = ("_model_uid", "local", "looked_at")

    def __init__(self, local: LocalUsage, model_uid: ModelUid) -> None:
        self.local = local
        self._model_uid = model_uid
        self.looked_at = 0
        """Devices scored so far: the cost of the plan."""

    def bound(self, worker: Worker, shape: Shape) -> Score | None:
        """No group on this worker scores better; None if surely none fits."""
        standing, local = self.local.standing(worker), self.local
        if len(standing.rooms) < shape.n_devices or standing.rooms[shape.n_devices - 1] < shape.need:
            return None
        on_device, on_worker = 0, local.on_worker.get(worker.id, 0)
        if on_worker:
            counts = sorted(local.on_device.get(device.uuid, 0) for device in worker.devices)
            on_device = sum(counts[: shape.n_devices])
        return Score(False, on_device, on_worker, -standing.widest, worker.address, worker.id, 0)

    def best(self, worker: Worker, shape: Shape, avoid: frozenset[DeviceUuid] = frozenset()) -> Candidate | None:
        """The best group on this worker, None if none fits."""
        usage, model_uid = self.local.at(worker.id), self._model_uid
        self.looked_at += len(worker.devices)
        fitting: list[tuple[bool, int, float, int, Device]] = []
        for device in worker.devices:
            room = usage.room(device)
            if room >= shape.need:
                filled = -room / max(device.total_bytes, 1)
                fitting.append((device.uuid in avoid, usage.on_device(device.uuid, model_uid), filled, device.index, device))
        if len(fitting) < shape.n_devices:
            return None
        chosen = [min(fitting, key=_device_key)] if shape.n_devices == 1 else self._group(usage, fitting, shape)
        if not chosen:
            return None
        worst = max(entry[2] for entry in chosen)
        score = Score(
            avoided=any(entry[0] for entry in chosen),
            on_device=sum(entry[1] for entry in chosen),
            on_worker=usage.on_worker(worker.id, model_uid),
            memory=worst,
            address=worker.address,
            worker_id=worker.id,
            first_index=min(entry[3] for entry in chosen),
        )
        devices = tuple(sorted((entry[4] for entry in chosen), key=_index))
        return Candidate(score, worker, devices, abs(worst))

    @staticmethod
    def _group(
        usage: Usage, fitting: list[tuple[bool, int, float, int, Device]], shape: Shape
    ) -> list[tuple[bool, int, float, int, Device]]:
        """The best devices that fit together; empty if too few do (those of one memory domain share what is free)."""
        fitting.sort(key=_device_key)
        together = usage.together((entry[4] for entry in fitting), shape.need, shape.n_devices, shape.alike)
        if len(together) < shape.n_devices:
            return []
        return [entry for entry in fitting if entry[4] in together]


class Ranking:
    """The workers that can take one shape, best first, while the usage underneath is being charged."""

    __slots__ = ("_ahead", "_far", "_heap", "_may_take", "_scorer", "_shape")

    def __init__(self, scorer: Scorer, shape: Shape, may_take: Callable[[Worker], bool]) -> None:
        """``may_take``: whether the devices of a worker may be asked at all."""
        self._scorer = scorer
        self._shape = shape
        self._may_take = may_take
        self._heap: list[tuple[Score, Worker]] = []
        self._far = scorer.local.far()
        for worker in scorer.local.near():
            self._put(worker)
        self._ahead = next(self._far, None)

    def take(self, avoid: frozenset[DeviceUuid] = frozenset()) -> Candidate | None:
        """The best candidate as things stand, None if nothing fits any more.

        Devices in ``avoid`` count only if nothing else fits. The caller charges the usage with what it takes.
        """
        popped: list[Candidate] = []
        found: list[Candidate] = []
        while (top := self._pop()) is not None:
            popped.append(top)
            if not avoid or not any(device.uuid in avoid for device in top.worker.devices):
                found.append(top)
                break
            # The heap ranks this worker without regard to avoid, which can only make it worse: score it apart, look on.
            other = self._scorer.best(top.worker, self._shape, avoid)
            if other is not None:
                found.append(other)
        for candidate in popped:
            heapq.heappush(self._heap, (candidate.score, candidate.worker))
        return min(found, key=_score, default=None)

    def _pop(self) -> Candidate | None:
        """The top of the heap with its true score; workers that have no room left are dropped for good."""
        while (top := self._top()) is not None:
            _, worker = heapq.heappop(self._heap)
            candidate = self._scorer.best(worker, self._shape)
            if candidate is None:
                continue
            top = self._top()
            if top is None or candidate.score <= top:
                return candidate
            heapq.heappush(self._heap, (candidate.score, worker))
        return None

    def _top(self) -> Score | None:
        """No worker that is left scores better; brings all to the heap that might."""
        while self._ahead is not None and (not self._heap or _bound(self._ahead[0]) <= self._heap[0][0]):
            self._put(self._ahead[1])
            self._ahead = next(self._far, None)
        return self._heap[0][0] if self._heap else None

    def _put(self, worker: Worker) -> None:
        bound = self._scorer.bound(worker, self._shape)
        if bound is not None and self._may_take(worker):
            heapq.heappush(self._heap, (bound, worker))


def _bound(rank: Rank) -> Score:
    """No worker of this rank or behind it that does not hold the model scores better."""
    return Score(False, 0, 0, *rank, 0)


def _device_key(entry: tuple[bool, int, float, int, Device]) -> tuple[bool, int, float, int]:
    return entry[:4]


def _index(device: Device) -> int:
    return device.index


def _score(candidate: Candidate) -> Score:
    return candidate.score
