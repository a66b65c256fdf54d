"""What Anthropic's clients ask, as a chat of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from xinfer.errors import InvalidRequest
from xinfer.schemas.chat import ChatRequest, Function, Message, Tool
from xinfer.schemas.messages import Block, MessagesRequest, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, Turn


def as_chat(body: MessagesRequest) -> ChatRequest:
    """The same conversation in the words of ``/v1/chat/completions``.

    Raises:
        InvalidRequest: calls are to be forced.
    """
    if body.tool_choice is not None and body.tool_choice.type in ("any", "tool"):
        raise InvalidRequest('tool_choice.type must be "auto" or "none"; calls cannot be forced here.', param="tool_choice")
    messages = [Message(role="system", content=_text(body.system))] if body.system else []
    for turn in body.messages:
        messages += _messages(turn)
    tools = [
        Tool(type="function", function=Function(name=t.name, description=t.description, parameters=t.input_schema))
        for t in body.tools or ()
    ]
    return ChatRequest(
        model=body.model,
        messages=messages,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=body.stop_sequences,
        tools=tools or None,
        tool_choice="none" if body.tool_choice is not None and body.tool_choice.type == "none" else None,
    )


def _text(content: str | list[TextBlock] | None) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content or ())


def _messages(turn: Turn) -> list[Message]:
    """Results of calls are turns of their own with us, ahead of what is said beside them."""
    if isinstance(turn.content, str):
        return [Message(role=turn.role, content=turn.content)]
    results = [
        Message(role="tool", tool_call_id=block.tool_use_id, content=_text(block.content))
        for block in turn.content
        if isinstance(block, ToolResultBlock)
    ]
    said = _said(turn, turn.content)
    return [*results, *([said] if said is not None else [])]


def _said(turn: Turn, blocks: Iterable[Block]) -> Message | None:
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    thought = "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
    calls: list[dict[str, Any]] = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": orjson.dumps(block.input).decode()}}
        for block in blocks
        if isinstance(block, ToolUseBlock)
    ]
    if not text and not calls and not thought:
        return None
    return Message.model_validate({"role": turn.role, "content": text, "reasoning_content": thought or None, "tool_calls": calls or None})
