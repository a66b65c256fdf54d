"""What every engine owes, on every model: the library's own numbers, whatever comes and however it is batched."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.contract import references
from tests.contract.cases import CASES, Case, answers, folder_of, loaded
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import ModelType
from xinfer.errors import InvalidItem

QUERY = "how many people live in berlin?"
TEXTS = [
    "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    "New York City is famous for the Metropolitan Museum of Art.",
    "The cat sat upon the mat, and the dog sleeps in the sun.",
    "Berlin",
    "",
    "   leading and trailing blanks   ",
    "日本の首都は東京です。 🎉👩‍👩‍👧 naïve café — “quotes”",
    "e\u0301 combining, \u200b zero width, \ufeff mark, \x00 null, \t tab\r\nnew line",
    "[SEP] <|im_end|> </s> [MASK] special tokens as text",
    "{document} {query} {instruction} %s",
    "word " * 600,
    "x" * 3000,
]
TOLERANCE = 1e-4

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_one_by_one_it_equals_the_library(case: Case) -> None:
    ours = answers(loaded(case.name), case.items(TEXTS, QUERY))
    theirs = case.reference(folder_of(case.name), TEXTS, QUERY)
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < TOLERANCE
    assert len(np.unique(theirs, axis=0)) >= 8, "a model that answers the same to everything proves nothing"


@pytest.mark.parametrize("name", ["reranker-torch", "tiny-xlm-roberta"])
def test_raw_scores_equal_the_library_without_its_activation(name: str) -> None:
    """The sigmoid hides most of a logit, so the logits are compared as well."""
    model = loaded(name)
    ours = np.concatenate([model.forward([one]) for one in model.tokenize([WorkItem(QUERY, text) for text in TEXTS])])
    theirs = references.cross_encoder_logits(folder_of(name), TEXTS, QUERY)
    assert np.abs(ours - theirs).max() < TOLERANCE
    assert np.ptp(theirs) > 0.2


@pytest.mark.parametrize("case", [case for case in CASES if case.engine == "sentence_transformers"], ids=lambda case: case.name)
def test_torch_models_of_every_kind_compute_no_padding(case: Case) -> None:
    model = loaded(case.name)
    assert model.packs
    assert model.compute_path.startswith("unpadded rows")


@each_case
def test_the_same_batch_twice_gives_the_same_numbers(case: Case) -> None:
    items = case.items(TEXTS[:4], QUERY)
    first, second = (answers(loaded(case.name), items, batch=4) for _ in range(2))
    assert np.array_equal(first, second)


@each_case
def test_batch_neighbours_change_nothing_or_the_model_says_so(case: Case) -> None:
    model = loaded(case.name)
    alone = answers(model, case.items(TEXTS, QUERY))
    together = answers(model, case.items(TEXTS, QUERY), batch=len(TEXTS))
    assert model.scores_depend_on_batch is not case.exact
    if case.exact:
        assert np.abs(alone - together).max() < TOLERANCE
    else:
        assert np.abs(alone - together).max() < 0.2


@each_case
def test_long_input_is_cut_at_the_models_maximum_and_reported(case: Case) -> None:
    model = loaded(case.name)
    assert model.max_tokens == case.max_tokens
    short, long = model.tokenize(case.items(["Berlin", "word " * 5000], QUERY))
    assert (long.tokens, long.truncated) == (case.max_tokens, True)
    assert not short.truncated
    assert short.tokens < case.max_tokens


@each_case
def test_a_megabyte_is_quick_and_equals_its_beginning(case: Case) -> None:
    model = loaded(case.name)
    text = "the quick brown dog sleeps in the sun. " * 27_000
    assert len(text) > 1_000_000
    started = time.process_time()
    (huge,) = model.tokenize(case.items([text], QUERY))
    seconds = time.process_time() - started
    (beginning,) = model.tokenize(case.items([text[:20_000]], QUERY))
    assert np.array_equal(huge.features["input_ids"], beginning.features["input_ids"])
    assert huge.truncated
    assert seconds < 0.3


@each_case
def test_a_megabyte_of_blanks_before_the_text_is_still_read_to_its_end(case: Case) -> None:
    model = loaded(case.name)
    padded, plain = model.tokenize(case.items([" " * 1_000_000 + "Berlin", "Berlin"], QUERY))
    if case.name.startswith("tiny"):  # blanks are tokens there
        assert padded.truncated
    else:
        assert np.array_equal(padded.features["input_ids"], plain.features["input_ids"])


@each_case
def test_text_that_is_not_unicode_is_an_error_of_the_item(case: Case) -> None:
    with pytest.raises(InvalidItem):
        loaded(case.name).tokenize(case.items(["fine", "lone \ud800 surrogate"], QUERY))


@each_case
def test_it_reports_the_device_that_this_process_was_given(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "CPU-abc-1")
    (report,) = loaded(case.name).reports()
    assert report.uuid == "CPU-abc-1"
    assert report.threads == 1
    assert report.cores
    assert report.used_bytes > 50 << 20


@pytest.mark.parametrize("case", [case for case in CASES if case.type is ModelType.EMBEDDING], ids=lambda case: case.name)
def test_token_ids_are_taken_as_they_are(case: Case) -> None:
    model = loaded(case.name)
    (encoded,) = model.tokenize([WorkItem("New York City")])
    ids = tuple(encoded.features["input_ids"].tolist())
    assert np.array_equal(answers(model, [WorkItem(ids)]), answers(model, [WorkItem("New York City")]))
    (long,) = model.tokenize([WorkItem((5,) * 1000)])
    assert (long.tokens, long.truncated) == (case.max_tokens, True)
    for wrong in ((), (-1,), (10**9,)):
        with pytest.raises(InvalidItem):
            model.tokenize([WorkItem(wrong)])


@pytest.mark.parametrize("case", [case for case in CASES if case.type is ModelType.EMBEDDING], ids=lambda case: case.name)
def test_vectors_have_the_dimensions_they_say_and_unit_length(case: Case) -> None:
    model = loaded(case.name)
    vectors = answers(model, case.items(TEXTS, QUERY), batch=3)
    assert vectors.shape == (len(TEXTS), model.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_prompts_of_the_model_are_applied_by_name() -> None:
    name = "tiny-qwen3-embedding"
    ours = answers(loaded(name), [WorkItem(text, prompt="query") for text in TEXTS[:4]])
    theirs = references.sentence_transformer_prompted(folder_of(name), TEXTS[:4], "query")
    assert np.abs(ours - theirs).max() < TOLERANCE
    assert np.abs(ours - answers(loaded(name), [WorkItem(text) for text in TEXTS[:4]])).max() > 0.01


def test_an_unknown_prompt_is_an_error_of_the_item() -> None:
    with pytest.raises(InvalidItem, match="passage"):
        loaded("minilm").tokenize([WorkItem("a", prompt="passage")])
    assert len(loaded("minilm").tokenize([WorkItem("a", prompt="query")])) == 1


def test_an_instruction_overrides_the_default_of_an_llm_reranker() -> None:
    model = loaded("tiny-qwen3-reranker")
    plain = answers(model, [WorkItem(QUERY, TEXTS[0])])
    same = answers(model, [WorkItem(QUERY, TEXTS[0], instruction="find it")])
    other = answers(model, [WorkItem(QUERY, TEXTS[0], instruction="find something else entirely")])
    assert np.array_equal(plain, same)
    assert np.abs(plain - other).max() > 1e-4


def test_the_converted_checkpoint_ranks_as_the_onnx_model_does() -> None:
    texts = TEXTS[:4] + [f"Berlin in {year} had about {year - 1600} thousand inhabitants." for year in range(1900, 1908)]
    torch_logits, onnx_logits = (
        np.concatenate([model.forward([one]) for one in model.tokenize([WorkItem(QUERY, text) for text in texts])])
        for model in (loaded("reranker-torch"), loaded("reranker-onnx"))
    )
    assert np.corrcoef(torch_logits, onnx_logits)[0, 1] > 0.99
    # int8 activations swap near-ties; what is a logit apart keeps its order.
    apart = torch_logits[:, None] > torch_logits[None, :] + 1.0
    assert apart.sum() > 20
    assert (onnx_logits[:, None] > onnx_logits[None, :])[apart].all()


def test_paraphrases_are_nearer_than_unrelated_sentences() -> None:
    texts = ["A man is eating food.", "A man eats a meal.", "The stock market fell sharply."]
    for name in ("minilm", "bge-small-onnx"):
        vectors = answers(loaded(name), [WorkItem(text) for text in texts])
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1
