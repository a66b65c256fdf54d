"""Text of language models in OpenAI's shape: /v1/chat/completions and /v1/completions."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.api.answering import events, whole
from xinfer.api.chunks import ChatChunks, Frame, TextChunks, chat_choice, failure, text_frame, text_logprobs, usage
from xinfer.api.jobs import chat_jobs, completion_jobs, prompts
from xinfer.api.limits import parse, read_json, request_id, unless_gone
from xinfer.api.reply import ERRORS, body_of, json_reply
from xinfer.api.routes.infer import traits_of
from xinfer.api.speech import Speech
from xinfer.api.sse import EventStream
from xinfer.catalog.spec import LlmTraits
from xinfer.schemas.chat import ChatReply, ChatRequest, CompletionReply, CompletionRequest

router = APIRouter(tags=["inference"], responses=ERRORS)


@router.post("/v1/chat/completions", response_model=ChatReply, openapi_extra=body_of(ChatRequest), summary="Go on with a conversation")
async def chat(request: Request) -> Response:
    """Streamed with ``stream``."""
    body = parse(ChatRequest, await read_json(request))
    traits = traits_of(request, body.model)
    name = request_id(request)
    jobs = chat_jobs(body, traits, name)
    speeches = [Speech(name, traits, bool(jobs[0].tools)) for _ in jobs]
    frame = Frame(f"chatcmpl-{name}", int(time.time()), body.model)
    if body.stream:
        chunks = ChatChunks(frame, speeches, body.stream_options is not None and body.stream_options.include_usage)
        return await EventStream.begin(request, events(request, body.model, jobs, speeches, chunks), failure)
    await unless_gone(request, whole(request, body.model, jobs, speeches))
    head = {"id": frame.id, "object": "chat.completion", "created": frame.created, "model": frame.model}
    return json_reply({**head, "choices": [chat_choice(n, speech) for n, speech in enumerate(speeches)], "usage": usage(speeches)})


@router.post("/v1/completions", response_model=CompletionReply, openapi_extra=body_of(CompletionRequest), summary="Go on with a text")
async def complete(request: Request) -> Response:
    """Of one prompt or several; streamed with ``stream``."""
    body = parse(CompletionRequest, await read_json(request))
    traits_of(request, body.model)
    name = request_id(request)
    jobs = completion_jobs(body, name)
    count = len(prompts(body))
    speeches = [Speech(name, LlmTraits(), tools=False) for _ in jobs]
    frame = Frame(f"cmpl-{name}", int(time.time()), body.model)
    echoes = [job.prompt if body.echo and isinstance(job.prompt, str) else "" for job in jobs]
    if body.stream:
        chunks = TextChunks(frame, speeches, echoes, body.stream_options is not None and body.stream_options.include_usage, count)
        return await EventStream.begin(request, events(request, body.model, jobs, speeches, chunks), failure)
    await unless_gone(request, whole(request, body.model, jobs, speeches))
    choices = [
        {"index": n, "text": echo + each.content, "logprobs": text_logprobs(each.logprobs), "finish_reason": each.finish}
        for n, (echo, each) in enumerate(zip(echoes, speeches, strict=True))
    ]
    return json_reply({**text_frame(frame, choices), "usage": usage(speeches, count)})
