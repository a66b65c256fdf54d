"""Calls for who watches a cluster: what was launched, what happened, what was measured."""

from __future__ import annotations

from xinfer.client.calls import Call, given, model_of
from xinfer.schemas.feed import EventEntry, EventList, FeedReading, ReadingList, SeriesList
from xinfer.schemas.models import LaunchEntry, LaunchList


def launches(limit: int = 50) -> Call[list[LaunchEntry]]:
    """The launches that were accepted last, newest first, each with the body to send again."""
    return Call("GET", "/v1/launches", lambda r: LaunchList.model_validate(r).data, params={"limit": str(limit)})


def history(
    limit: int = 200, *, model_uid: str | None = None, worker: str | None = None, replica: str | None = None, after: str | None = None
) -> Call[list[EventEntry]]:
    """What happened in the cluster since its supervisor began, oldest first.

    Args:
        limit: at most so many, the newest; ``after``: only what came after the event of that id.
        worker: address, ip, host name or id; of one that is gone, its id. ``replica``: full id.
    """
    params = given(limit=str(limit), model_uid=model_uid, worker=worker, replica=replica, after=after)
    return Call("GET", "/v1/cluster/history", lambda r: EventList.model_validate(r).data, params=params)


def readings() -> Call[list[FeedReading]]:
    """What every worker measured last of its devices and replicas."""
    return Call("GET", "/v1/cluster/readings", lambda r: ReadingList.model_validate(r).data)


def series(worker: str) -> Call[SeriesList]:
    """The last fifteen minutes of a worker's devices and replicas, by address, ip, host name or id."""
    return Call("GET", "/v1/cluster/series", model_of(SeriesList), params={"worker": worker})
