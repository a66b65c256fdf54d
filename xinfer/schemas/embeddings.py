"""POST /v1/embeddings in OpenAI's shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from xinfer.schemas.base import Count, Lenient, Reply, TextObject, Usage

TokenId = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
TokenIdLists = Annotated[list[TokenIds], Field(min_length=1, fail_fast=True)]
Text = str | TextObject
Texts = Annotated[list[Text], Field(min_length=1, fail_fast=True)]


class EmbeddingsRequest(Lenient):
    """Texts or token ids to embed.

    Attributes:
        input: a text, a list of texts, the token ids of one text, or a list of those.
        encoding_format: ``base64`` is little-endian float32.
        dimensions: cut each vector to this length and normalise it again; models that were trained for it only.
        prompt_name: one of the model's own prompts, such as "query".
    """

    model: str
    input: Text | TokenIds | Texts | TokenIdLists
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    prompt_name: str | None = None

    def inputs(self) -> list[str | tuple[int, ...]]:
        """One entry per vector, in request order."""
        return inputs_of(self.input)


def inputs_of(value: Any) -> list[str | tuple[int, ...]]:
    """A validated ``input`` or ``inputs`` as one flat list: texts, or token ids as tuples."""
    if isinstance(value, str | TextObject):
        return [_text(value)]
    if value and isinstance(value[0], int):
        return [tuple(value)]
    return [tuple(entry) if isinstance(entry, list) else _text(entry) for entry in value]


def _text(value: str | TextObject) -> str:
    return value if isinstance(value, str) else value.text


class EmbeddingEntry(Reply):
    """One vector: floats, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsReply(Reply):
    """Vectors in request order."""

    object: Literal["list"] = "list"
    model: str
    data: list[EmbeddingEntry]
    usage: Usage = Usage()
