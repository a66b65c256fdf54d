"""What GET /v1/cluster/events streams, and the history of the last minutes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xinfer.schemas.base import Reply
from xinfer.schemas.cluster import DeviceFacts
from xinfer.schemas.models import FileProgress

Kind = Literal["worker", "model", "replica"]
Level = Literal["info", "warning", "error"]


class FeedWorker(Reply):
    """A worker with its devices.

    Attributes:
        state: alive, draining, suspect or lost; ``last_seen``: unix seconds of its last heartbeat when this was written.
    """

    worker_id: str
    address: str
    host: str
    state: str
    last_seen: float
    engines: list[str]
    devices: list[DeviceFacts]


class FeedModel(Reply):
    """A deployment.

    Attributes:
        replica: how many are wanted now; ``min_replica``, ``max_replica``: between which the load decides, equal where it does not.
        pinned: those with a slot of their own, by full id.
        status: ``asleep``, ``stopping``, or "" while it is to run.
    """

    model_uid: str
    model_name: str
    model_type: str
    model_engine: str
    dtype: str
    dtype_why: str = ""
    replica: int
    min_replica: int
    max_replica: int
    status: str = ""
    pinned: list[str] = Field(default_factory=list)
    created_ts: float
    max_tokens: int


class FeedReplica(Reply):
    """A replica.

    Attributes:
        device_uuids: where it is bound; ``seen_uuids``: what its own process reported, the proof.
        used_bytes: measured, on each of ``seen_uuids``.
        since: unix seconds at which this stage of its start began, 0 where it is not starting.
        progress: 0..1 of the whole start.
        retry_at: unix seconds of the next try, 0 where none is due.
    """

    replica_model_uid: str
    replica_id: int
    model_uid: str
    epoch: int
    phase: str
    worker_id: str
    device_uuids: list[str] = Field(default_factory=list)
    seen_uuids: list[str] = Field(default_factory=list)
    reserved_bytes: int
    used_bytes: list[int] = Field(default_factory=list)
    pid: int | None = None
    progress: float = 0.0
    since: float = 0.0
    download_files: list[FileProgress] = Field(default_factory=list)
    restarts: int = 0
    retry_at: float = 0.0
    error_message: str = ""
    error_code: str = ""
    speed: float = 0.0
    dtype: str = ""


class FeedSnapshot(Reply):
    """The SSE event ``snapshot``: all there is; what was known before is void."""

    epoch: int
    number: int
    at: float
    workers: list[FeedWorker]
    models: list[FeedModel]
    replicas: list[FeedReplica]


class FeedChange(Reply):
    """The SSE event ``change``: ``worker``, ``model`` or ``replica`` as it is now; all three null = it is gone.

    Attributes:
        number: grows by one from change to change; the event's id is ``EPOCH-NUMBER``.
        text: one sentence for people, "" for what happens many times a second.
    """

    number: int
    at: float
    kind: Kind
    key: str
    level: Level = "info"
    text: str = ""
    worker: FeedWorker | None = None
    model: FeedModel | None = None
    replica: FeedReplica | None = None


class FeedDeviceReading(Reply):
    """A device; null where it cannot say."""

    uuid: str
    utilization: float | None = None
    free_bytes: int | None = None


class FeedReplicaReading(Reply):
    """A replica over two seconds; ``p50`` and ``p95`` in seconds, from a shard's arrival to its answer."""

    replica_model_uid: str
    queue: int
    calls: float
    items: float
    tokens: float
    busy: float
    p50: float | None = None
    p95: float | None = None


class FeedReading(Reply):
    """The SSE event ``reading``: a worker's devices and replicas, every two seconds. It has no id and is never repeated."""

    worker_id: str
    at: float
    devices: list[FeedDeviceReading]
    replicas: list[FeedReplicaReading]


class EventEntry(Reply):
    """One line of the history."""

    id: str
    at: float
    kind: Kind
    key: str
    model_uid: str = ""
    worker_id: str = ""
    level: Level
    text: str


class EventList(Reply):
    """GET /v1/cluster/history, oldest first; ``complete`` is false where older ones are no longer kept."""

    data: list[EventEntry]
    complete: bool


class ReadingList(Reply):
    """GET /v1/cluster/readings: the newest of each worker that has sent one."""

    data: list[FeedReading]


class Series(Reply):
    """GET /v1/cluster/series: columns of equal length, oldest first; null where nothing was measured.

    Attributes:
        key: what it is of.
        at: unix seconds; a point every two seconds, of the last fifteen minutes.
        values: by name: of a device ``utilization`` (0..1) and ``free_bytes``; of a replica ``queue``, ``calls``, ``items``,
            ``tokens`` (a second), ``busy`` (0..1), ``p50`` and ``p95`` (seconds).
    """

    key: str
    at: list[float]
    values: dict[str, list[float | None]]


class SeriesList(Reply):
    """GET /v1/cluster/series of one worker: its devices by uuid, its replicas by full id."""

    worker_id: str
    devices: list[Series]
    replicas: list[Series]
