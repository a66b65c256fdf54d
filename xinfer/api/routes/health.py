"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from prometheus_client.metrics_core import Metric
from starlette.responses import Response

from xinfer.access import permit
from xinfer.actors.messages import ReplicaStats
from xinfer.api.exposition import CONTENT_TYPE, exposition, own
from xinfer.api.figures import combined
from xinfer.api.gate import caller
from xinfer.api.limits import service
from xinfer.api.ports import Control, Siblings
from xinfer.api.reply import ERRORS, json_reply
from xinfer.cluster.ids import ReplicaId
from xinfer.errors import Unavailable, XinferError
from xinfer.schemas.cluster import HealthReply

router = APIRouter(tags=["health"], responses=ERRORS)


@router.get("/health", response_model=HealthReply, summary="The process is up (text-embeddings-inference)")
@router.get("/healthz", response_model=HealthReply, summary="The process is up")
async def healthz() -> Response:
    """Says nothing about models."""
    return json_reply({"status": "ok"})


@router.get("/readyz", response_model=HealthReply, summary="The process knows where models are")
async def readyz(request: Request) -> Response:
    """503 until the first route table has come; a dead supervisor afterwards changes nothing."""
    if service(request).inference.routes().version < 0:
        raise Unavailable("No route table has come from the supervisor yet.", retry_after=1)
    return json_reply({"status": "ready"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format."}},
    summary="Prometheus metrics",
)
async def metrics(request: Request) -> Response:
    """Of every API process and every replica that answers. Once there are keys it needs one, of an admin or with `read`."""
    permit.demand_view(caller(request))
    it = service(request)
    reported, others = await asyncio.gather(_reported(it.control), _others(it.siblings))
    mine = own(request.app.state.meter, combined(it.inference.stats(), it.streams.stats()), it.inference.routes())
    return Response(exposition([mine, *others], it.inference.routes(), reported), media_type=CONTENT_TYPE)


async def _reported(control: Control) -> Mapping[ReplicaId, ReplicaStats]:
    try:
        return await control.replica_stats()
    except XinferError:
        return {}


async def _others(siblings: Siblings | None) -> Sequence[Sequence[Metric]]:
    return [] if siblings is None else await siblings.metrics()
