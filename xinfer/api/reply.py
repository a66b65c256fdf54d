"""Replies as JSON, and what the OpenAPI document says of bodies that routes read by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from xinfer.schemas.errors import ErrorBody
from xinfer.schemas.messages import MessageError
from xinfer.schemas.tei import TeiError

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_HOLE = b"\0"
"""Where a list goes; JSON never has this byte in it."""
_REF = "#/components/schemas/{model}"
_bodies: dict[str, type[BaseModel]] = {}
"""Every model that a route declared with ``body_of`` or ``document``, for the OpenAPI document."""


def json_reply(content: Any, status: int = 200) -> Response:
    """Serialise plain values, numpy arrays and pydantic models; NaN never gets here, routes check their numbers."""
    return Response(orjson.dumps(content, default=_plain, option=_OPTIONS), status, media_type="application/json")


async def list_reply(frame: dict[str, Any] | None, field: str, count: int, step: int, entries: Callable[[int, int], list[Any]]) -> Response:
    """A reply that is one long list, or has one at ``field`` of ``frame``, serialised ``step`` entries at a time.

    Serialising holds the interpreter, in whatever thread; between two slices the event loop answers others.

    Args:
        entries: of a range of positions.
    """
    before, after = orjson.dumps({**frame, field: orjson.Fragment(_HOLE)}).split(_HOLE) if frame is not None else (b"", b"")
    pieces = [before + b"["]
    for first in range(0, count, step):
        if first:
            await asyncio.sleep(0)
        entries_now = orjson.dumps(entries(first, min(count, first + step)), option=_OPTIONS)
        pieces.append(b"," + entries_now[1:-1] if first else entries_now[1:-1])
    pieces.append(b"]" + after)
    return Response(b"".join(pieces), media_type="application/json") if count <= step else Pieces(pieces)


class Pieces(Response):
    """JSON that is never put together: each piece goes out when the client has taken those before."""

    media_type = "application/json"

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self.headers["content-length"] = str(sum(map(len, pieces)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for number, piece in enumerate(self._pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(self._pieces)})
            await asyncio.sleep(0)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    raise TypeError(f"{type(value).__name__} is not JSON")


def body_of(*models: type[BaseModel]) -> dict[str, Any]:
    """``openapi_extra`` for a route that reads one of these bodies."""
    document(*models)
    refs = [{"$ref": _REF.format(model=m.__name__)} for m in models]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document(*models: type[BaseModel]) -> None:
    """Put these into the OpenAPI document, though no route takes or gives them as a whole."""
    _bodies.update({m.__name__: m for m in models})


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is at fault; one sentence says how."},
    "5XX": {"model": ErrorBody, "description": "The server is; 503 and 429 carry Retry-After."},
}
"""Documented for every route."""
TEI_ERRORS: dict[int | str, dict[str, Any]] = {status: {**said, "model": TeiError | ErrorBody} for status, said in ERRORS.items()}
"""Of routes that answer in the shape of text-embeddings-inference, except where the path or the method is wrong."""


MESSAGE_ERRORS: dict[int | str, dict[str, Any]] = {status: {**said, "model": MessageError} for status, said in ERRORS.items()}
"""Of routes that answer in Anthropic's shape."""


def describe(app: FastAPI, title: str, version: str, description: str) -> None:
    """Make ``app.openapi`` include the bodies named by ``body_of``; built once, on first use."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, title, version, description)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, title: str, version: str, description: str) -> dict[str, Any]:
    document = get_openapi(title=title, version=version, description=description, routes=app.routes)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.get("responses", {}).pop("422", None)
    _, schemas = models_json_schema([(m, "validation") for m in _bodies.values()], ref_template=_REF)
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in schemas.get("$defs", {}).items():
        components.setdefault(name, schema)
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    return document
