"""Listing bodies from a Snapshot (or, with the supervisor away, from the route table). Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xinfer.actors.messages import ReplicaStats, Scaled
from xinfer.catalog.spec import LlmTraits, ModelSpec, ModelType
from xinfer.cluster.deployment import Deployment, ScaleNote
from xinfer.cluster.ids import ModelUid, ReplicaId
from xinfer.cluster.replica import HOLDS_SLOT, Phase, Replica
from xinfer.cluster.routes import ModelRoutes, RouteTable
from xinfer.cluster.routes_of import slot_text
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import ModelNotFound, ReplicaNotFound
from xinfer.schemas.models import (
    AddedReplica,
    AddReplicasReply,
    DeviceEntry,
    FileProgress,
    InstanceEntry,
    ModelEntry,
    MoveReply,
    ProgressReply,
    ReplicaEntry,
    ReplicaProgress,
    ScaleReply,
)

ABILITIES = {ModelType.RERANK: ["rerank"], ModelType.EMBEDDING: ["embed"]}
STATUS = {
    Phase.READY: "READY",
    Phase.DRAINING: "TERMINATING",
    Phase.STOPPING: "TERMINATING",
    Phase.STOPPED: "TERMINATED",
    Phase.FAILED: "ERROR",
}
"""Xinference's words; every other phase is CREATING."""
_ORDER = list(Phase)


def replicas_of(snapshot: Snapshot, uid: ModelUid) -> list[Replica]:
    """The replicas of one model by number."""
    return sorted((r for r in snapshot.replicas.values() if r.model_uid == uid), key=lambda r: r.ordinal)


def _abilities(spec: ModelSpec) -> list[str]:
    return (spec.llm or LlmTraits()).abilities if spec.type is ModelType.LLM else list(ABILITIES[spec.type])


def deployment_of(snapshot: Snapshot, uid: str) -> Deployment:
    """The deployment of that uid.

    Raises:
        ModelNotFound: with the uids that there are.
    """
    found = snapshot.deployments.get(ModelUid(uid))
    if found is None:
        raise model_not_found(uid, snapshot.deployments)
    return found


def model_not_found(uid: str, known: Iterable[str], param: str = "model_uid") -> ModelNotFound:
    """The 404 of an unknown model, naming some of those that run."""
    names = sorted(known)
    rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
    running = f"running: {', '.join(names[:8])}{rest}" if names else "none is running"
    return ModelNotFound(f"No model {uid[:100]!r} is running; {running}.", param=param)


def replica_of(snapshot: Snapshot, uid: str, name: str) -> Replica:
    """A replica by number or full id.

    Raises:
        ModelNotFound, ReplicaNotFound.
    """
    mine = replicas_of(snapshot, deployment_of(snapshot, uid).uid)
    found = next((r for r in mine if name in (r.id, str(r.ordinal))), None)
    if found is None:
        known = ", ".join(str(r.ordinal) for r in mine) or "none"
        raise ReplicaNotFound(f"Model {uid} has no replica {name[:100]!r}; it has {known}.", param="replica_id")
    return found


def models(snapshot: Snapshot) -> list[ModelEntry]:
    """GET /v1/models, oldest first; one that is being stopped is listed no more."""
    return [entry for entry in _models(snapshot) if not snapshot.deployments[ModelUid(entry.id)].stopping]


def _models(snapshot: Snapshot) -> list[ModelEntry]:
    by_model: dict[ModelUid, list[Replica]] = {uid: [] for uid in snapshot.deployments}
    for replica in snapshot.replicas.values():
        by_model.setdefault(replica.model_uid, []).append(replica)
    ordered = sorted(snapshot.deployments.values(), key=lambda d: (d.created_at, d.uid))
    return [model(snapshot, d, sorted(by_model[d.uid], key=lambda r: r.ordinal)) for d in ordered]


