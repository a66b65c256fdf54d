"""The built-in families: schema, index, and the facts that must be right."""

from __future__ import annotations

import re

import pytest

from xinfer.catalog.families import Families, Family, load_builtin, parse_family
from xinfer.catalog.spec import Dtype, ModelType
from xinfer.errors import ConfigError

QUERY_EN = "Represent this sentence for searching relevant passages: "
QUERY_ZH = "为这个句子生成表示以用于检索相关文章："

# name: (pooling, dimensions, max_tokens)
EMBEDDINGS = {
    "all-MiniLM-L6-v2": ("mean", 384, 256),
    "bge-small-en-v1.5": ("cls", 384, 512),
    "bge-base-en-v1.5": ("cls", 768, 512),
    "bge-large-en-v1.5": ("cls", 1024, 512),
    "bge-small-zh-v1.5": ("cls", 512, 512),
    "bge-base-zh-v1.5": ("cls", 768, 512),
    "bge-large-zh-v1.5": ("cls", 1024, 512),
    "bge-m3": ("cls", 1024, 8192),
    "multilingual-e5-small": ("mean", 384, 512),
    "multilingual-e5-base": ("mean", 768, 512),
    "multilingual-e5-large": ("mean", 1024, 512),
    "gte-base": ("mean", 768, 512),
    "gte-large": ("mean", 1024, 512),
    "gte-base-en-v1.5": ("cls", 768, 8192),
    "gte-large-en-v1.5": ("cls", 1024, 8192),
    "gte-multilingual-base": ("cls", 768, 8192),
    "Qwen3-Embedding-0.6B": ("last_token", 1024, 32768),
    "Qwen3-Embedding-4B": ("last_token", 2560, 32768),
    "Qwen3-Embedding-8B": ("last_token", 4096, 32768),
    "jina-embeddings-v2-base-en": ("mean", 768, 8192),
    "jina-embeddings-v2-base-zh": ("mean", 768, 8192),
    "jina-embeddings-v3": ("mean", 1024, 8192),
}
RERANKERS = {
    "ms-marco-MiniLM-L-6-v2": 512,
    "ms-marco-MiniLM-L-12-v2": 512,
    "bge-reranker-base": 512,
    "bge-reranker-large": 512,
    "bge-reranker-v2-m3": 8192,
    "jina-reranker-v2-base-multilingual": 1024,
    "Qwen3-Reranker-0.6B": 32768,
    "Qwen3-Reranker-4B": 32768,
    "Qwen3-Reranker-8B": 32768,
}


def family(name: str) -> Family:
    found = load_builtin().get(name)
    assert found is not None, name
    return found


def test_every_family_has_its_facts_checked_here() -> None:
    assert set(load_builtin().names(ModelType.EMBEDDING)) == set(EMBEDDINGS)
    assert set(load_builtin().names(ModelType.RERANK)) == set(RERANKERS)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embedding_facts(name: str) -> None:
    found = family(name)
    assert found.embedding is not None
    assert (found.embedding.pooling, found.embedding.dimensions, found.max_tokens) == EMBEDDINGS[name]
    assert found.embedding.normalize


@pytest.mark.parametrize("name", RERANKERS)
def test_reranker_facts(name: str) -> None:
    found = family(name)
    assert found.rerank is not None
    assert found.max_tokens == RERANKERS[name]
    assert found.rerank.activation == "sigmoid"
    assert (found.rerank.scorer == "causal_lm") == name.startswith("Qwen3")


