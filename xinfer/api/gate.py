"""The layer that asks everyone who they are. What a caller may do, routes ask of ``access.permit``."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from xinfer.access.callers import NOBODY, Caller, authenticate, bearer
from xinfer.api.errors import error_response
from xinfer.cluster.keys import Keys
from xinfer.cluster.routes import RouteTable
from xinfer.errors import Unavailable, XinferError

OPEN = frozenset(
    {
        "/health",
        "/healthz",
        "/readyz",
        "/docs",
        "/openapi.json",
        "/token",
        "/v1/address",
        "/v1/cluster/auth",
        "/v1/cluster/version",
    }
)
"""Answered without a key: probes, what clients ask first, the documentation, and where workers that have the cluster token join."""
PAGES = frozenset({"/", "/launch", "/playground", "/logs", "/login"})
BELOW = ("/launches/", "/models/", "/assets/")
CALLER = "xinfer.caller"


class Gate:
    """Every request but those for OPEN paths needs a key, once there is one.

    Args:
        routes: the table in use, which the keys came with.
        cluster_token: of this cluster, for proofs; "" takes none.
        clock: unix seconds.
    """

    def __init__(self, app: ASGIApp, routes: Callable[[], RouteTable], cluster_token: str, clock: Callable[[], float]) -> None:
        self.app = app
        self._routes = routes
        self._cluster_token = cluster_token
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope[CALLER] = self._caller(scope)
            except XinferError as error:
                await error_response(error, scope)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        path = scope["path"]
        if path in OPEN or (scope["method"] == "GET" and is_page(path)):
            return NOBODY
        given = {name: value for name, value in reversed(scope["headers"]) if name in (b"authorization", b"x-api-key")}
        key = bearer(_text(given.get(b"authorization")), _text(given.get(b"x-api-key")))
        return authenticate(known_keys(self._routes()), key, self._cluster_token, self._clock())


def is_page(path: str) -> bool:
    """Whether a browser gets a page or an asset there, which are the same for everyone and say nothing of models."""
    return path in PAGES or path.startswith(BELOW)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def known_keys(table: RouteTable) -> Keys:
    """The keys that are in force.

    Raises:
        Unavailable: none have come from the supervisor yet, nor that there are none.
    """
    if not table.knows_keys:
        raise Unavailable("This API process does not know yet who may do what; ask again.", retry_after=1)
    return table.keys


def caller(request: Request) -> Caller:
    """Whose request it is."""
    found: Caller = request.scope[CALLER]
    return found
