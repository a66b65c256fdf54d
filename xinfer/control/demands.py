"""What further replicas of a deployment need, and where they may go: an addition, a larger count, a move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import DeviceKind, Division
from xinfer.cluster.memory import redivided
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState
from xinfer.control.lifecycle import no_such_replica, replica_id
from xinfer.errors import InvalidPlacement
from xinfer.placement.compile import PinnedDemand, compile_pins
from xinfer.schemas.launch import Placement


def compile_addition(
    deployment: Deployment, placement: Placement, snapshot: Snapshot, divisions: Mapping[str, Division] = MappingProxyType({})
) -> tuple[Demand, ...]:
    """Demands of further replicas; they need what the present ones need, divided over their own devices.

    Args:
        divisions: by engine that can put one replica on several devices, how it does.

    Raises:
        InvalidPlacement: as ``placement.compile.compile_pins`` and ``division_of``.
    """
    workers = [worker for worker in snapshot.workers.values() if worker.state is not WorkerState.LOST]
    places = compile_pins(placement, workers)
    division = division_of(places, placement, deployment.spec.engine, divisions)
    on_gpus = any(device.kind is DeviceKind.GPU for worker in workers for device in worker.devices)
    kind = DeviceKind.GPU if on_gpus else DeviceKind.CPU
    return tuple(_like_the_others(deployment, place, kind, division) for place in places)


def _like_the_others(deployment: Deployment, place: PinnedDemand, kind: DeviceKind, division: Division | None) -> Demand:
    """Of those on as many devices, the most; else of all, divided anew. What was asked for by name is of each device and stays."""
    every = deployment.demands if deployment.asleep is None else (deployment.asleep,)
    equals = [demand for demand in every if demand.n_devices == place.n_devices]
    most = max(equals or every, key=lambda demand: demand.bytes_per_device, default=Demand(0))
    size = most.bytes_per_device
    if not most.fixed_bytes:
        size = redivided(size, most.n_devices, place.n_devices, kind)
    return demand_of(place, size, most.fixed_bytes, division)


def division_of(places: Sequence[PinnedDemand], placement: Placement, engine: str, divisions: Mapping[str, Division]) -> Division | None:
    """How this engine puts a replica on several devices, which it has to if one of ``places`` asks for them.

    Raises:
        InvalidPlacement: it cannot; naming the field that asks for them.
    """
    most = max((place.n_devices for place in places), default=1)
    if most > 1 and engine not in divisions:
        param = next((name for name in ("slots", "replica_config", "gpu_idx") if getattr(placement, name) is not None), "n_gpu")
        others = f"; model_engine {' or '.join(sorted(divisions))} can" if divisions else ""
        raise InvalidPlacement(f"{param}: {engine} cannot divide a model over {most} devices, give each replica one{others}.", param=param)
    return divisions.get(engine)


def compile_growth(deployment: Deployment, count: int) -> tuple[Demand, ...]:
    """Demands of ``count`` further replicas, placed as freely as those that are there: bound to their worker, but to no slot."""
    every = deployment.demands if deployment.asleep is None else (deployment.asleep,)
    free = [demand for demand in every if demand.pin is None] or list(every)
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


def demand_of(place: PinnedDemand, size: int, fixed: bool, division: Division | None) -> Demand:
    """A place with the memory that is needed there, in bytes per device."""
    alike = division is Division.TENSOR and place.n_devices > 1
    return Demand(size, place.n_devices, place.pin, place.worker_id, fixed, alike)