@pytest.mark.parametrize("size", ["0.6B", "4B", "8B"])
def test_qwen3_reranker_prompt_is_the_one_it_was_trained_with(size: str) -> None:
    traits = family(f"Qwen3-Reranker-{size}").rerank
    assert traits is not None
    assert traits.template is not None
    assert traits.template.format(instruction="I", query="Q", document="D") == (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
        'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: I\n<Query>: Q\n<Document>: D<|im_end|>\n'
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert (traits.yes_token, traits.no_token) == ("yes", "no")
    assert traits.instruction == "Given a web search query, retrieve relevant passages that answer the query"


def test_prompts() -> None:
    def prompts(name: str) -> dict[str, str]:
        traits = family(name).embedding
        assert traits is not None
        return traits.prompts

    assert all(prompts(f"bge-{size}-en-v1.5") == {"query": QUERY_EN} for size in ("small", "base", "large"))
    assert all(prompts(f"bge-{size}-zh-v1.5") == {"query": QUERY_ZH} for size in ("small", "base", "large"))
    assert prompts("multilingual-e5-base") == {"query": "query: ", "passage": "passage: ", "document": "passage: "}
    assert prompts("bge-m3") == {}
    assert prompts("Qwen3-Embedding-4B") == {
        "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        "document": "",
    }


def test_large_language_models_default_to_bfloat16_and_the_rest_to_float32() -> None:
    large = {f.name for f in load_builtin() if f.dtype is Dtype.BFLOAT16}
    assert large == {"Qwen3-Embedding-4B", "Qwen3-Embedding-8B", "Qwen3-Reranker-4B", "Qwen3-Reranker-8B"}


def test_vectors_that_may_be_cut() -> None:
    cut = {f.name for f in load_builtin() if f.embedding and f.embedding.matryoshka}
    assert cut == {"gte-multilingual-base", "jina-embeddings-v3", "Qwen3-Embedding-0.6B", "Qwen3-Embedding-4B", "Qwen3-Embedding-8B"}


def test_wheels_are_pinned_by_hash() -> None:
    wheels = [source for f in load_builtin() for v in f.variants for source in v.sources if source.kind == "pypi"]
    assert len(wheels) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", wheel.sha256 or "") for wheel in wheels)


def test_names_and_aliases_in_any_case() -> None:
    families = load_builtin()
    assert families.get("baai/BGE-M3") is families.get("bge-m3") is not None
    assert families.get("cross-encoder/ms-marco-MiniLM-L12-v2") is families.get("ms-marco-MiniLM-L-12-v2")
    assert families.get("bge-m3", ModelType.RERANK) is None
    assert families.get("nothing") is None


def test_listing() -> None:
    families = load_builtin()
    brief = families.listing(ModelType.RERANK)
    assert {"model_name": "bge-reranker-base", "is_builtin": True} in brief
    assert [entry["model_name"] for entry in brief] == list(families.names(ModelType.RERANK))
    entry = next(e for e in families.listing(detailed=True) if e["model_name"] == "all-MiniLM-L6-v2")
    assert (entry["dimensions"], entry["max_tokens"], entry["is_builtin"]) == (384, 256, True)
    assert entry["model_specs"][0]["weight_bytes"] == 22713216 * 4
    assert set(family("bge-reranker-base").engine_specs()) == {"sentence_transformers", "onnxruntime"}
    assert set(family("Qwen3-Reranker-8B").engine_specs()) == {"sentence_transformers"}


MINIMAL = """
family: x
defaults: {type: embedding, description: d, license: mit, languages: [en], max_tokens: 8, parameters: 2, embedding: {pooling: mean}}
models:
  - {name: x, embedding: {dimensions: 4}, variants: [{sources: ["huggingface://a/b"]}]}
"""


def test_defaults_are_merged_into_nested_fields() -> None:
    (made,) = parse_family(MINIMAL, "x.yaml")
    assert made.embedding is not None
    assert (made.embedding.pooling, made.embedding.dimensions) == ("mean", 4)
    assert made.variants[0].auto
    assert not parse_family(MINIMAL.replace("[{sources", "[{quantization: int8, sources"), "x.yaml")[0].variants[0].auto


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pooling: mean", "poolling: mean", "poolling"),
        ("{dimensions: 4}", "{}", "dimensions"),
        ("type: embedding", "type: rerank", "exactly the traits"),
        ("huggingface://a/b", "huggingface:/a/b", "not a source"),
        ("max_tokens: 8", "max_tokens: 0", "max_tokens"),
        ("models:", "models: [", "YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(old: str, new: str, said: str) -> None:
    assert old in MINIMAL
    with pytest.raises(Exception, match=said) as caught:
        parse_family(MINIMAL.replace(old, new, 1), "wrong.yaml")
    if said != "not a source":
        assert isinstance(caught.value, ConfigError)
        assert "wrong.yaml" in str(caught.value)


def test_two_models_of_one_name_are_refused() -> None:
    (made,) = parse_family(MINIMAL, "x.yaml")
    with pytest.raises(ConfigError, match="twice"):
        Families([made, made.model_copy(update={"name": "y", "aliases": ("X",)})])
