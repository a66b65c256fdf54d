"""The FastAPI application: routes, the error border and the OpenAPI document. It starts nothing and owns no state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from fastapi import FastAPI

from xinfer.api import errors
from xinfer.api.feed import Feed
from xinfer.api.gate import Gate
from xinfer.api.meter import Meter, Metered
from xinfer.api.ports import Answers, Control, Inference, Service, Siblings
from xinfer.api.reply import describe
from xinfer.api.routes import (
    catalog,
    chat,
    cluster,
    docs,
    embeddings,
    events,
    health,
    keys,
    launches,
    messages,
    models,
    plan,
    requests,
    rerank,
)
from xinfer.api.straight import Straight
from xinfer.settings import Limits, Timings
from xinfer.web import static

ABOUT = """Serve models on many GPUs and many machines.

Every error has the body `{"detail": "...", "error": {"message", "type", "code", "param"}}`; the paths of
text-embeddings-inference answer `{"error", "error_type"}`. Every reply carries `X-Request-ID`, the caller's own if it sent one.

Once there is an API key, every path but the probes, this document and a few that say nothing of models needs one:
`Authorization: Bearer KEY`, or `x-api-key`. 401: no key or none that is known; 403: a good key, but not for this."""


def create_app(
    inference: Inference,
    control: Control,
    *,
    streams: Answers,
    limits: Limits,
    version: str,
    supervisor_address: str = "",
    timings: Timings | None = None,
    siblings: Siblings | None = None,
    process: str = "",
    cluster_token: str = "",
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Build the application.

    Args:
        inference, streams: the dispatchers of this process, for encoders and for language models.
        control: the way to the supervisor.
        limits: of one request.
        version: what /v1/cluster/version says.
        supervisor_address: ``ip:port`` for workers that join.
        timings: ``load`` bounds how long a launch request waits.
        siblings: other API processes, asked for the story of a request, for their figures, and to abort a request.
        process: name of this one, a label of its figures.
        cluster_token: who proves to have it may make keys; "" lets nobody.
        clock: unix seconds, by which keys expire.
    """
    app = FastAPI(title="xinfer", version=version, redirect_slashes=False, docs_url=None, redoc_url=None)
    loads, begun = timings or Timings(), time.monotonic()
    app.state.service = Service(inference, streams, control, limits, loads, version, supervisor_address, begun, clock, siblings)
    app.state.meter = Meter(process)
    app.state.feed = Feed(control)
    rooms = (rerank, embeddings, chat, messages, models, launches, plan, cluster, events, catalog, requests, keys, health, docs)
    for room in rooms:
        app.include_router(room.router)
    app.include_router(static.pages())
    app.state.methods = errors.Methods([*app.routes, *(route for room in rooms for route in room.router.routes)])
    errors.install(app)
    app.add_middleware(Straight, routes=[*rerank.router.routes, *embeddings.router.routes, *chat.router.routes, *messages.router.routes])
    app.add_middleware(Gate, routes=inference.routes, cluster_token=cluster_token, clock=clock)
    app.add_middleware(Metered, meter=app.state.meter)
    app.add_middleware(errors.Border, new_id=lambda: uuid.uuid4().hex)
    describe(app, "xinfer", version, ABOUT)
    return app
