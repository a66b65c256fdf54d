"""What the bodies have in common: inference requests ignore what they do not know, management requests refuse it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from xinfer.schemas.launch import Strict

__all__ = ["Count", "Lenient", "Reply", "Strict", "TextObject", "Usage"]

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number of at least 1; neither ``"3"`` nor ``true`` is one."""


class Lenient(BaseModel):
    """Base of inference requests: clients send fields of their own (``user``, ``kwargs``, ``overlap_tokens``)."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Reply(BaseModel):
    """Base of replies: a client ignores what a newer server adds."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class TextObject(Lenient):
    """A document or text wrapped in an object; other keys of it are ignored."""

    text: str


class Usage(Reply):
    """Tokens after truncation, summed over the request."""

    prompt_tokens: int = 0
    total_tokens: int = 0
