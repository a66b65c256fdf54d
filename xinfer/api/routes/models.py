"""Models: launch, list, show, stop, replicas, progress."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from xinfer.access import permit
from xinfer.api import present
from xinfer.api.gate import caller
from xinfer.api.launching import launch_request, placement, scaling
from xinfer.api.limits import read_json, service, unless_gone
from xinfer.api.reply import ERRORS, body_of, json_reply
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.keys import Action
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import DeadlineExceeded, SupervisorUnreachable
from xinfer.schemas.cluster import AbortReply
from xinfer.schemas.launch import LaunchRequest, Placement
from xinfer.schemas.models import (
    AddReplicasReply,
    AddReplicasRequest,
    InstanceEntry,
    LaunchReply,
    LogsReply,
    ModelEntry,
    ModelList,
    MoveReply,
    ProgressReply,
    ReadyReply,
    RemoveReplicaReply,
    ReplicaEntry,
    ScaleReply,
    ScaleRequest,
)

router = APIRouter(prefix="/v1/models", tags=["models"], responses=ERRORS)

Lines = Annotated[int, Query(ge=1, le=5_000, description="Last lines, at most.")]
After = Annotated[
    int | None, Query(ge=0, le=2**62, description="`position` of an earlier reply: what was written since, not the last lines.")
]
Earlier = Annotated[
    str, Query(max_length=200, description="`worker_id` of that reply; a replica that has moved is read from its beginning.")
]
Seconds = Annotated[float | None, Query(gt=0, le=86_400, description="Seconds to wait at most.")]


@router.post("", response_model=LaunchReply, openapi_extra=body_of(LaunchRequest), summary="Launch a model")
async def launch(request: Request, wait_ready: bool = True, timeout: Seconds = None) -> Response:
    """Answers once every replica is ready, or at once with ``wait_ready=false``. Hanging up never cancels a launch."""
    it, who = service(request), caller(request)
    asked = launch_request(await read_json(request))
    permit.demand_launch(who, asked.model_uid, remote_code=asked.trust_remote_code, packages=bool(asked.packages))
    uid = await it.control.launch(asked, confined=not who.free)
    if wait_ready:
        await _wait_ready(request, uid, timeout or it.timings.load)
    return json_reply({"model_uid": uid})


async def _wait_ready(request: Request, uid: str, timeout: float) -> None:
    if not await unless_gone(request, service(request).control.wait_ready(ModelUid(uid), timeout)):
        raise DeadlineExceeded(f"Model {uid} is not ready after {timeout:g} s; it goes on loading.", model_uid=uid)


@router.get("", response_model=ModelList, summary="List models")
async def list_models(request: Request) -> Response:
    """Every deployment that the caller's key sees, whatever its status. With the supervisor away: what the routes still know."""
    try:
        data = present.models(await _seen(request))
    except SupervisorUnreachable:
        every = present.models_from_routes(service(request).inference.routes())
        data = [entry for entry in every if permit.sees(caller(request), entry.id)]
    return json_reply({"object": "list", "data": data})


async def _seen(request: Request) -> Snapshot:
    """The cluster with the models that the caller sees: others are not found."""
    return permit.visible(caller(request), await service(request).control.snapshot())


@router.get("/instances", response_model=list[InstanceEntry], summary="List models with their replicas")
async def instances(request: Request, model_name: str | None = None, model_uid: str | None = None) -> Response:
    """Filtered by name, uid or both."""
    return json_reply(present.instances(await _seen(request), model_name, model_uid))


@router.get("/{model_uid:path}/replicas", response_model=list[ReplicaEntry], summary="List a model's replicas")
async def replicas(request: Request, model_uid: str) -> Response:
    """With the device that each one reports, and live figures of those that answer."""
    snapshot = await _seen(request)
    present.deployment_of(snapshot, model_uid)
    return json_reply(present.replicas(snapshot, model_uid, await service(request).control.replica_stats()))


@router.post(
    "/{model_uid:path}/replicas", response_model=AddReplicasReply, openapi_extra=body_of(AddReplicasRequest), summary="Add replicas"
)
async def add_replicas(request: Request, model_uid: str) -> Response:
    """All or none; answers when they are placed, not when they are ready."""
    permit.demand(caller(request), Action.LAUNCH, model_uid)
    control = service(request).control
    ids = await control.add_replicas(ModelUid(model_uid), placement(await read_json(request)))
    return json_reply(present.added(await control.snapshot(), ids))


@router.delete("/{model_uid:path}/replicas/{replica_id}", response_model=RemoveReplicaReply, summary="Remove a replica")
async def remove_replica(request: Request, model_uid: str, replica_id: str) -> Response:
    """By number or by full id."""
    permit.demand(caller(request), Action.STOP, model_uid)
    control = service(request).control
    found = present.replica_of(await _seen(request), model_uid, replica_id)
    return json_reply({"remaining_replicas": await control.remove_replica(ModelUid(model_uid), found.id)})


