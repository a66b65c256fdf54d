"""Prompts of embedding models and templates of LLM-scored rerankers, as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import EmbeddingTraits, RerankTraits
from xinfer.errors import InvalidItem, LaunchFailed

_FIELDS = re.compile(r"(\{instruction\}|\{query\})")


class Prompts:
    """The prompts of one embedding model: those of its family, else those that its own files name."""

    def __init__(self, traits: EmbeddingTraits | None, own: Mapping[str, str | None], own_default: str | None) -> None:
        chosen = traits.prompts if traits is not None and traits.prompts else own
        # Clients say "query" and "document" to any model; one without prompts takes both as they are.
        self._texts = {"query": "", "document": "", **{name: text or "" for name, text in chosen.items()}}
        default = traits.default_prompt if traits is not None and traits.default_prompt else own_default
        if default is not None and default not in self._texts:
            raise LaunchFailed(f"default_prompt: {default!r} is not one of this model's prompts: {', '.join(sorted(self._texts))}.")
        self._default = default

    def apply(self, item: WorkItem) -> str:
        """The text with its prompt before it.

        Raises:
            InvalidItem: the model has no prompt of that name.
        """
        text = str(item.text)
        name = item.prompt if item.prompt is not None else self._default
        if name is None:
            return text
        if name not in self._texts:
            raise InvalidItem(f"prompt_name: {name!r} is not one of this model's: {', '.join(sorted(self._texts))}.", param="prompt_name")
        return self._texts[name] + text


def pair_of(item: WorkItem, traits: RerankTraits | None) -> tuple[str, str]:
    """Query and document of a rerank item, prefixes applied.

    Raises:
        InvalidItem: no document, or token ids where text belongs.
    """
    if item.pair is None or not isinstance(item.text, str):
        raise InvalidItem("A rerank item is a query and a document, both text.", param="documents")
    if traits is None:
        return item.text, item.pair
    return traits.query_prefix + item.text, traits.document_prefix + item.pair


class Template:
    """An LLM reranker's prompt around {document}; the part behind it is never truncated away."""

    def __init__(self, traits: RerankTraits) -> None:
        head, marker, tail = (traits.template or "").partition("{document}")
        if not marker or "{document}" in tail or "{query}" not in head + tail:
            raise LaunchFailed("rerank.template: a causal_lm reranker needs a text with {query} and, once, {document}.")
        self._head, self._tail = _FIELDS.split(head), _FIELDS.split(tail)
        self._traits = traits

    def parts(self, item: WorkItem) -> tuple[str, str]:
        """(everything up to and with the document, everything behind it)."""
        query, document = pair_of(item, self._traits)
        instruction = item.instruction if item.instruction is not None else self._traits.instruction or ""
        # One pass: braces inside what the caller sent are text.
        values = {"{instruction}": instruction, "{query}": query}
        head = "".join(values.get(piece, piece) for piece in self._head)
        return head + document, "".join(values.get(piece, piece) for piece in self._tail)
