"""The cluster: slots, nodes, workers, version, addresses, and what Xinference's client asks first."""

from __future__ import annotations

import dataclasses
import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.access import permit
from xinfer.access.callers import authenticate
from xinfer.api import present_cluster
from xinfer.api.gate import caller, known_keys
from xinfer.api.limits import read, service
from xinfer.api.reply import ERRORS, body_of, json_reply
from xinfer.errors import SupervisorUnreachable
from xinfer.schemas.cluster import (
    AuthReply,
    DrainReply,
    DrainRequest,
    NodeEntry,
    RebalanceReply,
    RebalanceRequest,
    SlotsReply,
    StatusReply,
    SupervisorReply,
    TokenReply,
    TokenRequest,
    UpgradeReply,
    VersionReply,
    WorkerEntry,
)

router = APIRouter(tags=["cluster"], responses=ERRORS)


@router.get("/v1/cluster/slots", response_model=SlotsReply, summary="Workers × devices × replicas")
async def slots(request: Request) -> Response:
    """Memory as reserved and as observed, and who sits where."""
    permit.demand_view(caller(request))
    control = service(request).control
    snapshot = await control.snapshot()
    try:
        live = await control.usage()
    except SupervisorUnreachable:
        live = ()
    return json_reply(present_cluster.slots(snapshot, live))


@router.post(
    "/v1/cluster/rebalance", response_model=RebalanceReply, openapi_extra=body_of(RebalanceRequest), summary="Move replicas to make room"
)
async def rebalance(request: Request) -> Response:
    """Unpinned replicas move: so that what waits finds room, or ``memory`` on a device; else so that whole devices become free.

    Each one's successor is started first and takes its place once it is ready. ``dry_run`` names the moves, each with what it gains,
    and begins none. Where what leaves makes room for more moves, asking again brings those; an empty list is the end.
    """
    permit.demand_admin(caller(request), "rebalance the cluster")
    return json_reply(await service(request).control.rebalance(await read(request, RebalanceRequest)))


@router.get("/v1/cluster/info", response_model=list[NodeEntry], summary="Nodes")
async def info(request: Request) -> Response:
    """The supervisor and every worker."""
    permit.demand_view(caller(request))
    it = service(request)
    return json_reply(present_cluster.nodes(await it.control.snapshot(), it.supervisor_address))


@router.get("/v1/cluster/devices", response_model=int, summary="How many devices there are")
async def devices(request: Request) -> Response:
    """GPUs, simulated GPUs and CPU slots of all workers."""
    permit.demand_view(caller(request))
    snapshot = await service(request).control.snapshot()
    return json_reply(sum(len(w.devices) for w in snapshot.workers.values()))


@router.get("/v1/cluster/auth", response_model=AuthReply, summary="Whether a key is needed")
async def auth(request: Request) -> Response:
    """Answered without a key."""
    return json_reply({"auth": bool(known_keys(service(request).inference.routes()))})


@router.get("/v1/cluster/version", response_model=VersionReply, summary="Version of the server")
async def version(request: Request) -> Response:
    """Of this API process."""
    return json_reply({"version": service(request).version})


@router.get("/v1/workers", response_model=list[WorkerEntry], summary="Workers with their models")
async def workers(request: Request) -> Response:
    """Lost ones too, by state."""
    permit.demand_view(caller(request))
    return json_reply(present_cluster.workers(await service(request).control.snapshot()))


@router.post("/v1/workers/{worker}/drain", response_model=DrainReply, openapi_extra=body_of(DrainRequest), summary="Empty a worker")
async def drain(request: Request, worker: str) -> Response:
    """Nothing new is placed there; unpinned replicas move to others, each once its successor is ready."""
    permit.demand_admin(caller(request), "drain workers")
    asked = await read(request, DrainRequest)
    return json_reply(dataclasses.asdict(await service(request).control.drain(worker, asked.undo)))


@router.get("/v1/workers/{worker}/drain", response_model=DrainReply, summary="How far a worker is from being empty")
async def drained(request: Request, worker: str) -> Response:
    """Changes nothing."""
    permit.demand_view(caller(request))
    return json_reply(dataclasses.asdict(await service(request).control.drain(worker, None)))


@router.post("/v1/workers/{worker}/upgrade", response_model=UpgradeReply, summary="Upgrade a worker in place")
async def upgrade(request: Request, worker: str) -> Response:
    """It takes up the code now installed on its host; its replicas serve on. If that code does not start, nothing changes."""
    permit.demand_admin(caller(request), "upgrade workers")
    return json_reply(dataclasses.asdict(await service(request).control.upgrade(worker)))


@router.get("/v1/supervisor", response_model=SupervisorReply, summary="Where the supervisor is")
async def supervisor(request: Request) -> Response:
    """Its address inside the cluster."""
    permit.demand_view(caller(request))
    return json_reply({"supervisor_ip": service(request).supervisor_address})


@router.get("/v1/address", response_model=str, summary="Internal address for workers that join")
async def address(request: Request) -> Response:
    """``ip:port`` of the supervisor's actor."""
    return json_reply(service(request).supervisor_address)


@router.get("/status", response_model=StatusReply, summary="Uptime and workers")
async def status(request: Request) -> Response:
    """Seconds since this API process started."""
    permit.demand_view(caller(request))
    it = service(request)
    snapshot = await it.control.snapshot()
    found = {w.address: {"state": w.state.value, "host": w.host, "devices": len(w.devices)} for w in snapshot.workers.values()}
    return json_reply({"uptime": time.monotonic() - it.started_at, "workers": found})


@router.post("/token", response_model=TokenReply, openapi_extra=body_of(TokenRequest), summary="Log in")
async def token(request: Request) -> Response:
    """The password is an API key, and so is the token that comes back. While there are no keys every log-in gets one."""
    asked = await read(request, TokenRequest)
    it = service(request)
    keys = known_keys(it.inference.routes())
    authenticate(keys, asked.password, "", it.clock())
    return json_reply({"access_token": asked.password if keys else "none-needed", "token_type": "bearer"})
