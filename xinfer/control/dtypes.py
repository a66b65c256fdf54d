"""The number format of a deployment: what is left open at launch, and how its first replica that loads decides it for good."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from xinfer.catalog.spec import Dtype, ModelSpec
from xinfer.cluster.deployment import Deployment
from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.control.draft import Draft

WAITS = "Waits for the first replica to choose its dtype."
HALVES = frozenset({Dtype.FLOAT16, Dtype.BFLOAT16})

Remembered = Callable[[ModelSpec, str], tuple[Dtype, str] | None]
"""(spec, device name) -> what a replica of this model chose on such a device, and why; or None."""


@dataclass(frozen=True, slots=True)
class DtypeChoice:
    """What a launch knows of the dtype.

    Attributes:
        spec: in the dtype that is decided, or in the first of those that are open.
        open, why: as in ``Deployment``.
    """

    spec: ModelSpec
    open: tuple[Dtype, ...] = ()
    why: str = ""


def choice(spec: ModelSpec, devices: Collection[Device], remembered: Remembered | None = None) -> DtypeChoice:
    """What dtype "auto" comes to on these devices: every one of them must compute in it by itself.

    GPUs take half precision and only check it; CPUs measure whether it pays. What was found on such a device before holds.
    """
    if not spec.auto_dtypes:
        return DtypeChoice(spec)
    offered = (spec.dtype, *spec.auto_dtypes)
    on_gpus = bool(devices) and all(device.kind is DeviceKind.GPU for device in devices)
    if spec.dtype in HALVES and not on_gpus:
        return DtypeChoice(spec.in_dtype(spec.dtype), why="the one this model is published in")
    usable = [dtype for dtype in offered if all(dtype in device.dtypes for device in devices)]
    known = {found for device in devices if (found := remembered(spec, device.name) if remembered else None) is not None}
    if known and len({dtype for dtype, _ in known}) == 1:
        dtype, why = min(known)
        if dtype in usable:
            return DtypeChoice(spec.in_dtype(dtype), why=why)
    halves = _halves(spec.dtype, usable, on_gpus)
    if not halves:
        safe = Dtype.FLOAT32 if Dtype.FLOAT32 in offered else spec.dtype
        return DtypeChoice(spec.in_dtype(safe), why="the devices offer no faster one")
    if Dtype.FLOAT32 not in offered:
        return DtypeChoice(spec.in_dtype(halves[0]), why="the only one offered")
    candidates = (halves[0], Dtype.FLOAT32) if on_gpus else (Dtype.FLOAT32, halves[0])
    return DtypeChoice(spec.in_dtype(candidates[0]), candidates, "")


def _halves(published: Dtype, usable: Sequence[Dtype], on_gpus: bool) -> list[Dtype]:
    """Best first: what the model is published in; then float16, which keeps more digits; CPUs compute in bfloat16 alone."""
    order = (published, Dtype.FLOAT16, Dtype.BFLOAT16) if on_gpus else (Dtype.BFLOAT16,)
    return [dtype for dtype in dict.fromkeys(order) if dtype in HALVES and dtype in usable]


def undecided(draft: Draft, deployment: Deployment) -> bool:
    """A replica is about to choose the dtype, so no other may start."""
    return bool(deployment.dtype_open) and any(replica.phase in STARTING for replica in draft.of_model(deployment.uid))


def hold(draft: Draft, replica: Replica) -> None:
    """A replica waits for its turn; one that has a place keeps it."""
    if replica.phase is Phase.QUEUED:
        draft.put(replace(replica, error=WAITS))


def decide(draft: Draft, deployment: Deployment, dtype: Dtype | None, why: str) -> Deployment:
    """Write down what the first replica chose; None = the dtype that the spec has."""
    spec = deployment.spec.in_dtype(dtype or deployment.spec.dtype)
    after = replace(deployment, spec=spec, dtype_open=(), dtype_why=why)
    draft.put_deployment(after)
    return after


def agrees(draft: Draft, replica: Replica) -> bool:
    """Whether a replica that a worker reports may stay: it runs in the decided dtype, or it is the one to decide."""
    deployment = draft.deployments.get(replica.model_uid)
    if deployment is None:
        return True
    if deployment.dtype_open:
        others = (other for other in draft.of_model(deployment.uid) if other.id != replica.id)
        return not any(other.phase in STARTING for other in others) or replica.phase is Phase.READY
    return (replica.dtype is None and replica.phase is Phase.READY) or replica.dtype == deployment.spec.dtype
