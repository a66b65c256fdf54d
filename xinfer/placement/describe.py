"""Plans as people and clients read them."""

from __future__ import annotations

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.routes_of import slot_text
from xinfer.cluster.snapshot import Snapshot
from xinfer.placement.plan import NoFitting, Placed, Plan
from xinfer.schemas.launch import PlannedReplica, PlanReply, RefusedSlot


def plan_reply(plan: Plan | NoFitting, deployment: Deployment, snapshot: Snapshot) -> PlanReply:
    """What a launch of ``deployment`` would do: all of its replicas' slots, or none and the reason."""
    fits = isinstance(plan, Plan)
    return PlanReply(
        fits=fits,
        model_uid=deployment.uid,
        model_name=deployment.spec.name,
        model_engine=deployment.spec.engine,
        dtype=deployment.spec.dtype.value,
        memory_per_device_bytes=max((demand.bytes_per_device for demand in deployment.demands), default=0),
        replicas=[_planned(placed, snapshot) for placed in plan.placements] if fits else [],
        refused=[RefusedSlot(slot=refusal.text, reason=refusal.reason, hint=refusal.hint) for refusal in plan.refusals],
        reason="" if isinstance(plan, Plan) else plan.reason,
    )


def _planned(placed: Placed, snapshot: Snapshot) -> PlannedReplica:
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
    )
