"""The inference paths, straight from the border to their function.

They have no parameters in the path and read their bodies by themselves, so the framework's router, dependency solver and exit
stacks have nothing to do for them, but take their time with every request. The framework keeps the routes, for the OpenAPI
document and for every method that is not theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from xinfer.api.errors import on_ours
from xinfer.errors import XinferError

Endpoint = Callable[[Request], Awaitable[Response]]


class Straight:
    """A layer that answers the exact paths and methods of ``routes`` and hands everything else on."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._routes = {(method, route.path): route for route in routes if isinstance(route, Route) for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except XinferError as error:
            response = await on_ours(request, error)
        await response(scope, receive, send)
