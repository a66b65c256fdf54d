"""The one error handler: every failure becomes the same body, with the headers that clients act on."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable
from typing import Any, Literal

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xinfer.api.message_events import error_kind
from xinfer.api.sentences import from_errors
from xinfer.errors import InvalidRequest, NotFound, XinferError

log = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_TEI_TYPES: dict[int, Literal["Overloaded", "Unhealthy"]] = {429: "Overloaded", 503: "Unhealthy"}
TEI = "tei"
"""Set in a request's scope by a route that answers some requests in the shape of text-embeddings-inference."""
TEI_ONLY = frozenset({("POST", "/"), ("POST", "/embed")})
"""Answered so whatever they hold, before any route is reached too."""
ANTHROPIC = frozenset({"/v1/messages", "/anthropic/v1/messages"})
"""Paths that answer in Anthropic's shape."""
ASKED = "xinfer.asked"
"""In the scope of a HEAD that is answered as GET: what was asked."""


class MethodNotAllowed(XinferError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    http_status = 405


class HttpError(XinferError):
    """What the framework refused by itself; the status is its own."""

    code = "http_error"


def install(app: FastAPI) -> None:
    """Register the handlers; unexpected exceptions are met by ``Border``."""
    app.add_exception_handler(XinferError, on_ours)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


def error_response(error: XinferError, scope: Scope, status: int | None = None) -> Response:
    """The reply to a failure."""
    status = status or error.http_status
    if scope.get(TEI) or (scope["method"], scope["path"]) in TEI_ONLY:
        kind = _TEI_TYPES.get(status, "Validation" if status < 500 else "Backend")
        body: dict[str, Any] = {"error": error.message, "error_type": kind}
    elif scope["path"] in ANTHROPIC:
        body = {"type": "error", "error": {"type": error_kind(status), "message": error.message, "code": error.code}}
    else:
        inner: dict[str, Any] = {
            "message": error.message,
            "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "code": error.code,
            "param": error.param,
        }
        if error.details:
            inner["details"] = error.details
        body = {"detail": error.message, "error": inner}
    content = orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, _headers(error, status), "application/json")


def _headers(error: XinferError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after is not None or status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if allow := error.details.get("allow"):
        headers["Allow"] = str(allow)
    return headers


async def on_ours(request: Request, error: Exception) -> Response:
    """The reply to an error of ours; the log hears of those that the server is to blame for."""
    ours = error if isinstance(error, XinferError) else XinferError(str(error))
    if ours.http_status >= 500 and not ours.retryable:
        log.error("request %s failed: %s: %s", request.scope.get("request_id"), ours.code, ours.message)
    return error_response(ours, request.scope)


async def _on_validation(request: Request, error: Exception) -> Response:
    found = [dict(e, loc=e["loc"][1:]) for e in error.errors()] if isinstance(error, RequestValidationError) else []
    sentence = (
        from_errors(found, dict(request.query_params) | request.path_params) if found else InvalidRequest("The request is not valid.")
    )
    return error_response(sentence, request.scope)


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.url.path
    if status == 404:
        return error_response(NotFound(f"There is no path {path[:200]}; see /openapi.json."), request.scope)
    if status == 405:
        methods: Methods = request.app.state.methods
        allow = ", ".join(methods.of(path)) or (getattr(error, "headers", None) or {}).get("Allow", "")
        asked = request.scope.get(ASKED, request.method)
        return error_response(MethodNotAllowed(f"{path[:200]} does not take {asked}; it takes {allow}.", allow=allow), request.scope)
    return error_response(HttpError(str(getattr(error, "detail", error))), request.scope, status)


class Methods:
    """Which methods a path takes, over all routes: the framework names only those of the first that matches."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [r for r in routes if isinstance(r, Route)]

    def of(self, path: str) -> list[str]:
        """In alphabetical order; HEAD wherever GET is."""
        matching = [r for r in self._routes if r.path_regex.match(path)]
        # A uid may hold slashes, so /v1/models/{uid} matches everything below it too: the template that says most counts.
        most = max((_literals(r) for r in matching), default=0)
        found = {m for r in matching if _literals(r) == most for m in r.methods or ()}
        return sorted(found | {"HEAD"} if "GET" in found else found)


def _literals(route: Route) -> int:
    return len(re.sub(r"{[^}]*}", "", route.path))


class Border:
    """Outermost layer: the request's id in and out, HEAD answered as GET without its body, and the last stop of unexpected exceptions."""

    def __init__(self, app: ASGIApp, new_id: Any) -> None:
        self.app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = scope["request_id"] = self._request_id(scope)
        begun, bodiless = False, scope["method"] == "HEAD"
        if bodiless:
            scope = {**scope, "method": "GET", ASKED: "HEAD"}

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message.setdefault("headers", []).append((b"x-request-id", name.encode("latin-1")))
            await send({**message, "body": b""} if bodiless and "body" in message else message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            log.exception("request %s: %s %s failed unexpectedly", name, scope["method"], scope["path"])
            if begun:
                raise
            error = XinferError(f"The server failed unexpectedly; its log has more under request id {name}.")
            await error_response(error, scope)(scope, receive, sending)

    def _request_id(self, scope: Scope) -> str:
        for key, value in scope["headers"]:
            if key == b"x-request-id" and 0 < len(value) <= 128 and value.isascii() and value.decode().isprintable():
                return str(value.decode())
        return str(self._new_id())
