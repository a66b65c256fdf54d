"""Listings of the cluster from a Snapshot: workers × devices × replicas. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xinfer.actors.messages import WorkerUsage
from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.ids import DeviceUuid, WorkerId
from xinfer.cluster.ledger import Usage, usage
from xinfer.cluster.replica import HOLDS_SLOT, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.schemas.cluster import NodeEntry, SlotDevice, SlotReplica, SlotsReply, SlotWorker, WorkerEntry

ON_GPU = frozenset({DeviceKind.GPU, DeviceKind.SIMULATED})


def slots(snapshot: Snapshot, live: Sequence[WorkerUsage] = ()) -> SlotsReply:
    """GET /v1/cluster/slots.

    Args:
        live: what workers say of their devices right now; the last heartbeat stands in for those that did not answer.
    """
    on_device: dict[DeviceUuid, list[Replica]] = {}
    waiting: list[Replica] = []
    for replica in sorted(snapshot.replicas.values(), key=lambda r: (r.model_uid, r.ordinal)):
        if replica.slot is None or replica.phase not in HOLDS_SLOT:
            waiting.append(replica)
            continue
        for uuid in replica.slot.device_uuids:
            on_device.setdefault(uuid, []).append(replica)
    ledger = usage(snapshot)
    latest = {u.worker_id: u for u in live}
    workers = sorted(snapshot.workers.values(), key=lambda w: w.address)
    return SlotsReply(
        workers=[_worker(w, _state(snapshot, w), ledger, on_device, latest.get(w.id)) for w in workers],
        waiting=[_replica(r, None) for r in waiting],
    )


def _state(snapshot: Snapshot, worker: Worker) -> str:
    """``draining`` for a worker that lives and is wanted empty."""
    draining = worker.id in snapshot.draining and worker.state is not WorkerState.LOST
    return "draining" if draining else worker.state.value


def _worker(
    worker: Worker, state: str, ledger: Usage, on_device: Mapping[DeviceUuid, list[Replica]], live: WorkerUsage | None
) -> SlotWorker:
    return SlotWorker(
        worker_id=worker.id,
        address=worker.address,
        host=worker.host,
        state=state,
        engines=sorted(worker.engines),
        devices=[
            _device(worker, device, ledger, [r for r in on_device.get(device.uuid, ()) if r.slot and r.slot.worker_id == worker.id], live)
            for device in sorted(worker.devices, key=lambda d: d.index)
        ],
    )


def _device(worker: Worker, device: Device, ledger: Usage, replicas: list[Replica], live: WorkerUsage | None) -> SlotDevice:
    free = live.free_bytes if live else worker.free_bytes
    return SlotDevice(
        slot=f"{worker.address}@{device.index}",
        index=device.index,
        kind=device.kind.value,
        uuid=device.uuid,
        name=device.name,
        total_bytes=device.total_bytes,
        reserved_bytes=ledger.reserved(device.uuid),
        free_bytes=max(0, ledger.room(device)),
        observed_free_bytes=free.get(device.uuid),
        utilization=live.utilization.get(device.uuid) if live else None,
        cores=list(device.cores),
        replicas=[_replica(r, device.uuid) for r in replicas],
    )


def _replica(replica: Replica, uuid: DeviceUuid | None) -> SlotReplica:
    return SlotReplica(
        replica_id=replica.ordinal,
        replica_model_uid=replica.id,
        model_uid=replica.model_uid,
        phase=replica.phase.value,
        pid=replica.pid,
        reserved_bytes=replica.reserved_bytes,
        used_bytes=sum(r.used_bytes for r in replica.reports if r.uuid == uuid),
        error_message=replica.error,
    )


def workers(snapshot: Snapshot) -> list[WorkerEntry]:
    """GET /v1/workers, with the models that each one holds."""
    models: dict[WorkerId, set[str]] = {}
    for replica in snapshot.replicas.values():
        if replica.slot is not None and replica.phase in HOLDS_SLOT:
            models.setdefault(replica.slot.worker_id, set()).add(replica.model_uid)
    return [
        WorkerEntry(
            work_ip=w.address,
            models=sorted(models.get(w.id, ())),
            worker_id=w.id,
            host=w.host,
            state=_state(snapshot, w),
            engines=sorted(w.engines),
            device_count=len(w.devices),
            version=w.version,
            started_at=w.started_at,
            pid=w.pid,
        )
        for w in sorted(snapshot.workers.values(), key=lambda w: w.address)
    ]


def nodes(snapshot: Snapshot, supervisor_address: str) -> list[NodeEntry]:
    """GET /v1/cluster/info: the supervisor, then the workers."""
    ledger = usage(snapshot)
    supervisor = NodeEntry(
        node_type="Supervisor",
        ip_address=host_of(supervisor_address),
        address=supervisor_address,
        state="alive",
        gpu_count=0,
        gpu_vram_total=0,
        gpu_vram_available=0,
        cpu_count=0,
        device_count=0,
    )
    return [supervisor, *(_node(w, ledger) for w in sorted(snapshot.workers.values(), key=lambda w: w.address))]


def _node(worker: Worker, ledger: Usage) -> NodeEntry:
    gpus = [d for d in worker.devices if d.kind in ON_GPU]
    return NodeEntry(
        node_type="Worker",
        ip_address=worker.ip,
        address=worker.address,
        host=worker.host,
        state=worker.state.value,
        gpu_count=len(gpus),
        gpu_vram_total=sum(d.total_bytes for d in gpus),
        gpu_vram_available=sum(max(0, ledger.room(d)) for d in gpus),
        cpu_count=len({c for d in worker.devices for c in d.cores}),
        device_count=len(worker.devices),
    )


def host_of(address: str) -> str:
    """The host part of ``host:port``."""
    return address.rpartition(":")[0].strip("[]") or address
