"""Entry of an API process: uvicorn on the launcher's socket, beside an actor pool, in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
import xoscar as xo

from xinfer import __version__
from xinfer import settings as config
from xinfer.actors.messages import API_UID
from xinfer.actors.pool import open_pool
from xinfer.actors.refs import SupervisorRef
from xinfer.api.actor import ApiActor
from xinfer.api.app import create_app
from xinfer.api.dispatch import Dispatcher
from xinfer.api.door import Connections, Door
from xinfer.api.links import ReplicaCalls, SupervisorControl, poll_routes
from xinfer.api.protocol import Http
from xinfer.api.reporting import report_loads
from xinfer.api.siblings import ApiSiblings
from xinfer.api.streams import Streams
from xinfer.catalog.spec import ModelType
from xinfer.cluster.ids import Address
from xinfer.cluster.routes import ModelRoutes, RouteTable
from xinfer.processes import runtime
from xinfer.processes.counts import Counts
from xinfer.processes.tls import serving
from xinfer.settings import ServerSettings

FIRST_ROUTES = 3.0
"""Seconds; longer, and workers that ask REST for the supervisor's address would wait in vain."""


def main(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """Serve until told to stop.

    Args:
        payload: ``settings``; ``fd``, the listening REST socket; ``control``, the SupervisorActor's address;
            ``name`` of this process among its siblings.
    """
    settings = config.load(ServerSettings, payload["settings"])

    async def serve(stop: asyncio.Event) -> None:
        pool, address = await open_pool(settings.control_host, None)
        supervisor = SupervisorRef(Address(payload["control"]))
        calls = ReplicaCalls()
        limits, timings = settings.limits, settings.timings
        dispatcher = Dispatcher(calls, _encodes, limits=limits, timings=timings, api_processes=settings.api_processes)
        streams = Streams(calls, _generates, limits=limits, timings=timings, news=dispatcher.news)

        def update(table: RouteTable) -> None:
            streams.update_routes(table)
            dispatcher.update_routes(table)
            calls.keep(table)

        control = SupervisorControl(supervisor, calls, dispatcher.routes, update)
        polling = asyncio.create_task(poll_routes(supervisor, dispatcher.routes, update, address), name="route poll")
        reporting = asyncio.create_task(report_loads(supervisor, (dispatcher, streams), address, timings.scale.report), name="load reports")
        siblings = ApiSiblings(supervisor, address)
        counting = asyncio.create_task(siblings.watch(dispatcher.share_with), name="sibling count") if settings.api_processes > 1 else None
        app = create_app(
            dispatcher,
            control,
            streams=streams,
            limits=limits,
            version=__version__,
            supervisor_address=payload["control"],
            timings=timings,
            siblings=siblings,
            process=payload["name"],
            cluster_token=os.environ.get("XOSCAR_AUTH_KEY", ""),
        )
        await xo.create_actor(ApiActor, dispatcher, streams, app.state.service.calls, app.state.meter, address=address, uid=API_UID)
        # Until there are routes, callers wait in the socket's backlog instead of being told to come again.
        await dispatcher.first_routes(FIRST_ROUTES)
        runtime.settle()
        tls = serving(settings.tls) if settings.tls is not None else None
        counts = Counts(payload["counts"], payload["index"]) if payload["counts"] is not None else None
        await _run_uvicorn(app, payload["fd"], stop, lambda: announce({"address": address}), counts, tls)
        polling.cancel()
        reporting.cancel()
        if counting is not None:
            counting.cancel()
        await streams.close()
        await dispatcher.close()
        await pool.stop()

    return runtime.run(serve, settings.log_level)


def _generates(routes: ModelRoutes) -> bool:
    return routes.spec.type is ModelType.LLM


def _encodes(routes: ModelRoutes) -> bool:
    return not _generates(routes)


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, leaves the signals to the runtime and shares its socket fairly.

    Args:
        counts: of connections, where there are several API processes.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], counts: Counts | None) -> None:
        super().__init__(config)
        self._ready = ready
        self._counts = counts
        self._door: Door | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._counts is None or not sockets:
            await super().startup(sockets)
        else:
            await super().startup([])
            connections = self.server_state.connections = Connections(self._counts)
            self._door = Door(sockets[0], self._protocol, connections, self._counts, self.config.ssl)
            self._door.open()
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._door is not None:
            self._door.close()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return Http(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run_uvicorn(
    app: Any, fd: int, stop: asyncio.Event, ready: Callable[[], None], counts: Counts | None, tls: ssl.SSLContext | None
) -> None:
    config = uvicorn.Config(
        app,
        http=Http,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody asks who the client is
        timeout_graceful_shutdown=8,  # what is in flight; the launcher kills after 10
        timeout_keep_alive=75,
        backlog=4096,
    )
    config.load()
    config.ssl = tls
    server = _Server(config, ready, counts)
    serving = asyncio.create_task(server.serve([socket.socket(fileno=fd)]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    app.state.feed.close()  # who watches would hold up the end
    server.should_exit = True
    await serving
    stopping.cancel()
