"""GET /v1/requests/{id}/why: where a request's time went."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.access import permit
from xinfer.api.gate import caller
from xinfer.api.limits import service
from xinfer.api.reply import ERRORS, json_reply
from xinfer.errors import NotFound

router = APIRouter(prefix="/v1/requests", tags=["inference"], responses=ERRORS)


@router.get("/{wanted_id}/why", response_model=dict[str, Any], summary="Where a request's time went")
async def why(request: Request, wanted_id: str) -> Response:
    """By its ``X-Request-ID``; recent requests only."""
    it = service(request)
    story = it.inference.why(wanted_id)
    if story is None and it.siblings is not None:
        story = await it.siblings.why(wanted_id)
    if story is None or not permit.sees(caller(request), str(story.get("model", ""))):
        raise NotFound(f"No recent request has the id {wanted_id[:128]!r}.", param="request_id")
    return json_reply(story)
