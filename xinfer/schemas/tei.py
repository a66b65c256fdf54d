"""POST /rerank with ``texts`` and POST /embed in the shape of text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xinfer.schemas.base import Count, Lenient, Reply
from xinfer.schemas.embeddings import TokenIdLists, TokenIds, inputs_of


class TeiRerankRequest(Lenient):
    """One query against many texts.

    Attributes:
        raw_scores: skip the model's activation.
        truncate: false refuses a text longer than the model takes; otherwise it is cut.
    """

    query: str
    texts: Annotated[list[str], Field(min_length=1, fail_fast=True)]
    return_text: bool | None = None
    raw_scores: bool | None = None
    truncate: bool | None = None


class TeiRank(Reply):
    """One entry of the reply to a rerank, best first."""

    index: int
    score: float
    text: str | None = None


class TeiEmbedRequest(Lenient):
    """Texts or token ids to embed; ``normalize`` gives vectors of unit length."""

    inputs: str | TokenIds | Annotated[list[str], Field(min_length=1, fail_fast=True)] | TokenIdLists
    normalize: bool | None = True
    truncate: bool | None = None
    prompt_name: str | None = None
    dimensions: Count | None = None

    def items(self) -> list[str | tuple[int, ...]]:
        """One entry per vector, in request order."""
        return inputs_of(self.inputs)


class TeiError(Reply):
    """The error body of these two endpoints."""

    error: str
    error_type: Literal["Validation", "Overloaded", "Unhealthy", "Backend"]
