"""Reading bodies within limits, and giving up when the client has."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from xinfer.api.gate import caller
from xinfer.api.ports import Lane, Service
from xinfer.api.sentences import invalid
from xinfer.errors import Cancelled, InvalidRequest, PayloadTooLarge, XinferError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

DISCARD = 4
"""A body over the limit is read on and thrown away up to this many times the limit, so that the client sees the answer."""


class UnsupportedMedia(XinferError):
    """The body comes in an encoding that is not read here."""

    code = "unsupported_media_type"
    http_status = 415


def service(request: Request) -> Service:
    """What the application was made with."""
    found: Service = request.app.state.service
    return found


def request_id(request: Request) -> str:
    """The id of this request, from ``X-Request-ID`` or made for it."""
    found: str = request.scope["request_id"]
    return found


async def read_body(request: Request, limit: int) -> bytes:
    """The body, never more than ``limit`` bytes of it in memory.

    Raises:
        PayloadTooLarge, Cancelled (the client hung up).
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)  # the rest is read and thrown away while the client learns it
    kept: list[bytes] = []
    total = 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > DISCARD * limit:
                break
            if total <= limit:
                kept.append(chunk)
            else:
                kept.clear()
    except ClientDisconnect:
        raise Cancelled("The client hung up before its body had come.") from None
    if total > limit:
        raise _too_large(limit)
    return b"".join(kept)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body must be at most {limit} bytes.", param="body", limit=limit)


async def read_json(request: Request) -> Any:
    """The body as JSON, whatever content type it claims.

    Raises:
        InvalidRequest: empty, not JSON, not UTF-8, or half of a surrogate pair in a string.
        UnsupportedMedia: the body is compressed.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(f"Content-Encoding must be left out: {encoding[:40]} bodies are not taken.", param="Content-Encoding")
    body = await read_body(request, service(request).limits.body_bytes)
    if not body.strip():
        raise InvalidRequest("The body must be a JSON object; it is empty.", param="body")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body must be valid JSON in UTF-8: {error}.", param="body") from None


def parse(model: type[M], data: Any) -> M:
    """Validate parsed JSON.

    Raises:
        InvalidRequest: with one sentence about the first field at fault.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid(error, data, model) from None


async def read(request: Request, model: type[M]) -> M:
    """The body as a validated model."""
    return parse(model, await read_json(request))


def within(count: int, limit: int, param: str) -> None:
    """Refuse more entries than one request may hold.

    Raises:
        PayloadTooLarge.
    """
    if count > limit:
        raise PayloadTooLarge(f"{param} must have at most {limit} entries, not {count}.", param=param, limit=limit)


def lane(request: Request) -> Lane | None:
    """What ``X-Priority`` asks for."""
    asked = request.headers.get("x-priority", "").strip().lower()
    if asked == "interactive":
        return "interactive"
    if asked == "bulk":
        return "bulk"
    if asked:
        raise InvalidRequest("The header X-Priority must be interactive or bulk.", param="X-Priority")
    return None


def fairness_key(request: Request) -> str:
    """Whose turn it is: the id of the caller's key; while there are no keys, a digest of what was sent as one, or ""."""
    if own := caller(request).key_id:
        return own
    given = request.headers.get("authorization") or request.headers.get("x-api-key") or ""
    return hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()[:16] if given else ""


class _Leash:
    """Cancels the task that a request runs in: once, and not after it was undone."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.why = ""

    def pull(self, why: str) -> bool:
        """False when it was pulled before."""
        if self.why or self._task is None:
            return False
        self.why = why
        return self._task.cancel()

    def cancel(self) -> bool:
        """What an abort does."""
        return self.pull("The request was aborted.")

    def undo(self) -> bool:
        """Let the task go on; returns whether the cancel that has come was this one, and no one else's beside it."""
        task, self._task = self._task, None
        return bool(self.why) and task is not None and task.uncancel() == 0


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` in this task, and cancel it when the client hangs up or someone aborts the request.

    The body must have been read: from then on the only message to come is the disconnect.

    Raises:
        Cancelled: the work was cancelled; whatever else ``work`` raises.
    """
    leash = _Leash()
    gone = asyncio.ensure_future(_disconnected(request))
    gone.add_done_callback(lambda task: task.cancelled() or leash.pull("The client hung up."))
    calls, name = service(request).calls, request_id(request)
    calls.enter(name, caller(request).key_id, leash)
    try:
        return await work
    except asyncio.CancelledError:
        if leash.undo():
            raise Cancelled(leash.why) from None
        raise
    finally:
        leash.undo()
        calls.leave(name, leash)
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
