"""Every way to say where replicas go, compiled to one list with one entry per replica.

The spellings are ``slots``, ``replica_config``, ``gpu_idx`` (with ``worker_ip``) and automatic (``n_gpu``, perhaps with
``worker_ip``). They exclude each other, so that no field is ever silently ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xinfer.cluster.ids import WorkerId
from xinfer.cluster.slot import Slot
from xinfer.cluster.worker import Worker
from xinfer.errors import InvalidPlacement
from xinfer.placement import named
from xinfer.schemas.launch import Placement, ReplicaChoice

MAX_REPLICAS = 10_000
AUTO = "auto"
"""Among ``slots``: wherever it fits."""


@dataclass(frozen=True, slots=True)
class PinnedDemand:
    """Where one replica goes; what it needs there is decided elsewhere.

    Attributes:
        n_devices: devices of the replica, at least 1.
        pin: the explicit slot, or None for automatic placement.
        worker_id: restricts automatic placement to one worker; None with a pin.
    """

    n_devices: int = 1
    pin: Slot | None = None
    worker_id: WorkerId | None = None


def compile_pins(placement: Placement, workers: Sequence[Worker]) -> tuple[PinnedDemand, ...]:
    """One entry per replica, in order.

    Args:
        placement: a ``Placement`` or a ``LaunchRequest``.
        workers: all that are known; those that are lost count as absent.

    Raises:
        InvalidPlacement: contradiction, or something named that is not there; one sentence, ``param`` set.
    """
    there = named.present(workers)
    _check_counts(placement)
    _check_one_spelling(placement)
    if placement.slots is not None:
        return _from_slots(placement, placement.slots, there)
    if placement.replica_config is not None:
        return _from_replica_config(placement, placement.replica_config, there)
    if placement.gpu_idx is not None:
        return _from_indices(placement, placement.gpu_idx, there)
    return _automatic(placement, there)


def _check_counts(placement: Placement) -> None:
    if placement.n_worker is not None and placement.n_worker > 1:
        raise InvalidPlacement(
            f"n_worker must be 1, not {placement.n_worker}: one replica over several workers is not offered yet.", param="n_worker"
        )
    if placement.n_worker is not None and placement.n_worker < 1:
        raise InvalidPlacement(f"n_worker must be 1, not {placement.n_worker}.", param="n_worker")
    if placement.replica is not None and not 1 <= placement.replica <= MAX_REPLICAS:
        raise InvalidPlacement(f"replica must be between 1 and {MAX_REPLICAS}, not {placement.replica}.", param="replica")
    _n_gpu(placement.n_gpu)


def _check_one_spelling(placement: Placement) -> None:
    for pins in ("slots", "replica_config"):
        if getattr(placement, pins) is None:
            continue
        for other in ("replica_config", "gpu_idx", "worker_ip"):
            if other != pins and getattr(placement, other) is not None:
                raise InvalidPlacement(f"{pins} says it all, so {other} cannot stand beside it: remove one of them.", param=other)
        if _n_gpu(placement.n_gpu) is not None:
            raise InvalidPlacement(f"{pins} says it all, so n_gpu cannot stand beside it: remove one of them.", param="n_gpu")


def _n_gpu(value: int | Literal["auto"] | None, param: str = "n_gpu") -> int | None:
    """The number that was asked for; None where the choice is ours ("auto", -1, nothing)."""
    if value is None or value == "auto" or value == -1:
        return None
    if value < 1:
        raise InvalidPlacement(f'{param} must be at least 1 or "auto", not {value}.', param=param)
    return value


def _from_slots(placement: Placement, slots: Sequence[str], workers: Sequence[Worker]) -> tuple[PinnedDemand, ...]:
    """``ADDR@0,1`` or ``auto`` each; the address may be IPv6 in brackets, so the last ``@`` divides."""
    if not slots:
        raise InvalidPlacement('slots must have at least one entry such as "10.0.0.2:24002@0".', param="slots")
    if placement.replica is not None and placement.replica != len(slots):
        raise InvalidPlacement(
            f"replica is {placement.replica} but the number of slots is {len(slots)}: give one slot per replica, or leave replica out.",
            param="replica",
        )
    demands = []
    for text in slots:
        if text.strip() == AUTO:
            demands.append(PinnedDemand())
            continue
        address, at, indices = text.strip().rpartition("@")
        if not at or not address:
            raise InvalidPlacement(f"slots must be ADDR@INDEX, ADDR@INDEX,INDEX or auto, not {text[:80]!r}.", param="slots")
        worker = named.find_worker(address, workers, "slots")
        pin = named.slot_of(worker, named.parse_indices(indices, "slots"), "slots")
        demands.append(PinnedDemand(len(pin.device_uuids), pin))
    return tuple(demands)


def _from_replica_config(placement: Placement, config: Sequence[ReplicaChoice], workers: Sequence[Worker]) -> tuple[PinnedDemand, ...]:
    """One entry per replica. ``replica=1`` counts as not said: xinference-client always sends it."""
    if not config:
        raise InvalidPlacement("replica_config must have at least one entry.", param="replica_config")
    if placement.replica is not None and placement.replica not in (1, len(config)):
        raise InvalidPlacement(
            f"replica is {placement.replica} but the length of replica_config is {len(config)}: give one entry per replica.",
            param="replica",
        )
    return tuple(_from_choice(choice, workers) for choice in config)


def _from_choice(choice: ReplicaChoice, workers: Sequence[Worker]) -> PinnedDemand:
    param = "replica_config"
    found = [named.find_worker(part.worker_ip, workers, param) for part in choice.devices]
    worker = found[0]
    if any(other.id != worker.id for other in found):
        raise InvalidPlacement(
            f"{param} puts one replica on several workers, which is not offered yet: its devices must be of one worker.", param=param
        )
    if all(part.gpu_idx is None for part in choice.devices):
        wanted = sum(_n_gpu(part.n_gpu, param) or 1 for part in choice.devices)
        _check_enough(wanted, [worker], param)
        return PinnedDemand(wanted, worker_id=worker.id)
    indices: list[int] = []
    for part in choice.devices:
        if part.gpu_idx is None:
            raise InvalidPlacement(f"{param}: give gpu_idx for all devices of a replica or for none.", param=param)
        own = named.parse_indices(part.gpu_idx, param)
        asked = _n_gpu(part.n_gpu, param)
        if asked is not None and asked != len(own):
            raise InvalidPlacement(
                f"{param}: n_gpu is {asked} but gpu_idx names {len(own)}: make them equal or leave n_gpu out.", param=param
            )
        indices.extend(own)
    pin = named.slot_of(worker, indices, param)
    return PinnedDemand(len(pin.device_uuids), pin)


def _from_indices(placement: Placement, gpu_idx: Sequence[int] | int | str, workers: Sequence[Worker]) -> tuple[PinnedDemand, ...]:
    """``gpu_idx`` in consecutive groups, one per replica."""
    indices = named.parse_indices(gpu_idx, "gpu_idx")
    name = placement.worker_ip
    worker = named.only_worker(workers) if name is None else named.find_worker(name, workers, "worker_ip")
    size = _group_size(len(indices), placement.replica, _n_gpu(placement.n_gpu))
    groups = [indices[start : start + size] for start in range(0, len(indices), size)]
    return tuple(PinnedDemand(size, named.slot_of(worker, group, "gpu_idx")) for group in groups)


def _group_size(given: int, replica: int | None, n_gpu: int | None) -> int:
    """Devices per replica out of ``given`` indices."""
    if n_gpu is None:
        count = replica or 1
        if given % count:
            raise InvalidPlacement(
                f"gpu_idx names {given} devices, which do not divide into {count} replicas: name {count} or a multiple of it.",
                param="gpu_idx",
            )
        return given // count
    if replica is None:
        if given % n_gpu:
            raise InvalidPlacement(f"gpu_idx names {given} devices, which is no multiple of n_gpu {n_gpu}.", param="gpu_idx")
    elif given != replica * n_gpu:
        raise InvalidPlacement(
            f"gpu_idx names {given} devices, but replica {replica} with n_gpu {n_gpu} needs {replica * n_gpu}.", param="gpu_idx"
        )
    return n_gpu


def _automatic(placement: Placement, workers: Sequence[Worker]) -> tuple[PinnedDemand, ...]:
    n_devices = _n_gpu(placement.n_gpu) or 1
    if placement.worker_ip is None:
        worker_id = None
        candidates = workers
    else:
        worker = named.find_worker(placement.worker_ip, workers, "worker_ip")
        worker_id, candidates = worker.id, [worker]
    _check_enough(n_devices, candidates, "n_gpu")
    return (PinnedDemand(n_devices, worker_id=worker_id),) * (placement.replica or 1)


def _check_enough(wanted: int, candidates: Sequence[Worker], param: str) -> None:
    """Without any worker there is nothing to contradict: the plan says that none is there."""
    if not candidates:
        return
    most = max(candidates, key=lambda w: len(w.devices))
    if wanted > len(most.devices):
        where = f"worker {most.address} has" if len(candidates) == 1 else "the largest worker has"
        raise InvalidPlacement(f"{param}: a replica asks for {wanted} devices of one worker, but {where} {len(most.devices)}.", param=param)
