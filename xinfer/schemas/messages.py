"""POST /v1/messages, as Anthropic's clients speak."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from xinfer.schemas.base import Count, Lenient, Reply


class TextBlock(Lenient):
    """Text."""

    type: Literal["text"]
    text: str


class ToolUseBlock(Lenient):
    """A call that the model has made."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)


class ToolResultBlock(Lenient):
    """What a call gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] = ""


class ThinkingBlock(Lenient):
    """What the model said to itself."""

    type: Literal["thinking"]
    thinking: str


Block = Annotated[TextBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock, Field(discriminator="type")]


class Turn(Lenient):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class AnthropicTool(Lenient):
    """A function that the model may call; ``input_schema`` is a JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=dict)


class ToolChoice(Lenient):
    """Whether tools are called."""

    type: Literal["auto", "none", "any", "tool"]


class MessagesRequest(Lenient):
    """A conversation to go on with.

    Attributes:
        model: uid of a running LLM.
        max_tokens: of the answer.
        system: how the model is to behave.
    """

    model: str
    max_tokens: Count
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    stop_sequences: Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoice | None = None


class MessageUsage(Reply):
    """Counts of one request."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0


class MessageReply(Reply):
    """The whole answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None = None
    usage: MessageUsage


class MessageFailure(Reply):
    """What is wrong, in one sentence."""

    type: str
    message: str
    code: str


class MessageError(Reply):
    """The error body of these paths."""

    type: Literal["error"] = "error"
    error: MessageFailure
