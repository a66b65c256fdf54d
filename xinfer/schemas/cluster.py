"""Listings of the cluster: workers × devices × replicas."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from xinfer.schemas.base import Lenient, Reply
from xinfer.schemas.launch import Count, PlannedMove, Strict


class SlotReplica(Reply):
    """A replica as one of its devices sees it; ``used_bytes`` is what it measured there itself."""

    replica_id: int
    replica_model_uid: str
    model_uid: str
    phase: str
    pid: int | None
    reserved_bytes: int
    used_bytes: int
    error_message: str = ""


class DeviceFacts(Reply):
    """What a device is; ``slot`` is how pins are written, ``ADDR@0``."""

    slot: str
    index: int
    kind: str
    uuid: str
    name: str
    total_bytes: int
    cores: list[int] = Field(default_factory=list)


class SlotDevice(DeviceFacts):
    """One device, with what it holds.

    Attributes:
        reserved_bytes: what the ledger charges to it.
        free_bytes: what one more replica could take, by the ledger.
        observed_free_bytes: what the driver says, null where unknown.
        utilization: 0..1, null where the device cannot say.
    """

    reserved_bytes: int
    free_bytes: int
    observed_free_bytes: int | None = None
    utilization: float | None = None
    replicas: list[SlotReplica]


class SlotWorker(Reply):
    """One worker with its devices."""

    worker_id: str
    address: str
    host: str
    state: str
    engines: list[str]
    devices: list[SlotDevice]


class SlotsReply(Reply):
    """GET /v1/cluster/slots; ``waiting`` lists replicas that have no slot, with the reason."""

    workers: list[SlotWorker]
    waiting: list[SlotReplica] = Field(default_factory=list)


class DrainRequest(Strict):
    """POST /v1/workers/{worker}/drain; with ``undo`` the worker may be used again."""

    undo: bool = False


class DrainReply(Reply):
    """How far a worker is from being empty; GET shows it go on.

    Attributes:
        leaving: replicas that move away or end, by full id.
        reasons: why some of them cannot leave now; they are tried again.
        staying: replicas that are pinned there or bound to this worker by name; they serve on until somebody moves them.
    """

    worker_id: str
    address: str
    draining: bool
    leaving: list[str] = Field(default_factory=list)
    staying: list[str] = Field(default_factory=list)
    reasons: dict[str, str] = Field(default_factory=dict)


class RebalanceRequest(Strict):
    """POST /v1/cluster/rebalance.

    Attributes:
        dry_run: name the moves, begin none.
        max_moves: at most so many; of what would take more, none is begun.
        memory: make room for a replica that needs so much on each device ("20GiB" or bytes), and do nothing else.
        n_gpu, replica, model_engine: its devices, how many such replicas, and the engine that their workers must have.
    """

    dry_run: bool = False
    max_moves: Count = 1_000
    memory: str | int | None = None
    n_gpu: Count | None = None
    replica: Count | None = None
    model_engine: str | None = None


class RebalanceReply(Reply):
    """The moves that can begin together.

    Attributes:
        freed: slots that hold nothing once all is done, ``ADDR@0``.
        unmet: what would still find no room.
    """

    dry_run: bool
    moves: list[PlannedMove] = Field(default_factory=list)
    freed: list[str] = Field(default_factory=list)
    unmet: list[str] = Field(default_factory=list)


class UpgradeReply(Reply):
    """POST /v1/workers/{worker}/upgrade: the code that ran there before and runs there now.

    Attributes:
        kept: replicas whose processes went on, by full id.
        restarted: those that ended with it and are started again.
    """

    worker_id: str
    address: str
    version_before: str
    version: str
    kept: list[str] = Field(default_factory=list)
    restarted: list[str] = Field(default_factory=list)


class AuthReply(Reply):
    """GET /v1/cluster/auth: every Xinference client asks it first."""

    auth: bool


class VersionReply(Reply):
    """GET /v1/cluster/version."""

    version: str


class NodeEntry(Reply):
    """GET /v1/cluster/info: one entry per supervisor and worker; bytes where memory is meant."""

    node_type: str
    ip_address: str
    address: str
    host: str = ""
    state: str
    gpu_count: int
    gpu_vram_total: int
    gpu_vram_available: int
    cpu_count: int
    device_count: int


class WorkerEntry(BaseModel):
    """GET /v1/workers.

    Attributes:
        work_ip: its address; on the wire ``work-ip``, which is how Xinference spells it.
        version: of the code that runs there; ``started_at``: unix seconds at which it was taken up.
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    work_ip: str = Field(alias="work-ip")
    models: list[str]
    worker_id: str = ""
    host: str = ""
    state: str = ""
    engines: list[str] = Field(default_factory=list)
    device_count: int = 0
    version: str = ""
    started_at: float = 0.0
    pid: int = 0


class SupervisorReply(Reply):
    """GET /v1/supervisor."""

    supervisor_ip: str


class StatusReply(Reply):
    """GET /status; seconds since this API process started."""

    uptime: float
    workers: dict[str, dict[str, Any]]


class HealthReply(Reply):
    """GET /healthz and /readyz."""

    status: str


class TokenRequest(Lenient):
    """POST /token."""

    username: str = ""
    password: str = ""


class TokenReply(Reply):
    """POST /token."""

    access_token: str
    token_type: str = "bearer"


class CacheReply(Reply):
    """GET /v1/cache/models."""

    list: list[dict[str, Any]]


class AbortReply(Reply):
    """How many calls of that request id were running here and are cancelled."""

    aborted: int
