"""What happens in the cluster: a stream, its history, and the figures of the last fifteen minutes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from xinfer.access import permit
from xinfer.api import present_feed
from xinfer.api.feed import Feed, place
from xinfer.api.gate import caller
from xinfer.api.limits import service
from xinfer.api.reply import ERRORS, document, json_reply
from xinfer.cluster.ids import Epoch
from xinfer.cluster.snapshot import Snapshot
from xinfer.placement.named import find_worker
from xinfer.schemas.feed import EventEntry, EventList, FeedChange, FeedReading, FeedSnapshot, ReadingList, SeriesList

router = APIRouter(prefix="/v1/cluster", tags=["cluster"], responses=ERRORS)

document(FeedSnapshot, FeedChange, FeedReading)

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `snapshot` (FeedSnapshot), `change` (FeedChange), `reading` (FeedReading), `away` and `back`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/events", response_class=StreamingResponse, responses=_STREAM, summary="What happens, as it happens")
async def events(request: Request, last_event_id: Annotated[str | None, Header()] = None) -> Response:
    """Server-sent events: the whole cluster first, then each change with a number, and readings every two seconds.

    With `Last-Event-ID` only what came after that event, if it is still known; else the whole cluster anew. `away` and `back` say
    that the supervisor does not answer, or does again; replicas go on meanwhile.
    """
    permit.demand_view(caller(request))
    feed: Feed = request.app.state.feed
    stream = feed.stream(last_event_id or "")
    first = await anext(stream)  # what goes wrong up to here gets a proper answer
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_all(first, stream), media_type="text/event-stream", headers=headers)


async def _all(first: bytes, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(stream):
        yield first
        async for text in stream:
            yield text


@router.get("/history", response_model=EventList, summary="What happened lately")
async def history(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=10_000, description="At most so many, the newest.")] = 200,
    model_uid: str | None = None,
    worker: Annotated[str | None, Query(description="Address, ip, host or id; of one that is gone, its id.")] = None,
    replica: Annotated[str | None, Query(description="A replica's full id.")] = None,
    after: Annotated[str, Query(description="Only what came after the event of that id; of another life of the supervisor, all.")] = "",
) -> Response:
    """Since this supervisor began, oldest first, one sentence each; filtered by what is named."""
    permit.demand_view(caller(request))
    control = service(request).control
    epoch, number = place(after) or (Epoch(-1), 0)
    news = await control.history(epoch, number)
    changes = news.changes or ()
    entries = [entry for change in changes if (entry := present_feed.entry(news.epoch, change)) is not None]
    worker_id = None if worker is None else _id_of(worker, entries, await control.snapshot())
    found = [e for e in entries if _about(e, model_uid, worker_id, replica)]
    gapless = not changes or changes[0].number == (number if epoch == news.epoch else 0) + 1
    return json_reply({"data": found[-limit:], "complete": gapless and len(found) <= limit})


def _id_of(worker: str, entries: Sequence[EventEntry], snapshot: Snapshot) -> str:
    """Raises InvalidPlacement: nobody is called so, nor was."""
    if any(worker == entry.worker_id for entry in entries):
        return worker
    return find_worker(worker, list(snapshot.workers.values()), "worker").id


def _about(it: EventEntry, model_uid: str | None, worker_id: str | None, replica: str | None) -> bool:
    return (
        (model_uid is None or it.model_uid == model_uid)
        and (worker_id is None or it.worker_id == worker_id)
        and (replica is None or it.key == replica)
    )


@router.get("/readings", response_model=ReadingList, summary="What every worker measured last")
async def readings(request: Request) -> Response:
    """The newest reading of each worker's devices and replicas; one every two seconds."""
    permit.demand_view(caller(request))
    news = await service(request).control.news(Epoch(-1), 0, 0, 0.0)
    return json_reply({"data": [present_feed.reading(*each).model_dump() for each in news.readings]})


@router.get("/series", response_model=SeriesList, summary="A worker's last fifteen minutes")
async def series(request: Request, worker: Annotated[str, Query(description="Address, ip, host or id.")]) -> Response:
    """A point every two seconds for each of its devices and replicas."""
    permit.demand_view(caller(request))
    control = service(request).control
    snapshot = await control.snapshot()
    found = find_worker(worker, list(snapshot.workers.values()), "worker")
    return json_reply(present_feed.series(found.id, await control.readings(found.id)))
