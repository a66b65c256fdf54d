"""Listings of models and replicas, and the small bodies of their management."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xinfer.schemas.base import Reply
from xinfer.schemas.launch import Placement, ReplicaChoice, Strict


class LaunchReply(Reply):
    """POST /v1/models."""

    model_uid: str


class ModelEntry(Reply):
    """One running (or starting) model.

    Attributes:
        id: the uid that requests send as ``model``.
        model_type: "rerank", "embedding" or "LLM"; clients choose their handle class by it.
        replica: how many were asked for; ``ready_replicas`` take work.
        min_replica, max_replica: between which the load decides; both are ``replica`` where people do.
        idle_seconds: without a request until it sleeps; null = never.
        wanted_replica: how many the load asks for, room or not; ``load`` in windows of one replica.
        scaling_why: the last change and its cause, or why it cannot be made.
        status: CREATING, READY, UPDATING (some replicas are not ready), ASLEEP, TERMINATING or ERROR.
        dtype: "auto" until the first replica has chosen; ``dtype_why`` says how it was chosen, "" if it was asked for.
        packages: requirements that its replicas see beside what their workers have.
        accelerators: device indices of all replicas, as strings.
        dimensions: length of an embedding vector, 0 where it is not known.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "xinfer"
    model_uid: str
    model_name: str
    model_type: str
    model_ability: list[str]
    model_engine: str
    model_format: str
    quantization: str
    dtype: str
    dtype_why: str = ""
    packages: list[str] = Field(default_factory=list)
    model_lang: list[str] = Field(default_factory=list)
    model_description: str = ""
    replica: int
    ready_replicas: int = 0
    min_replica: int = 0
    max_replica: int = 0
    idle_seconds: float | None = None
    wanted_replica: int = 0
    load: float = 0.0
    scaling_why: str = ""
    status: str
    error_message: str = ""
    context_length: int
    max_tokens: int
    dimensions: int = 0
    address: str = ""
    accelerators: list[str] = Field(default_factory=list)
    created_ts: int = 0


class ModelList(Reply):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class DeviceEntry(Reply):
    """A device as the replica's own process reports it; ``index`` is its place on the worker."""

    kind: str
    index: int | None
    uuid: str
    name: str


class ReplicaEntry(Reply):
    """One replica.

    Attributes:
        replica_id: its number in the deployment, never used twice.
        replica_model_uid: its full id; both spellings are accepted in paths.
        status: Xinference's word; ``phase`` is ours and finer.
        slot: ``ADDR@0``, or "" while it has none.
        device: what it reported once loaded, null before.
        queue: items waiting or running there, null where it did not answer in time; ``in_flight`` is the same in tokens.
        documents, tokens, busy_seconds: since it became ready; documents or texts, true tokens, wall time inside the model.
    """

    replica_id: int
    replica_model_uid: str
    replica_uid: str
    worker_address: str
    model_address: str
    accelerators: list[str]
    gpu_idx: list[int]
    status: str
    created_ts: int
    error_message: str
    error_code: str = ""
    pid: int | None = None
    slot: str = ""
    device: DeviceEntry | None = None
    devices: list[DeviceEntry] = Field(default_factory=list)
    phase: str = ""
    progress: float = 0.0
    restarts: int = 0
    engine: str = ""
    dtype: str = ""
    reserved_bytes: int = 0
    used_bytes: int = 0
    speed: float = 0.0
    queue: int | None = None
    in_flight: int | None = None
    documents: int | None = None
    tokens: int | None = None
    busy_seconds: float | None = None


class InstanceEntry(Reply):
    """GET /v1/models/instances."""

    model_uid: str
    model_name: str
    model_ability: list[str]
    replica: int
    status: str
    instance_created_ts: int
    n_worker: int
    replica_statuses: list[ReplicaEntry]


class FileProgress(Reply):
    """One file on its way; ``total_bytes`` is 0 while unknown."""

    name: str
    done_bytes: int
    total_bytes: int