def model(snapshot: Snapshot, deployment: Deployment, replicas: Sequence[Replica]) -> ModelEntry:
    """GET /v1/models/{uid}."""
    entry = _entry(deployment.uid, deployment.spec, deployment.created_at, deployment.wanted)
    dtype = dtype_of(deployment.spec, bool(deployment.dtype_open))
    workers = {r.slot.worker_id for r in replicas if r.slot is not None}
    addresses = sorted(str(snapshot.workers[w].address) for w in workers if w in snapshot.workers)
    return entry.model_copy(
        update={
            "dtype": dtype,
            "dtype_why": deployment.dtype_why,
            "ready_replicas": sum(r.phase is Phase.READY for r in replicas),
            "status": _status(deployment, replicas),
            **_scaling(snapshot, deployment),
            "error_message": next((r.error for r in replicas if r.error and r.phase in (Phase.FAILED, Phase.BACKOFF)), ""),
            "address": addresses[0] if addresses else "",
            "accelerators": sorted({str(i) for r in replicas for i in gpu_idx(snapshot, r)}),
        }
    )


def _status(deployment: Deployment, replicas: Sequence[Replica]) -> str:
    if deployment.closing:
        return "TERMINATING"
    return "ASLEEP" if deployment.asleep is not None else status_of(replicas, len(deployment.demands))


def _scaling(snapshot: Snapshot, deployment: Deployment) -> dict[str, Any]:
    """The bounds, and what the autoscaler says."""
    scaling, note = deployment.scaling, snapshot.notes.get(deployment.uid)
    return {
        "min_replica": scaling.min_replica if scaling else deployment.wanted,
        "max_replica": scaling.max_replica if scaling else deployment.wanted,
        "idle_seconds": scaling.idle_seconds if scaling and not scaling.min_replica else None,
        "wanted_replica": note.wanted if scaling and note else deployment.wanted,
        "load": round(note.load, 2) if scaling and note else 0.0,
        "scaling_why": _why(note) if scaling and note else "",
    }


def _why(note: ScaleNote) -> str:
    short = f"wants {note.wanted}, no room: {note.no_room}" if note.no_room else ""
    return "; ".join(part for part in (note.why, short) if part)


def scaled(uid: str, change: Scaled) -> ScaleReply:
    """POST /v1/models/{uid}/scale."""
    return ScaleReply(
        model_uid=uid,
        replica=change.replicas,
        min_replica=change.scaling.min_replica if change.scaling else change.replicas,
        max_replica=change.scaling.max_replica if change.scaling else change.replicas,
        added=list(change.added),
        removed=list(change.removed),
    )


def models_from_routes(table: RouteTable) -> list[ModelEntry]:
    """The same list while the supervisor is away: less detail, but enough for clients to go on."""
    return [model_from_routes(m) for m in sorted(table.models.values(), key=lambda m: (m.created_at, m.model_uid)) if not m.closing]


def model_from_routes(routes: ModelRoutes) -> ModelEntry:
    """One model as the route table shows it."""
    wanted = len(routes.replicas) + routes.starting
    entry = _entry(routes.model_uid, routes.spec, routes.created_at, wanted)
    status = (
        "ERROR"
        if routes.failed
        else "ASLEEP"
        if routes.asleep
        else "CREATING"
        if not routes.replicas
        else "UPDATING"
        if routes.starting
        else "READY"
    )
    return entry.model_copy(
        update={
            "dtype": dtype_of(routes.spec, routes.dtype_open),
            "dtype_why": routes.dtype_why,
            "ready_replicas": len(routes.replicas),
            "status": status,
            "error_message": routes.failed,
        }
    )


