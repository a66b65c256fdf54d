"""Plans as people and clients read them."""

from __future__ import annotations

from collections.abc import Mapping

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.memory import MIB
from xinfer.cluster.routes_of import slot_text
from xinfer.cluster.snapshot import Snapshot
from xinfer.placement.plan import NoFitting, Placed, Plan
from xinfer.placement.rebalance import Rebalance, plan_rebalance
from xinfer.placement.wants import Room
from xinfer.schemas.cluster import RebalanceReply
from xinfer.schemas.launch import PlannedMove, PlannedReplica, PlanReply, RefusedSlot


def plan_reply(plan: Plan | NoFitting, deployment: Deployment, snapshot: Snapshot) -> PlanReply:
    """What a launch of ``deployment`` would do: all of its replicas' slots, or none and the reason."""
    fits = isinstance(plan, Plan)
    help_ = Rebalance() if fits else _help(deployment, snapshot)
    return PlanReply(
        fits=fits,
        model_uid=deployment.uid,
        model_name=deployment.spec.name,
        model_engine=deployment.spec.engine,
        dtype=deployment.spec.dtype.value,
        memory_per_device_bytes=max((demand.bytes_per_device for demand in deployment.demands), default=0),
        replicas=[_planned(placed, deployment, snapshot) for placed in plan.placements] if fits else [],
        refused=[RefusedSlot(slot=refusal.text, reason=refusal.reason, hint=refusal.hint) for refusal in plan.refusals],
        reason="" if isinstance(plan, Plan) else plan.reason,
        hint=_hint(help_, deployment, snapshot),
        moves=moves(help_, snapshot),
    )


def rebalance_reply(plan: Rebalance, snapshot: Snapshot, dry_run: bool, successors: Mapping[str, str]) -> RebalanceReply:
    """What a rebalance would do (``dry_run``), or has begun; ``successors`` by id of the replica that moves."""
    freed = [slot_text(slot, snapshot.workers) for slot in plan.freed]
    return RebalanceReply(dry_run=dry_run, moves=moves(plan, snapshot, successors), freed=freed, unmet=list(plan.unmet))


def moves(plan: Rebalance, snapshot: Snapshot, successors: Mapping[str, str] | None = None) -> list[PlannedMove]:
    """Of a plan made on this very snapshot."""
    return [
        PlannedMove(
            model_uid=each.model_uid,
            replica_model_uid=each.replica_id,
            slot=slot_text(each.source, snapshot.workers),
            to_slot=slot_text(each.target, snapshot.workers),
            reserved_bytes=each.reserved_bytes,
            why=each.why,
            successor=(successors or {}).get(each.replica_id),
        )
        for each in plan.moves
    ]


def _help(deployment: Deployment, snapshot: Snapshot) -> Rebalance:
    """Moves that would make room for all of a launch that does not fit; none where its place is not free to choose."""
    shapes = {demand.n_devices for demand in deployment.demands}
    if len(shapes) != 1 or any(demand.pin is not None or demand.worker_id is not None for demand in deployment.demands):
        return Rebalance()
    plan = plan_rebalance(snapshot, rooms=(_room(deployment),) * len(deployment.demands))
    return Rebalance() if plan.unmet else plan


def _room(deployment: Deployment) -> Room:
    """In whole MiB, as the hint says it."""
    most = max(deployment.demands, key=lambda demand: demand.bytes_per_device)
    return Room(-(-most.bytes_per_device // MIB) * MIB, most.n_devices, deployment.spec.engine)


def _hint(plan: Rebalance, deployment: Deployment, snapshot: Snapshot) -> str:
    if not plan.moves:
        return ""
    room, count, first = _room(deployment), len(deployment.demands), moves(plan, snapshot)[0]
    flags = f" --n-gpu {room.n_devices}" if room.n_devices > 1 else ""
    flags += f" --replica {count}" if count > 1 else ""
    more = f" and {len(plan.moves) - 1} more" if len(plan.moves) > 1 else ""
    return (
        f"`xinfer rebalance --memory {room.bytes_per_device // MIB}MiB{flags} --model-engine {room.engine}` would make room by moving "
        f"{first.replica_model_uid} to {first.to_slot}{more}"
    )


def _planned(placed: Placed, deployment: Deployment, snapshot: Snapshot) -> PlannedReplica:
    """Of a plan made on this very snapshot, so worker and devices are there."""
    worker = snapshot.workers[placed.slot.worker_id]
    by_uuid = {device.uuid: device for device in worker.devices}
    devices = [by_uuid[uuid] for uuid in placed.slot.device_uuids]
    return PlannedReplica(
        ordinal=placed.ordinal,
        slot=slot_text(placed.slot, snapshot.workers),
        worker_id=worker.id,
        worker_address=worker.address,
        gpu_idx=[device.index for device in devices],
        device_uuids=list(placed.slot.device_uuids),
        device_names=[device.name for device in devices],
        reserved_bytes=placed.reserved_bytes,
        free_after_bytes=placed.free_after,
        why=placed.reason,
        pinned=deployment.demands[deployment.ordinals.index(placed.ordinal)].pin is not None,
    )
