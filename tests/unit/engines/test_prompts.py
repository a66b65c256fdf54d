"""Prompts, pairs and templates."""

from __future__ import annotations

import pytest

from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import EmbeddingTraits, RerankTraits
from xinfer.engines.prompts import Prompts, Template, pair_of
from xinfer.errors import InvalidItem, LaunchFailed


def test_the_familys_prompts_come_before_the_models_own() -> None:
    own = {"query": "own: ", "document": ""}
    assert Prompts(None, own, None).apply(WorkItem("x", prompt="query")) == "own: x"
    family = EmbeddingTraits(prompts={"query": "family: "}, default_prompt="query")
    assert Prompts(family, own, None).apply(WorkItem("x")) == "family: x"
    assert Prompts(EmbeddingTraits(), own, "query").apply(WorkItem("x")) == "own: x"


def test_query_and_document_are_known_to_every_model_and_others_are_not() -> None:
    prompts = Prompts(None, {}, None)
    assert [prompts.apply(WorkItem("x", prompt=name)) for name in ("query", "document", None)] == ["x", "x", "x"]
    with pytest.raises(InvalidItem, match=r"prompt_name: 'title' is not one of this model's: document, query"):
        prompts.apply(WorkItem("x", prompt="title"))


def test_a_default_that_does_not_exist_fails_the_launch() -> None:
    with pytest.raises(LaunchFailed, match=r"default_prompt"):
        Prompts(EmbeddingTraits(default_prompt="title"), {}, None)


def test_pairs_get_their_prefixes() -> None:
    assert pair_of(WorkItem("q", "d"), RerankTraits(query_prefix="Q:", document_prefix="D:")) == ("Q:q", "D:d")
    assert pair_of(WorkItem("q", "d"), None) == ("q", "d")
    for wrong in (WorkItem("q"), WorkItem((1, 2), "d")):
        with pytest.raises(InvalidItem):
            pair_of(wrong, None)


def test_a_template_takes_braces_from_callers_as_text() -> None:
    template = Template(RerankTraits(template="I {instruction} Q {query} D {document} end {query}", instruction="find"))
    head, tail = template.parts(WorkItem("{document} {instruction}", "{query} doc"))
    assert head == "I find Q {document} {instruction} D {query} doc"
    assert tail == " end {document} {instruction}"
    assert template.parts(WorkItem("q", "d", instruction=""))[0].startswith("I  Q q")


@pytest.mark.parametrize("text", [None, "{query}", "{document}", "{query} {document} {document}"])
def test_an_impossible_template_fails_the_launch(text: str | None) -> None:
    with pytest.raises(LaunchFailed, match=r"rerank.template"):
        Template(RerankTraits(scorer="causal_lm", template=text))
