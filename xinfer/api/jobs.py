"""What a request for text asks of a language model, as jobs: one for each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs
import orjson

from xinfer.catalog.spec import LlmTraits
from xinfer.errors import InvalidRequest
from xinfer.generation.job import GenerationJob, Sampling
from xinfer.schemas.chat import ChatRequest, CompletionRequest, Message, ResponseFormat, Sampled

ANY_OBJECT = {"type": "object"}


def chat_jobs(body: ChatRequest, traits: LlmTraits, name: str) -> list[GenerationJob]:
    """One job for each answer to a conversation.

    Args:
        name: of the request, unique among all API processes.

    Raises:
        InvalidRequest: the model cannot do what is asked.
    """
    if not traits.chat:
        raise InvalidRequest(f"model {body.model} has no chat template; use /v1/completions.", param="model")
    tools = [] if body.tool_choice == "none" else body.tools or []
    if tools and traits.tools is None:
        raise InvalidRequest(f"tools: model {body.model} does not call tools.", param="tools")
    _check_choice(body.tool_choice, [tool.function.name for tool in tools])
    for tool in tools:
        check_schema(tool.function.parameters, f"tools: parameters of {tool.function.name}", "tools")
    return _numbered(
        body,
        GenerationJob(
            name,
            messages=tuple(map(_plain, body.messages)),
            tools=tuple(tool.model_dump(exclude_none=True) for tool in tools),
            template_options=body.chat_template_kwargs or {},
            sampling=_sampling(body, (body.top_logprobs or 0) if body.logprobs else None),
            max_tokens=body.max_completion_tokens or body.max_tokens,
            stops=_stops(body),
            ignore_end=body.ignore_eos,
            schema=_schema(body.response_format),
        ),
    )


def completion_jobs(body: CompletionRequest, name: str) -> list[GenerationJob]:
    """For each prompt, one job for each answer."""
    if body.suffix:
        raise InvalidRequest("suffix is not supported; leave it out.", param="suffix")
    jobs: list[GenerationJob] = []
    for number, prompt in enumerate(prompts(body)):
        job = GenerationJob(
            f"{name}.{number}",
            prompt=prompt,
            sampling=_sampling(body, body.logprobs),
            max_tokens=16 if body.max_tokens is None else body.max_tokens,
            stops=_stops(body),
            ignore_end=body.ignore_eos,
        )
        jobs += _numbered(body, job)
    return jobs


def prompts(body: CompletionRequest) -> list[str | tuple[int, ...]]:
    """Each prompt: text, or token ids."""
    if isinstance(body.prompt, str):
        return [body.prompt]
    if body.prompt and all(isinstance(each, int) for each in body.prompt):
        return [tuple(each for each in body.prompt if isinstance(each, int))]
    found: list[str | tuple[int, ...]] = [
        each if isinstance(each, str) else tuple(each) for each in body.prompt if not isinstance(each, int)
    ]
    if not found or any(not each and not isinstance(each, str) for each in found):
        raise InvalidRequest("prompt must have a text, or at least one token id.", param="prompt")
    return found


def _numbered(body: Sampled, job: GenerationJob) -> list[GenerationJob]:
    return [job.another(number) for number in range(body.n or 1)]


def _sampling(body: Sampled, logprobs: int | None) -> Sampling:
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": None if body.top_k is None else max(0, body.top_k),
        "min_p": body.min_p,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "repetition_penalty": body.repetition_penalty,
    }
    seed = None if body.seed is None else body.seed % 2**32
    return Sampling(**{name: value for name, value in given.items() if value is not None}, seed=seed, logprobs=logprobs)  # type: ignore[arg-type]


def _stops(body: Sampled) -> tuple[str, ...]:
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return tuple(stop for stop in stops if stop)


def _check_choice(choice: str | Mapping[str, Any] | None, names: Sequence[str]) -> None:
    if choice == "required" or isinstance(choice, Mapping):
        raise InvalidRequest('tool_choice must be "auto" or "none"; calls cannot be forced here.', param="tool_choice")
    if len(set(names)) < len(names):
        raise InvalidRequest("tools must have different names.", param="tools")


def _plain(message: Message) -> dict[str, Any]:
    """A message as templates take it: one text, arguments of calls as objects."""
    content = message.content
    if content is not None and not isinstance(content, str):
        content = "".join(part.text for part in content)
    found: dict[str, Any] = {"role": message.role, "content": content or ""}
    if message.name:
        found["name"] = message.name
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    if message.reasoning_content:
        found["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": _arguments(call.function.arguments)}}
            for call in message.tool_calls
        ]
    return found


def _arguments(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def check_schema(schema: Mapping[str, Any], what: str, param: str) -> None:
    """Refuse what is no JSON schema of the newest draft, or refers to what is not in it.

    Raises:
        InvalidRequest.
    """
    try:
        # Another draft by its address would be fetched from there.
        jsonschema_rs.Draft202012Validator({name: value for name, value in schema.items() if name != "$schema"}, retriever=_not_fetched)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise InvalidRequest(f"{what} must be a JSON schema: {reason.splitlines()[0][:200]}.", param=param) from None


def _not_fetched(uri: str) -> Any:
    raise ValueError("it refers to another document, which is not fetched")


def _schema(wanted: ResponseFormat | None) -> Mapping[str, Any] | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ANY_OBJECT
    if wanted.json_schema is None:
        raise InvalidRequest("response_format.json_schema must hold a schema.", param="response_format")
    check_schema(wanted.json_schema.schema_, "response_format.json_schema.schema", "response_format")
    return wanted.json_schema.schema_ or ANY_OBJECT