def _entry(uid: str, spec: ModelSpec, created_at: float, replica: int) -> ModelEntry:
    return ModelEntry(
        id=uid,
        created=int(created_at),
        created_ts=int(created_at),
        model_uid=uid,
        model_name=spec.name,
        model_type=spec.type.value,
        model_ability=_abilities(spec),
        model_engine=spec.engine,
        model_format=spec.format,
        quantization=spec.quantization,
        dtype=spec.dtype.value,
        packages=list(spec.packages),
        model_lang=list(spec.languages),
        model_description=spec.description,
        replica=replica,
        status="CREATING",
        context_length=spec.max_tokens,
        max_tokens=spec.max_tokens,
        dimensions=spec.embedding.dimensions if spec.embedding else 0,
    )


def dtype_of(spec: ModelSpec, undecided: bool) -> str:
    """``auto`` until the first replica has chosen."""
    return "auto" if undecided else spec.dtype.value


def status_of(replicas: Sequence[Replica], wanted: int) -> str:
    """One word for all replicas of a model."""
    words = [STATUS.get(r.phase, "CREATING") for r in replicas]
    ready = words.count("READY")
    if ready:
        return "READY" if ready >= wanted else "UPDATING"
    if "CREATING" not in words:
        for word in ("ERROR", "TERMINATING"):
            if word in words:
                return word
    return "CREATING"


def gpu_idx(snapshot: Snapshot, replica: Replica) -> list[int]:
    """Indices of its devices on their worker; [] while it has no slot or the worker is gone."""
    worker = snapshot.workers.get(replica.slot.worker_id) if replica.slot else None
    if worker is None or replica.slot is None:
        return []
    index = {d.uuid: d.index for d in worker.devices}
    return [index[u] for u in replica.slot.device_uuids if u in index]


def replica(snapshot: Snapshot, it: Replica, stats: ReplicaStats | None = None) -> ReplicaEntry:
    """One entry of GET /v1/models/{uid}/replicas; ``device`` is what the process itself reported."""
    worker = snapshot.workers.get(it.slot.worker_id) if it.slot else None
    deployment = snapshot.deployments.get(it.model_uid)
    spec = deployment.spec if deployment else None
    index = {d.uuid: d.index for d in worker.devices} if worker else {}
    devices = [DeviceEntry(kind=r.kind.value, index=index.get(r.uuid), uuid=r.uuid, name=r.name) for r in it.reports]
    indices = gpu_idx(snapshot, it)
    current = stats if stats is not None and stats.epoch == it.epoch else None
    return ReplicaEntry(
        replica_id=it.ordinal,
        replica_model_uid=it.id,
        replica_uid=it.id,
        worker_address=worker.address if worker else "",
        model_address=it.address or "",
        accelerators=[str(i) for i in indices],
        gpu_idx=indices,
        status=STATUS.get(_phase(deployment, it), "CREATING"),
        created_ts=int(it.created_at),
        error_message=it.error,
        error_code=it.error_code,
        pid=it.pid,
        slot=slot_text(it.slot, snapshot.workers) if it.slot else "",
        device=devices[0] if devices else None,
        devices=devices,
        phase=_phase(deployment, it).value,
        progress=_fraction(it),
        restarts=it.restarts,
        engine=spec.engine if spec else "",
        dtype=it.dtype.value if it.dtype else dtype_of(deployment.spec, bool(deployment.dtype_open)) if deployment else "",
        reserved_bytes=it.reserved_bytes,
        used_bytes=sum(r.used_bytes for r in it.reports),
        speed=it.speed,
        queue=current.queued_items if current else None,
        in_flight=current.queued_tokens if current else None,
        documents=current.items if current else None,
        tokens=current.tokens if current else None,
        busy_seconds=current.busy_seconds if current else None,
    )


def _phase(deployment: Deployment | None, it: Replica) -> Phase:
    """One that serves what its model had accepted before it was stopped is on its way out."""
    closing = deployment is not None and deployment.closing and it.phase is Phase.READY
    return Phase.DRAINING if closing else it.phase


def replicas(snapshot: Snapshot, uid: str, stats: Mapping[ReplicaId, ReplicaStats]) -> list[ReplicaEntry]:
    """GET /v1/models/{uid}/replicas.

    Raises:
        ModelNotFound.
    """
    deployment = deployment_of(snapshot, uid)
    return [replica(snapshot, r, stats.get(r.id)) for r in replicas_of(snapshot, deployment.uid)]


