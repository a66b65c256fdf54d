"""What further replicas of a deployment need, and where they may go: an addition, a larger count, a move."""

from __future__ import annotations

from dataclasses import replace

from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState
from xinfer.control.lifecycle import no_such_replica, replica_id
from xinfer.errors import InvalidPlacement
from xinfer.placement.compile import PinnedDemand, compile_pins
from xinfer.schemas.launch import Placement


def compile_addition(deployment: Deployment, placement: Placement, snapshot: Snapshot) -> tuple[Demand, ...]:
    """Demands of further replicas; they need what the present ones need.

    Raises:
        InvalidPlacement: as ``placement.compile.compile_pins``.
    """
    workers = [worker for worker in snapshot.workers.values() if worker.state is not WorkerState.LOST]
    most = max(deployment.demands, key=lambda demand: demand.bytes_per_device, default=Demand(0))
    return tuple(demand_of(place, most.bytes_per_device, most.fixed_bytes) for place in compile_pins(placement, workers))


def compile_growth(deployment: Deployment, count: int) -> tuple[Demand, ...]:
    """Demands of ``count`` further replicas, placed as freely as those that are there: bound to their worker, but to no slot."""
    free = [demand for demand in deployment.demands if demand.pin is None] or list(deployment.demands)
    most = max(free, key=lambda demand: demand.bytes_per_device, default=Demand(0))
    return (replace(most, pin=None),) * count


def compile_move(deployment: Deployment, moved: str, placement: Placement, snapshot: Snapshot) -> Demand:
    """Where one replica is to go; it needs there what it needs now. Without a place named, anywhere its worker's bounds allow.

    Raises:
        ReplicaNotFound: it is none of this deployment; InvalidPlacement: as ``placement.compile.compile_pins``, or not for one replica.
    """
    own = next((d for o, d in zip(deployment.ordinals, deployment.demands, strict=True) if replica_id(deployment.uid, o) == moved), None)
    if own is None:
        raise no_such_replica(deployment, moved)
    workers = [worker for worker in snapshot.workers.values() if worker.state is not WorkerState.LOST]
    named = placement.slots is not None or placement.replica_config is not None or placement.gpu_idx is not None
    asked = placement if named or placement.n_gpu is not None else placement.model_copy(update={"n_gpu": own.n_devices})
    places = compile_pins(asked, workers)
    if len(places) != 1:
        raise InvalidPlacement(f"slots must name one slot, as one replica moves, not {len(places)}.", param="slots")
    (place,) = places
    if place.n_devices != own.n_devices:
        raise InvalidPlacement(f"slots: {moved} runs on {own.n_devices} devices, not {place.n_devices}: name as many.", param="slots")
    if place.pin is None and own.pin is not None:
        raise InvalidPlacement(f"slots: {moved} is pinned: name the slot that it is to move to.", param="slots")
    return replace(own, pin=place.pin, worker_id=None if place.pin is not None else place.worker_id or own.worker_id)


def demand_of(place: PinnedDemand, size: int, fixed: bool) -> Demand:
    """A place with the memory that is needed there, in bytes per device."""
    return Demand(bytes_per_device=size, n_devices=place.n_devices, pin=place.pin, worker_id=place.worker_id, fixed_bytes=fixed)
