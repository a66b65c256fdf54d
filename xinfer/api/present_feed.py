"""Bodies of the event stream from the cluster's nouns, and one sentence for each change. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from xinfer.api.present import dtype_of
from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import WorkerId
from xinfer.cluster.journal import Change, Kind, Member
from xinfer.cluster.reading import DeviceReading, Reading, ReplicaReading
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState
from xinfer.control.lifecycle import replica_id
from xinfer.schemas.cluster import DeviceFacts
from xinfer.schemas.feed import (
    EventEntry,
    FeedChange,
    FeedDeviceReading,
    FeedModel,
    FeedReading,
    FeedReplica,
    FeedReplicaReading,
    FeedSnapshot,
    FeedWorker,
    Level,
    Series,
    SeriesList,
)
from xinfer.schemas.models import FileProgress


def snapshot(it: Snapshot, number: int, now: float) -> FeedSnapshot:
    """The whole cluster, workers by address, models by age, replicas by number."""
    members = [Member(w, w.id in it.draining) for w in sorted(it.workers.values(), key=lambda w: w.address)]
    models = sorted(it.deployments.values(), key=lambda d: (d.created_at, d.uid))
    replicas = sorted(it.replicas.values(), key=lambda r: (r.model_uid, r.ordinal))
    return FeedSnapshot(
        epoch=it.epoch,
        number=number,
        at=now,
        workers=[worker(m) for m in members],
        models=[model(d) for d in models],
        replicas=[replica(r) for r in replicas],
    )


def worker(it: Member) -> FeedWorker:
    """A worker without what its devices hold: that is told by the replicas."""
    w = it.worker
    return FeedWorker(
        worker_id=w.id,
        address=w.address,
        host=w.host,
        state=_state(it),
        last_seen=w.last_seen,
        engines=sorted(w.engines),
        devices=[
            DeviceFacts(
                slot=f"{w.address}@{d.index}",
                index=d.index,
                kind=d.kind.value,
                uuid=d.uuid,
                name=d.name,
                total_bytes=d.total_bytes,
                cores=list(d.cores),
            )
            for d in sorted(w.devices, key=lambda d: d.index)
        ],
    )


def _state(it: Member) -> str:
    return "draining" if it.draining and it.worker.state is not WorkerState.LOST else it.worker.state.value


def model(it: Deployment) -> FeedModel:
    """What was asked for."""
    return FeedModel(
        model_uid=it.uid,
        model_name=it.spec.name,
        model_type=it.spec.type.value,
        model_engine=it.spec.engine,
        dtype=dtype_of(it.spec, bool(it.dtype_open)),
        dtype_why=it.dtype_why,
        replica=it.wanted,
        min_replica=it.scaling.min_replica if it.scaling else it.wanted,
        max_replica=it.scaling.max_replica if it.scaling else it.wanted,
        status="asleep" if it.asleep is not None else "stopping" if it.stopping else "",
        pinned=[replica_id(it.uid, o) for o, demand in zip(it.ordinals, it.demands, strict=True) if demand.pin is not None],
        created_ts=it.created_at,
        max_tokens=it.spec.max_tokens,
    )


def replica(it: Replica) -> FeedReplica:
    """One replica, with the reason where it is down."""
    return FeedReplica(
        replica_model_uid=it.id,
        replica_id=it.ordinal,
        model_uid=it.model_uid,
        epoch=it.epoch,
        phase=it.phase.value,
        worker_id=it.slot.worker_id if it.slot else "",
        device_uuids=list(it.slot.device_uuids) if it.slot else [],
        seen_uuids=[r.uuid for r in it.reports],
        reserved_bytes=it.reserved_bytes,
        used_bytes=[r.used_bytes for r in it.reports],
        pid=it.pid,
        progress=1.0 if it.phase is Phase.READY else it.progress.fraction if it.phase in STARTING else 0.0,
        since=it.progress.since if it.phase in STARTING else 0.0,
        download_files=[FileProgress(name=n, done_bytes=d, total_bytes=t) for n, d, t in it.progress.files],
        restarts=it.restarts,
        retry_at=it.retry_at if it.phase is Phase.BACKOFF else 0.0,
        error_message=it.error,
        error_code=it.error_code,
        speed=it.speed,
        dtype=it.dtype.value if it.dtype else "",
    )


def change(it: Change) -> FeedChange:
    """One numbered change."""
    level, text = said(it)
    after = it.after
    return FeedChange(
        number=it.number,
        at=it.at,
        kind=it.kind.value,
        key=it.key,
        level=level,
        text=text,
        worker=worker(after) if isinstance(after, Member) else None,
        model=model(after) if isinstance(after, Deployment) else None,
        replica=replica(after) if isinstance(after, Replica) else None,
    )


def reading(worker_id: WorkerId, it: Reading) -> FeedReading:
    """One reading of one worker."""
    return FeedReading(
        worker_id=worker_id,
        at=it.at,
        devices=[
            FeedDeviceReading(uuid=d.uuid, utilization=d.utilization, free_bytes=d.free_bytes)
            for d in it.devices
            if d.utilization is not None or d.free_bytes is not None
        ],
        replicas=[
            FeedReplicaReading(
                replica_model_uid=r.replica_id,
                queue=r.queue,
                calls=round(r.calls, 3),
                items=round(r.items, 3),
                tokens=round(r.tokens, 1),
                busy=round(r.busy, 4),
                p50=r.p50,
                p95=r.p95,
            )
            for r in it.replicas
        ],
    )


def said(it: Change) -> tuple[Level, str]:
    """How bad it is, and one sentence; "" for what nobody needs to be told."""
    if it.kind is Kind.WORKER:
        return _said_of_worker(it.before, it.after)
    if it.kind is Kind.MODEL:
        return _said_of_model(it.key, it.before, it.after)
    return _said_of_replica(it.key, it.before, it.after)


def _said_of_worker(before: object, after: object) -> tuple[Level, str]:
    was = before if isinstance(before, Member) else None
    if not isinstance(after, Member):
        return "info", f"Worker {was.worker.address if was else '?'} has left."
    name, state = after.worker.address, _state(after)
    if was is None:
        return "info", f"Worker {name} joined with {len(after.worker.devices)} devices."
    if _state(was) == state:
        return ("info", f"Worker {name} registered again.") if was.worker.epoch != after.worker.epoch else ("info", "")
    sentences: dict[str, tuple[Level, str]] = {
        "suspect": ("warning", f"Worker {name} is silent; nothing new is placed there."),
        "lost": ("error", f"Worker {name} is lost."),
        "draining": ("info", f"Worker {name} is being drained."),
        "alive": ("info", f"Worker {name} is in service again."),
    }
    return sentences[state]


def _said_of_model(uid: str, before: object, after: object) -> tuple[Level, str]:
    was = before if isinstance(before, Deployment) else None
    if not isinstance(after, Deployment):
        return "info", f"Model {uid} is stopped."
    if was is None:
        return "info", f"Model {uid} was launched with {_count(after.wanted)}."
    if after.asleep is not None:
        return ("info", f"Model {uid} is asleep; a request wakes it.") if was.asleep is None else ("info", "")
    if after.stopping:
        return ("info", f"Model {uid} is stopping.") if not was.stopping else ("info", "")
    if was.asleep is not None:
        return "info", f"Model {uid} is woken, with {_count(after.wanted)}."
    if was.wanted != after.wanted:
        return "info", f"Model {uid} is to have {_count(after.wanted)} instead of {was.wanted}."
    if was.scaling != after.scaling:
        return "info", f"Model {uid} is to have {_bounds(after)}."
    if was.dtype_open and not after.dtype_open:
        why = f": {after.dtype_why}" if after.dtype_why else ""
        return "info", f"Model {uid} runs in {after.spec.dtype.value}{why}."
    return "info", ""


def _bounds(it: Deployment) -> str:
    return f"{it.scaling.min_replica} to {_count(it.scaling.max_replica)}, as the load asks" if it.scaling else _count(it.wanted)


def _count(replicas: int) -> str:
    return f"{replicas} replica" if replicas == 1 else f"{replicas} replicas"


_ENTERED = {
    Phase.SPAWNING: "is being started",
    Phase.INSTALLING: "installs packages",
    Phase.FETCHING: "fetches its model",
    Phase.LOADING: "loads its model",
    Phase.WARMING: "warms up",
    Phase.READY: "is ready",
    Phase.DRAINING: "takes no new work",
    Phase.STOPPING: "is being stopped",
    Phase.STOPPED: "has stopped",
}


def _said_of_replica(key: str, before: object, after: object) -> tuple[Level, str]:
    was = before if isinstance(before, Replica) else None
    if not isinstance(after, Replica):
        return "info", f"Replica {key} has ended."
    if was is not None and was.phase is after.phase and was.epoch == after.epoch:
        return ("warning", f"Replica {key} waits: {after.error}") if after.error and after.error != was.error else ("info", "")
    reason = f": {after.error}" if after.error else "."
    if after.phase is Phase.FAILED:
        return "error", f"Replica {key} has failed{reason}"
    if after.phase is Phase.BACKOFF:
        return "error", f"Replica {key} ended and will be started again{reason}"
    if was is not None and after.phase is Phase.SPAWNING and after.restarts > was.restarts:
        if was.phase is Phase.BACKOFF or not after.error:
            return "info", f"Replica {key} is being started again."
        return "error", f"Replica {key} ended and is being started again{reason}"
    if after.phase is Phase.QUEUED:
        return ("warning", f"Replica {key} waits{reason}") if after.error else ("info", f"Replica {key} waits for a slot.")
    return "info", f"Replica {key} {_ENTERED[after.phase]}."


def entry(epoch: int, it: Change) -> EventEntry | None:
    """One line of the history; None for what has no sentence."""
    level, text = said(it)
    if not text:
        return None
    about = it.after if it.after is not None else it.before
    return EventEntry(
        id=f"{epoch}-{it.number}",
        at=it.at,
        kind=it.kind.value,
        key=it.key,
        model_uid=about.model_uid if isinstance(about, Replica) else it.key if it.kind is Kind.MODEL else "",
        worker_id=it.key if it.kind is Kind.WORKER else about.slot.worker_id if isinstance(about, Replica) and about.slot else "",
        level=level,
        text=text,
    )


def series(worker_id: WorkerId, readings: Sequence[Reading]) -> SeriesList:
    """The readings of one worker, turned to columns."""
    devices: dict[str, list[tuple[float, DeviceReading]]] = {}
    replicas: dict[str, list[tuple[float, ReplicaReading]]] = {}
    for it in readings:
        for device in it.devices:
            devices.setdefault(device.uuid, []).append((it.at, device))
        for one in it.replicas:
            replicas.setdefault(one.replica_id, []).append((it.at, one))
    return SeriesList(
        worker_id=worker_id,
        devices=[_columns(key, rows, ("utilization", "free_bytes")) for key, rows in devices.items()],
        replicas=[_columns(key, rows, ("queue", "calls", "items", "tokens", "busy", "p50", "p95")) for key, rows in replicas.items()],
    )


def _columns(key: str, rows: Sequence[tuple[float, DeviceReading | ReplicaReading]], names: Sequence[str]) -> Series:
    return Series(key=key, at=[at for at, _ in rows], values={name: [getattr(row, name) for _, row in rows] for name in names})