def instances(snapshot: Snapshot, model_name: str | None = None, model_uid: str | None = None) -> list[InstanceEntry]:
    """GET /v1/models/instances, filtered by name, uid or both."""
    entries = []
    for entry in _models(snapshot):
        if (model_name and entry.model_name != model_name) or (model_uid and entry.id != model_uid):
            continue
        mine = replicas_of(snapshot, ModelUid(entry.id))
        entries.append(
            InstanceEntry(
                model_uid=entry.id,
                model_name=entry.model_name,
                model_ability=entry.model_ability,
                replica=entry.replica,
                status=entry.status,
                instance_created_ts=entry.created,
                n_worker=len({r.slot.worker_id for r in mine if r.slot}),
                replica_statuses=[replica(snapshot, r) for r in mine],
            )
        )
    return entries


def _fraction(it: Replica) -> float:
    if it.phase is Phase.READY:
        return 1.0
    return min(1.0, max(0.0, it.progress.fraction)) if it.phase in HOLDS_SLOT else 0.0


def progress(snapshot: Snapshot, uid: str) -> ProgressReply:
    """GET /v1/models/{uid}/progress.

    Raises:
        ModelNotFound.
    """
    deployment = deployment_of(snapshot, uid)
    mine = replicas_of(snapshot, deployment.uid)
    entries = [_progress(snapshot, r) for r in mine]
    furthest_behind = min(mine, key=lambda r: _ORDER.index(r.phase), default=None)
    return ProgressReply(
        progress=sum(e.progress for e in entries) / len(entries) if entries else 0.0,
        stage=furthest_behind.phase.value if furthest_behind else Phase.QUEUED.value,
        dtype=dtype_of(deployment.spec, bool(deployment.dtype_open)),
        dtype_why=deployment.dtype_why,
        download_files=list({f.name: f for e in entries for f in e.download_files}.values()),
        replicas=entries,
    )


def _progress(snapshot: Snapshot, it: Replica) -> ReplicaProgress:
    return ReplicaProgress(
        replica_id=it.ordinal,
        replica_model_uid=it.id,
        slot=slot_text(it.slot, snapshot.workers) if it.slot else "",
        stage=it.phase.value,
        progress=_fraction(it),
        status=STATUS.get(it.phase, "CREATING"),
        error_message=it.error,
        download_files=[FileProgress(name=n, done_bytes=d, total_bytes=t) for n, d, t in it.progress.files],
    )


def added(snapshot: Snapshot, ids: Sequence[ReplicaId]) -> AddReplicasReply:
    """POST /v1/models/{uid}/replicas: one at top level, several in a list."""
    entries = [_added(snapshot, snapshot.replicas[i]) for i in ids if i in snapshot.replicas]
    single = entries[0].model_dump() if len(entries) == 1 else {}
    return AddReplicasReply(replica=len(ids), replicas=entries, **single)


def moved(snapshot: Snapshot, old: ReplicaId, new: ReplicaId) -> MoveReply:
    """POST /v1/models/{uid}/replicas/{id}/move. Raises ReplicaNotFound: the new one is gone already."""
    it = snapshot.replicas.get(new)
    if it is None:
        raise ReplicaNotFound(f"Replica {new}, which was to take the place of {old}, was removed.", param="replica_id")
    return MoveReply(**_added(snapshot, it).model_dump(), slot=slot_text(it.slot, snapshot.workers) if it.slot else "", moved=old)


def _added(snapshot: Snapshot, it: Replica) -> AddedReplica:
    worker = snapshot.workers.get(it.slot.worker_id) if it.slot else None
    return AddedReplica(replica_id=it.ordinal, replica_model_uid=it.id, worker_address=worker.address if worker else "")
