"""GET /v1/launches: what was launched lately."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from xinfer.access import permit
from xinfer.api.gate import caller
from xinfer.api.limits import service
from xinfer.api.reply import ERRORS, json_reply
from xinfer.schemas.models import LaunchList
from xinfer.store.history import KEPT

router = APIRouter(tags=["models"], responses=ERRORS)


@router.get("/v1/launches", response_model=LaunchList, summary="What was launched lately")
async def launches(request: Request, limit: Annotated[int, Query(ge=1, le=KEPT, description="At most so many.")] = 50) -> Response:
    """Newest first, each with its body; of models that were stopped since, too. Those of a caller who may not see them are left out."""
    who = caller(request)
    found = await service(request).control.launches(KEPT)
    seen = [it for it in found if permit.sees(who, it.uid)][:limit]
    return json_reply({"data": [{"id": it.id, "at": it.at, "model_uid": it.uid, "request": orjson.loads(it.body)} for it in seen]})
