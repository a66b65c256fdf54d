"""POST /v1/plan: the dry run of a launch."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.access import permit
from xinfer.api.gate import caller
from xinfer.api.launching import launch_request
from xinfer.api.limits import read_json, service
from xinfer.api.reply import ERRORS, body_of, json_reply
from xinfer.schemas.launch import LaunchRequest, PlanReply

router = APIRouter(tags=["models"], responses=ERRORS)


@router.post("/v1/plan", response_model=PlanReply, openapi_extra=body_of(LaunchRequest), summary="What a launch would do")
async def plan(request: Request) -> Response:
    """Decided by the same function as launches; changes nothing. A plan that does not fit is an answer, not an error."""
    who, asked = caller(request), launch_request(await read_json(request))
    permit.demand_launch(who, asked.model_uid, remote_code=asked.trust_remote_code, packages=bool(asked.packages))
    return json_reply(await service(request).control.plan(asked, confined=not who.free))
