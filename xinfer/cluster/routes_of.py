"""What API processes need of a snapshot: who serves which model, under which address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import ModelUid, WorkerId
from xinfer.cluster.replica import STARTING, Phase, Replica
from xinfer.cluster.routes import ModelRoutes, Route, RouteTable
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker, WorkerState

ON_THEIR_WAY = STARTING | {Phase.QUEUED, Phase.BACKOFF}


def slot_text(slot: Slot, workers: Mapping[WorkerId, Worker]) -> str:
    """``ADDR@0,1`` as people write it; a worker or device that is gone shows by its id."""
    worker = workers.get(slot.worker_id)
    if worker is None:
        return f"{slot.worker_id}@{','.join(slot.device_uuids)}"
    found = ((uuid, worker.device(uuid)) for uuid in slot.device_uuids)
    return f"{worker.address}@{','.join(uuid if device is None else str(device.index) for uuid, device in found)}"


def route_table(snapshot: Snapshot) -> RouteTable:
    """The table of this snapshot, one entry per deployment."""
    return RouteTable(epoch=snapshot.epoch, version=snapshot.version, models=shown_of(snapshot), keys=snapshot.keys)


def shown_of(snapshot: Snapshot) -> Mapping[ModelUid, ModelRoutes]:
    """What routes say: as the last step carried it on if that speaks of these very tables, else worked out anew."""
    known = snapshot.shown
    if (
        known is not None
        and known.workers is snapshot.workers
        and known.deployments is snapshot.deployments
        and known.replicas is snapshot.replicas
    ):
        return known.models
    table = ReplicaTable.of(snapshot.replicas)
    return {uid: model_routes(deployment, table, snapshot.workers) for uid, deployment in snapshot.deployments.items()}


def only_keys(snapshot: Snapshot) -> RouteTable:
    """For an API process that knows nothing, while routes would not be true yet."""
    return RouteTable(epoch=snapshot.epoch, keys=snapshot.keys)


def model_routes(deployment: Deployment, table: ReplicaTable, workers: Mapping[WorkerId, Worker]) -> ModelRoutes:
    """What routes say of one deployment."""
    replicas = sorted((table[key] for key in table.of_model(deployment.uid)), key=lambda replica: replica.ordinal)
    there = {replica.ordinal for replica in replicas}
    desired = [replica for replica in replicas if replica.phase is not Phase.STOPPED]
    gave_up = bool(desired) and all(replica.phase is Phase.FAILED for replica in desired)
    unborn = sum(ordinal not in there for ordinal in deployment.ordinals)
    woken = any(replica.ready_at > 0 for replica in replicas if replica.ordinal in deployment.ordinals)
    asleep = deployment.asleep is not None
    return ModelRoutes(
        model_uid=deployment.uid,
        spec=deployment.spec,
        replicas=_routes(replicas, workers),
        starting=unborn + sum(replica.phase in ON_THEIR_WAY for replica in replicas),
        was_ready=deployment.slept or any(replica.ready_at > 0 for replica in replicas),
        warming=any(replica.phase is Phase.WARMING for replica in replicas),
        asleep=asleep,
        waking=deployment.slept and not asleep and not woken,
        closing=deployment.closing > 0,
        failed=next((r.error for r in desired if r.error), "every replica has failed") if gave_up and not unborn else "",
        created_at=deployment.created_at,
        dtype_open=bool(deployment.dtype_open),
        dtype_why=deployment.dtype_why,
    )


def _routes(replicas: Sequence[Replica], workers: Mapping[WorkerId, Worker]) -> tuple[Route, ...]:
    """Ready replicas on live workers; those on suspect workers, then those whose worker is lost, only while there is no other."""
    live: list[Route] = []
    suspect: list[Route] = []
    lost: list[Route] = []
    for replica in replicas:
        if replica.address is None:
            continue
        route = Route(
            replica_id=replica.id,
            epoch=replica.epoch,
            uid=f"{replica.id}@{replica.epoch}",
            address=replica.address,
            speed=replica.speed,
            budget_tokens=replica.budget_tokens,
            capacity=replica.capacity,
            slot="" if replica.slot is None else slot_text(replica.slot, workers),
        )
        worker = workers.get(replica.slot.worker_id) if replica.slot is not None else None
        if replica.phase is Phase.QUEUED and replica.slot is None:
            lost.append(route)
        elif replica.phase is Phase.READY and worker is not None and worker.state is not WorkerState.LOST:
            (suspect if worker.state is WorkerState.SUSPECT else live).append(route)
    return tuple(live or suspect or lost)