@router.post(
    "/{model_uid:path}/replicas/{replica_id}/move", response_model=MoveReply, openapi_extra=body_of(Placement), summary="Move a replica"
)
async def move_replica(request: Request, model_uid: str, replica_id: str) -> Response:
    """Another is started where the body says, or anywhere else; once it is ready the old one is drained. No request fails."""
    permit.demand(caller(request), Action.LAUNCH, model_uid)
    control = service(request).control
    found = present.replica_of(await _seen(request), model_uid, replica_id)
    new = await control.move(ModelUid(model_uid), found.id, placement(await read_json(request)))
    return json_reply(present.moved(await control.snapshot(), found.id, new))


@router.get("/{model_uid:path}/replicas/{replica_id}/logs", response_model=LogsReply, summary="What a replica's processes wrote last")
async def logs(
    request: Request, model_uid: str, replica_id: str, lines: Lines = 200, after: After = None, worker_id: Earlier = ""
) -> Response:
    """Its stderr on the worker where it is or was last, of dead processes and stopped models too; at most 64 KiB. Takes `launch`."""
    permit.demand(caller(request), Action.LAUNCH, model_uid)
    earlier = None if after is None else (worker_id, after)
    found = await service(request).control.written(ModelUid(model_uid), replica_id, lines, earlier)
    return json_reply({"replica_model_uid": found.replica_id, "worker_id": found.worker_id, "position": found.position, "text": found.text})


@router.post(
    "/{model_uid:path}/scale",
    response_model=ScaleReply,
    openapi_extra=body_of(ScaleRequest),
    summary="Change the replica count or its bounds",
)
async def scale(request: Request, model_uid: str) -> Response:
    """Answers when new replicas are placed, all or none, and those that go have left the routes.

    Between ``min_replica`` and ``max_replica`` the load decides from then on.
    """
    permit.demand(caller(request), Action.LAUNCH, model_uid)
    change = await service(request).control.scale(ModelUid(model_uid), scaling(await read_json(request)))
    return json_reply(present.scaled(model_uid, change))


@router.get("/{model_uid:path}/progress", response_model=ProgressReply, summary="How far a launch has come")
async def progress(request: Request, model_uid: str) -> Response:
    """Stage, fraction and downloads per replica."""
    return json_reply(present.progress(await _seen(request), model_uid))


@router.get("/{model_uid:path}/ready", response_model=ReadyReply, summary="Wait until a model is ready")
async def ready(request: Request, model_uid: str, timeout: Seconds = 30.0) -> Response:
    """``ready`` is false when the time is up; a launch that failed is an error with its reason."""
    if not permit.sees(caller(request), model_uid):
        raise present.model_not_found(model_uid, ())
    done = await unless_gone(request, service(request).control.wait_ready(ModelUid(model_uid), timeout or 30.0))
    return json_reply({"model_uid": model_uid, "ready": bool(done)})


@router.post("/{model_uid:path}/cancel", response_model=None, summary="Cancel a launch")
async def cancel(request: Request, model_uid: str) -> Response:
    """Stops the deployment at whatever stage it is."""
    permit.demand(caller(request), Action.STOP, model_uid)
    await service(request).control.cancel(ModelUid(model_uid))
    return json_reply(None)


@router.post("/{model_uid:path}/requests/{wanted_id}/abort", response_model=AbortReply, summary="Abort a request")
async def abort(request: Request, model_uid: str, wanted_id: str) -> Response:
    """By the ``X-Request-ID`` it was sent with; one that has ended, is another key's or is not known is no error."""
    it, who = service(request), caller(request)
    permit.demand(who, Action.INFER, model_uid)
    owner = None if who.free else who.key_id
    stopped = it.calls.abort(wanted_id, owner)
    if it.siblings is not None:
        stopped += await it.siblings.abort(wanted_id, owner)
    return json_reply({"aborted": stopped})


@router.get("/{model_uid:path}", response_model=ModelEntry, summary="Show a model")
async def show(request: Request, model_uid: str) -> Response:
    """``model_type`` decides which handle a client makes of it."""
    try:
        snapshot = await _seen(request)
    except SupervisorUnreachable:
        seen = {uid: it for uid, it in service(request).inference.routes().models.items() if permit.sees(caller(request), uid)}
        found = seen.get(ModelUid(model_uid))
        if found is None:
            raise present.model_not_found(model_uid, seen) from None
        return json_reply(present.model_from_routes(found))
    deployment = present.deployment_of(snapshot, model_uid)
    return json_reply(present.model(snapshot, deployment, present.replicas_of(snapshot, deployment.uid)))


@router.delete("/{model_uid:path}", response_model=None, summary="Stop a model")
async def stop(request: Request, model_uid: str, drain: bool = True) -> Response:
    """New requests are told 404 at once; what was accepted before is answered, then every replica stops.

    Answers when the name is free again. ``drain=false`` ends at once, also a stop that drains.
    """
    permit.demand(caller(request), Action.STOP, model_uid)
    await service(request).control.stop(ModelUid(model_uid), drain)
    return json_reply(None)
