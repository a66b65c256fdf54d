"""Text of language models in Anthropic's shape: /v1/messages."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.api.answering import events, whole
from xinfer.api.jobs import chat_jobs
from xinfer.api.limits import parse, read_json, request_id, unless_gone
from xinfer.api.message_events import MessageEvents, failure, message
from xinfer.api.message_jobs import as_chat
from xinfer.api.reply import MESSAGE_ERRORS, body_of, json_reply
from xinfer.api.routes.infer import traits_of
from xinfer.api.speech import Speech
from xinfer.api.sse import EventStream
from xinfer.schemas.messages import MessageReply, MessagesRequest

router = APIRouter(tags=["inference"], responses=MESSAGE_ERRORS)
_BODY = body_of(MessagesRequest)


@router.post("/v1/messages", response_model=MessageReply, openapi_extra=_BODY, summary="Go on with a conversation (Anthropic)")
async def messages(request: Request) -> Response:
    """Streamed with ``stream``."""
    return await _messages(request)


@router.post("/anthropic/v1/messages", response_model=MessageReply, openapi_extra=_BODY, summary="The same below /anthropic")
async def messages_below(request: Request) -> Response:
    """For clients whose base is ``/anthropic``."""
    return await _messages(request)


async def _messages(request: Request) -> Response:
    body = parse(MessagesRequest, await read_json(request))
    spoken = traits_of(request, body.model)
    name = request_id(request)
    jobs = chat_jobs(as_chat(body), spoken, name)
    speech = Speech(name, spoken, bool(jobs[0].tools))
    if body.stream:
        told = MessageEvents(f"msg_{name}", body.model, speech)
        return await EventStream.begin(request, events(request, body.model, jobs, [speech], told), failure)
    await unless_gone(request, whole(request, body.model, jobs, [speech]))
    return json_reply(message(f"msg_{name}", body.model, speech))