class ReplicaProgress(Reply):
    """How far one replica's start has come."""

    replica_id: int
    replica_model_uid: str
    slot: str
    stage: str
    progress: float
    status: str
    error_message: str = ""
    download_files: list[FileProgress] = Field(default_factory=list)


class ProgressReply(Reply):
    """GET /v1/models/{uid}/progress: the mean over replicas, and the stage of the one furthest behind; the dtype as in ModelEntry."""

    progress: float
    stage: str
    dtype: str = ""
    dtype_why: str = ""
    download_files: list[FileProgress]
    replicas: list[ReplicaProgress]


class AddReplicasRequest(Placement):
    """POST /v1/models/{uid}/replicas; ``replica_config`` may be one object."""

    replica_config: list[ReplicaChoice] | ReplicaChoice | None = None  # type: ignore[assignment]
    model_engine: str | None = None

    def placement(self) -> Placement:
        """The same without the two liberties of this endpoint."""
        given = self.model_dump(exclude={"replica_config", "model_engine"})
        config = self.replica_config
        return Placement(**given, replica_config=[config] if isinstance(config, ReplicaChoice) else config)


class AddedReplica(Reply):
    """One replica that was added."""

    replica_id: int
    replica_model_uid: str
    worker_address: str


class AddReplicasReply(Reply):
    """One added replica at top level, or several in ``replicas``."""

    replica: int = 1
    replicas: list[AddedReplica] = Field(default_factory=list)
    replica_id: int | None = None
    replica_model_uid: str | None = None
    worker_address: str | None = None


class RemoveReplicaReply(Reply):
    """DELETE /v1/models/{uid}/replicas/{id}."""

    remaining_replicas: int


class LogsReply(Reply):
    """GET /v1/models/{uid}/replicas/{id}/logs: a part of its stderr, of earlier lives too.

    Attributes:
        worker_id: where that was written; "" for what the supervisor kept of a replica whose worker cannot be asked.
        position: in bytes; ``after`` of a request for what is written next, together with ``worker_id``.
    """

    replica_model_uid: str
    worker_id: str
    position: int
    text: str


class ScaleRequest(Strict):
    """POST /v1/models/{uid}/scale: how many replicas there are to be now, and between how many the load decides from now on.

    Attributes:
        min_replica: 0 lets the model sleep after ``idle_seconds`` without a request; equal to ``max_replica``, the count is fixed.
    """

    replica: int | None = None
    min_replica: int | None = None
    max_replica: int | None = None
    idle_seconds: float | None = None


class ScaleReply(Reply):
    """What was started and what is let go, by full id; ``replica`` is what is wanted now, the load may change it within the bounds."""

    model_uid: str
    replica: int
    min_replica: int = 0
    max_replica: int = 0
    added: list[str] = Field(default_factory=list)
    removed: list[str] = Field(default_factory=list)


class MoveReply(AddedReplica):
    """POST /v1/models/{uid}/replicas/{id}/move: the replica that takes the place of ``moved`` once it is ready."""

    slot: str
    moved: str


class ReadyReply(Reply):
    """GET /v1/models/{uid}/ready."""

    model_uid: str
    ready: bool


class LaunchEntry(Reply):
    """A launch that was accepted.

    Attributes:
        at: unix seconds.
        request: its body, to be sent again.
    """

    id: int
    at: float
    model_uid: str
    request: dict[str, Any]


class LaunchList(Reply):
    """GET /v1/launches, newest first; the last 200 are kept."""

    data: list[LaunchEntry]


class RegistrationRequest(Strict):
    """POST /v1/model_registrations/{type}: ``model`` is a JSON text."""

    model: str
    worker_ip: str | None = None
    persist: bool = False


class RegistrationEntry(Reply):
    """GET /v1/model_registrations/{type}; the family's own fields follow where details are asked for."""

    model_name: str
    is_builtin: bool
    model_type: str = ""
    details: dict[str, Any] = Field(default_factory=dict)
