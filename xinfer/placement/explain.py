"""One sentence that says why a replica has no slot, which field it is about and what would be right."""

from __future__ import annotations

from dataclasses import dataclass

from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.deployment import Demand
from xinfer.cluster.memory import format_bytes
from xinfer.placement.filters import Blocked, Obstacle, Refusal


@dataclass(frozen=True, slots=True)
class Failure:
    """The first replica without a slot, and what stood in its way.

    Attributes:
        pinned: why its pinned slot was refused.
        workers: for each worker with devices that was asked, what bars all of it, or None where devices were looked at.
        placed, asked: replicas of this plan that fit, and all of them.
        most_room: largest room on any device that may be used at all, bytes.
        most_devices: most devices of one worker that have room for it.
    """

    ordinal: int
    demand: Demand
    pinned: Refusal | None
    workers: tuple[Blocked | None, ...]
    placed: int
    asked: int
    most_room: int
    most_devices: int


def explain(failure: Failure, spec: ModelSpec) -> tuple[str, str | None]:
    """(sentence, request field at fault or None)."""
    demand = failure.demand
    if failure.pinned is not None:
        refusal = failure.pinned
        return f"slots: replica {failure.ordinal} cannot go to {refusal.text}: {refusal.reason}; {refusal.hint}.", "slots"
    if not failure.workers:
        if demand.worker_id is not None:
            return f"worker_ip: worker {demand.worker_id} is not there or has no devices.", "worker_ip"
        return "no worker with a device is there: start one with xinfer-worker.", None
    barred = [blocked for blocked in failure.workers if blocked is not None]
    engine = next((blocked for blocked in barred if blocked.obstacle is Obstacle.ENGINE), None)
    if len(barred) == len(failure.workers):
        if engine is None:
            return f"no live worker could take it: {barred[0].reason}; {barred[0].hint}.", None
        return f"model_engine: no worker that could take it has {spec.engine}; {engine.hint}.", "model_engine"
    need = format_bytes(demand.bytes_per_device)
    most = format_bytes(max(0, failure.most_room))
    if demand.n_devices > 1 and failure.most_devices:
        needed = f"{demand.n_devices} devices of one worker with {need} each"
        return f"n_gpu: a replica needs {needed}, and the most that any worker has is {failure.most_devices}.", "n_gpu"
    if failure.placed:
        return (
            f"replica: only {failure.placed} of {failure.asked} fit now, as one more needs {need} on a device and the most that "
            f"any has left is {most}; ask for {failure.placed}, or free memory.",
            "replica",
        )
    return f"memory: a replica needs {need} on a device, and the most that any has room for is {most}.", "memory"
