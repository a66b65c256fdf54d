"""POST /v1/chat/completions and /v1/completions, as OpenAI's clients speak."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from xinfer.schemas.base import Count, Lenient, Reply

Temperature = Annotated[float, Field(ge=0, le=2)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Whole = Annotated[int, Field(strict=True, ge=0)]


class ContentPart(Lenient):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class CalledFunction(Lenient):
    """What a call names; ``arguments`` is JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(Lenient):
    """A call that the model has made."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Lenient):
    """One turn; ``content`` may be null beside calls."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class Function(Lenient):
    """A function that the model may call; ``parameters`` is a JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class Tool(Lenient):
    """A function."""

    type: Literal["function"]
    function: Function


class JsonSchema(Lenient):
    """A schema that an answer must follow."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class ResponseFormat(Lenient):
    """Free text, any JSON object, or one of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Lenient):
    """``include_usage``: a last chunk with the counts."""

    include_usage: bool = False


class Sampled(Lenient):
    """What both endpoints take.

    Attributes:
        model: uid of a running LLM.
        max_tokens: of the answer; null = up to the model's context.
        stop: strings that end the answer and are not in it.
        n: answers to the same prompt.
        ignore_eos: go on past the model's own end.
    """

    model: str
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False


class ChatRequest(Sampled):
    """A conversation to go on with."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionRequest(Sampled):
    """Text to go on with: strings, or token ids."""

    prompt: str | list[Whole] | Annotated[list[str], Field(min_length=1)] | Annotated[list[list[Whole]], Field(min_length=1)]
    logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None


class TokenUsage(Reply):
    """Counts of one request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | None = None


class ChatReply(Reply):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: TokenUsage


class CompletionReply(Reply):
    """The whole answer."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: TokenUsage
