"""POST /v1/rerank, /v2/rerank and /rerank with ``documents``: the shape that Cohere, Jina and Xinference clients share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from xinfer.schemas.base import Count, Lenient, Reply, TextObject, Usage


class RerankRequest(Lenient):
    """One query against many documents.

    Attributes:
        model: uid of a running reranker.
        documents: strings, or objects with a string ``text``; an empty string is a document.
        top_n: at most this many results; null or more than there are documents means all.
        return_documents: give each result its document back.
        instruction: overrides the default instruction of an LLM-scored reranker.
    """

    model: str
    query: str
    documents: Annotated[list[str | TextObject], Field(min_length=1, fail_fast=True)]
    top_n: Count | None = None
    return_documents: bool | None = None
    return_len: bool | None = None
    instruction: str | None = None

    def texts(self) -> list[str]:
        """The documents as plain strings, in request order."""
        return [d if isinstance(d, str) else d.text for d in self.documents]


class RerankResult(Reply):
    """One document's place; ``index`` is its position in the request."""

    index: int
    relevance_score: float
    document: TextObject | None = None


class RerankTokens(Reply):
    """Tokens that the model read; a reranker writes none."""

    input_tokens: int = 0
    output_tokens: int = 0


class RerankMeta(Reply):
    """Cohere's ``meta``.

    Attributes:
        truncated: indices of documents that were longer than the model takes and were cut.
        warnings: the same in sentences.
    """

    api_version: dict[str, Any] | None = None
    billed_units: dict[str, Any] | None = None
    tokens: RerankTokens = RerankTokens()
    warnings: list[str] | None = None
    truncated: list[int] = Field(default_factory=list)


class RerankReply(Reply):
    """Results, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage = Usage()
    meta: RerankMeta = RerankMeta()
