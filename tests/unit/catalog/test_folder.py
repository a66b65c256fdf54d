"""A launch by path: type, engine and traits from the files, with and without a family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xinfer.catalog.families import load_builtin
from xinfer.catalog.files import ModelFiles
from xinfer.catalog.find import ModelQuery, resolve
from xinfer.catalog.spec import Dtype, LocalSource, ModelSpec, ModelType
from xinfer.errors import InvalidRequest, ModelNotFound

BOTH = frozenset({"sentence_transformers", "onnxruntime"})
CROSS = {
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "model_type": "bert",
    "max_position_embeddings": 512,
    "hidden_size": 384,
}
ENCODER = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512, "hidden_size": 384}
MODULES = ({"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Pooling"})
RERANKER = ModelFiles(path="/m/mine", pytorch_bytes=100, config=CROSS, has_tokenizer=True)
EMBEDDER = ModelFiles(
    path="/m/mine",
    pytorch_bytes=100,
    config=ENCODER,
    modules=MODULES,
    pooling={"word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    prompts={"query": "q: "},
    has_tokenizer=True,
)
CAUSAL = ModelFiles(
    path="/m/mine", pytorch_bytes=100, config={"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, has_tokenizer=True
)
WHEEL = ModelFiles(path="/m/reranker_en", onnx_files=(("model.onnx", 34001604),), has_tokenizer=True)


def find(files: ModelFiles | None, engines: frozenset[str] = BOTH, **fields: Any) -> ModelSpec:
    path = files.path if files else "/nowhere"
    return resolve(ModelQuery(path=path, **fields), load_builtin(), files, engines)


def test_an_unregistered_reranker() -> None:
    spec = find(RERANKER)
    assert (spec.name, spec.type, spec.engine, spec.format) == ("mine", ModelType.RERANK, "sentence_transformers", "pytorch")
    assert spec.sources == (LocalSource(path="/m/mine"),)
    assert spec.rerank is not None
    assert (spec.rerank.scorer, spec.rerank.activation, spec.max_tokens, spec.weight_bytes) == ("cross_encoder", None, 512, 100)


def test_an_unregistered_embedding_model() -> None:
    spec = find(replace(EMBEDDER, max_tokens=256))
    assert spec.type is ModelType.EMBEDDING
    assert spec.embedding is not None
    assert (spec.embedding.pooling, spec.embedding.dimensions, spec.embedding.prompts) == ("cls", 384, {"query": "q: "})
    assert spec.max_tokens == 256
    dense = (*MODULES, {"type": "sentence_transformers.models.Dense"})
    projected = find(replace(EMBEDDER, modules=dense)).embedding
    assert projected is not None
    assert projected.dimensions == 0


@pytest.mark.parametrize(
    "path",
    [
        "/m/bge-m3",
        "/m/BAAI/bge-m3/",
        "/home/a/.cache/huggingface/hub/models--BAAI--bge-m3/snapshots/5617a9f61b028005a4858fdac845db406aefb181",
    ],
)
def test_the_folder_names_its_family(path: str) -> None:
    spec = find(replace(EMBEDDER, path=path.rstrip("/"), pooling={}))
    assert (spec.name, spec.max_tokens) == ("bge-m3", 8192)
    assert spec.embedding is not None
    assert spec.embedding.pooling == "cls"


def test_the_configuration_names_its_family_unless_the_kind_differs() -> None:
    assert find(replace(EMBEDDER, config={**ENCODER, "_name_or_path": "intfloat/multilingual-e5-small"})).name == "multilingual-e5-small"
    root = "/home/me/.cache/torch/sentence_transformers/BAAI_bge-small-en-v1.5/"
    assert find(replace(EMBEDDER, config={**ENCODER, "_name_or_path": root})).name == "bge-small-en-v1.5"
    descendant = find(replace(RERANKER, config={**CROSS, "_name_or_path": "BAAI/bge-m3"}))
    assert (descendant.name, descendant.type) == ("mine", ModelType.RERANK)


def test_a_descendant_keeps_its_own_pooling() -> None:
    files = replace(EMBEDDER, config={**ENCODER, "_name_or_path": "intfloat/multilingual-e5-small"})
    traits = find(files).embedding
    assert traits is not None
    assert traits.pooling == "cls"
    assert traits.prompts == {"query": "q: ", "passage": "passage: ", "document": "passage: "}


def test_a_name_beside_the_path_gives_the_family() -> None:
    spec = find(WHEEL, name="ms-marco-MiniLM-L-12-v2")
    assert (spec.name, spec.engine, spec.quantization, spec.weight_bytes) == ("ms-marco-MiniLM-L-12-v2", "onnxruntime", "int8", 34001604)
    assert spec.sources == (LocalSource(path="/m/reranker_en"),)
    with pytest.raises(InvalidRequest, match="'bge-m3' is of type 'embedding'") as caught:
        find(RERANKER, name="bge-m3")
    assert caught.value.param == "model_name"
    with pytest.raises(ModelNotFound, match="did you mean"):
        find(RERANKER, name="bge-m4")


def test_a_language_model_needs_its_family() -> None:
    for fields in ({}, {"type": "rerank"}, {"type": "embedding"}):
        with pytest.raises(InvalidRequest, match=r"Qwen3-Reranker-0\.6B") as caught:
            find(CAUSAL, **fields)
        assert caught.value.param == "model_name"
    spec = find(CAUSAL, name="Qwen3-Reranker-0.6B")
    assert spec.rerank is not None
    assert spec.rerank.scorer == "causal_lm"
    assert find(replace(CAUSAL, path="/m/Qwen3-Reranker-0.6B")).rerank == spec.rerank
    onnx_only = replace(CAUSAL, pytorch_bytes=0, onnx_files=(("model.onnx", 5),))
    with pytest.raises(ModelNotFound, match="lacks weights"):
        find(onnx_only, name="Qwen3-Reranker-0.6B")
    assert find(replace(CAUSAL, modules=MODULES)).type is ModelType.EMBEDDING


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "is not a model folder on any worker: expected config.json and weights"),
        (replace(RERANKER, config={}), "lacks config.json"),
        (replace(RERANKER, pytorch_bytes=0), "lacks weights"),
        (replace(RERANKER, has_tokenizer=False), "lacks a tokenizer"),
        (ModelFiles(path="/m/empty"), "lacks config.json and weights"),
    ],
)
def test_what_is_missing_is_said(files: ModelFiles | None, said: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        find(files)
    assert said in str(caught.value)
    assert caught.value.param == "model_path"


@pytest.mark.parametrize(
    ("files", "fields", "param", "said"),
    [
        (RERANKER, {"type": "embedding"}, "model_type", "those of a reranker"),
        (EMBEDDER, {"type": "rerank"}, "model_type", "those of an embedding model"),
        (replace(EMBEDDER, modules=(), pooling={}), {}, "model_type", "is needed"),
        (replace(EMBEDDER, modules=(), pooling={}), {"type": "rerank"}, "model_path", "no head for pairs"),
        (replace(RERANKER, config={**CROSS, "id2label": {"0": "a", "1": "b", "2": "c"}}), {}, "model_path", "3 labels"),
        (WHEEL, {}, "model_type", "no config.json"),
        (RERANKER, {"engine": "onnxruntime"}, "model_engine", "use sentence_transformers"),
        (RERANKER, {"engine": "vllm"}, "model_engine", "not installed on any worker"),
        (RERANKER, {"format": "onnx"}, "model_format", "use pytorch"),
        (RERANKER, {"quantization": "int8"}, "quantization", "use none"),
        (replace(RERANKER, needs_remote_code=True), {}, "trust_remote_code", "must be true"),
        (WHEEL, {"type": "rerank", "dtype": "float16"}, "dtype", "use float32"),
    ],
)
def test_contradictions_are_named(files: ModelFiles, fields: dict[str, str], param: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        find(files, **fields)
    assert caught.value.param == param
    assert said in str(caught.value)


def test_onnx_folders() -> None:
    assert find(WHEEL, type="rerank").engine == "onnxruntime"
    files = replace(
        RERANKER, pytorch_bytes=0, onnx_files=(("onnx/model_qint8_avx512.onnx", 10), ("onnx/model.onnx", 40), ("onnx/model_O4.onnx", 41))
    )
    assert (find(files).onnx_file, find(files).weight_bytes, find(files).quantization) == ("onnx/model.onnx", 40, "none")
    assert find(files, quantization="int8").onnx_file == "onnx/model_qint8_avx512.onnx"
    both = replace(files, pytorch_bytes=40)
    assert find(both).engine == "sentence_transformers"
    assert find(both, frozenset({"onnxruntime"})).engine == "onnxruntime"
    assert find(both, format="onnx").engine == "onnxruntime"


def test_dtype_and_bytes() -> None:
    half = replace(RERANKER, config={**CROSS, "torch_dtype": "float16"})
    assert find(half).weight_bytes == 200
    assert (find(half, dtype="bfloat16").dtype, find(half, dtype="bfloat16").weight_bytes) == (Dtype.BFLOAT16, 100)


def test_roberta_positions_start_behind_the_padding() -> None:
    config = {
        **CROSS,
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "max_position_embeddings": 514,
    }
    assert find(replace(RERANKER, config={**config, "pad_token_id": 1})).max_tokens == 512


def test_consent_lets_remote_code_run() -> None:
    assert find(replace(RERANKER, needs_remote_code=True), trust_remote_code=True).trust_remote_code


@pytest.mark.parametrize("odd", ["many", [1], None, {}, -5, True, 2.5])
def test_numbers_that_are_none_count_as_unsaid(odd: object) -> None:
    pooling = {**EMBEDDER.pooling, "word_embedding_dimension": odd}
    found = find(replace(EMBEDDER, pooling=pooling, config={**ENCODER, "max_position_embeddings": odd, "hidden_size": 96}))
    assert found.embedding is not None
    assert (found.embedding.dimensions, found.max_tokens) == (96, 512)
    roberta = {**CROSS, "model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": odd}
    assert find(replace(RERANKER, config=roberta)).max_tokens == 512
