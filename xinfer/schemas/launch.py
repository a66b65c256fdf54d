"""Launch and plan bodies. Unknown fields are refused: a typo must never turn a pin into automatic placement."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic_core import PydanticCustomError


def _no_truth(value: Any) -> Any:
    """Pydantic would take ``true`` for device 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a whole number")
    return value


Index = Annotated[int, BeforeValidator(_no_truth)]
"""A device's place on its worker."""


Count = Annotated[int, BeforeValidator(_no_truth)]
"""How many of something."""


class Strict(BaseModel):
    """Base of management bodies."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class DeviceChoice(Strict):
    """One entry of ``replica_config[].devices``: devices of one worker for one replica."""

    worker_ip: str
    gpu_idx: list[Index] | Index | None = None
    n_gpu: int | Literal["auto"] | None = None


class ReplicaChoice(Strict):
    """One replica of ``replica_config``."""

    replica_uid: str | None = None
    devices: list[DeviceChoice] = Field(min_length=1)


class Placement(Strict):
    """Every way to say where replicas go; all compile to one explicit slot list.

    Attributes:
        replica: replica count; defaults to 1, or to the number of pins.
        n_gpu: devices per replica (Xinference also sends "auto").
        gpu_idx: indices on ``worker_ip`` (or on the only worker).
        worker_ip: ``ip`` or ``ip:port``.
        replica_config: one entry per replica.
        slots: ``ADDR@0``, ``ADDR@0,1`` or ``auto``, one per replica.
        n_worker: workers per replica; only 1 is offered.
    """

    replica: int | None = None
    n_gpu: int | Literal["auto"] | None = None
    gpu_idx: list[Index] | Index | str | None = None
    worker_ip: str | None = None
    replica_config: list[ReplicaChoice] | None = None
    slots: list[str] | None = None
    n_worker: int | None = None


class LaunchRequest(Placement):
    """POST /v1/models and POST /v1/plan."""

    model_name: str | None = None
    model_path: str | None = None
    model_type: str | None = None
    model_uid: str | None = None
    model_engine: str | None = None
    model_format: str | None = None
    quantization: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    download_hub: Literal["huggingface", "modelscope", "pypi"] | None = None
    min_replica: int | None = None
    """The load decides between this and ``max_replica``; 0 lets the model sleep when it is idle, a request wakes it."""
    max_replica: int | None = None
    idle_seconds: float | None = None
    """Without a request until a model with ``min_replica`` 0 sleeps."""
    trust_remote_code: bool = False
    packages: list[str] | None = None
    """Requirements (``transformers==4.57.*``) that this model's replicas see before what their worker has installed."""
    memory: str | int | None = None
    """Bytes (or "2GiB") to reserve per replica and device instead of the estimate."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options that the chosen engine declares; the wire also takes them at top level."""
    _top_level: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def top_level(self) -> frozenset[str]:
        """Those of ``options`` that came at top level; one that no engine declares is then called an unknown field."""
        return self._top_level


class PlannedReplica(Strict):
    """One replica of a plan.

    Attributes:
        pinned: the request names its slot, be it in ``slots`` or by ``worker_ip`` and ``gpu_idx``.
    """

    ordinal: int
    slot: str
    worker_id: str
    worker_address: str
    gpu_idx: list[int]
    device_uuids: list[str]
    device_names: list[str]
    reserved_bytes: int
    free_after_bytes: int
    why: str
    pinned: bool = False


class RefusedSlot(Strict):
    """A device that could not take the replica, the reason and what would help."""

    slot: str
    reason: str
    hint: str = ""


class PlannedMove(Strict):
    """One replica that should be elsewhere.

    Attributes:
        slot, to_slot: where it is and where it is to go, ``ADDR@0``.
        reserved_bytes: what it holds on each device of ``slot``.
        successor: id of the replica that takes its place once it is ready; null where nothing was begun.
    """

    model_uid: str
    replica_model_uid: str
    slot: str
    to_slot: str
    reserved_bytes: int
    why: str
    successor: str | None = None


class PlanReply(Strict):
    """POST /v1/plan: what a launch would do, from the very function that launches use.

    Attributes:
        moves: of other models' replicas, which would make room where it does not fit; ``hint`` says how to have them moved.
    """

    fits: bool
    model_uid: str
    model_name: str
    model_engine: str
    dtype: str
    memory_per_device_bytes: int
    replicas: list[PlannedReplica]
    refused: list[RefusedSlot]
    reason: str = ""
    hint: str = ""
    moves: list[PlannedMove] = Field(default_factory=list)
