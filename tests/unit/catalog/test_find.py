"""A launch by name: variant, engine, dtype and sources, and the sentence when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from xinfer.catalog.families import load_builtin
from xinfer.catalog.find import ModelQuery, resolve
from xinfer.catalog.spec import Dtype, ModelSpec, ModelType
from xinfer.errors import InvalidRequest, ModelNotFound, NoWorker

BOTH = frozenset({"sentence_transformers", "onnxruntime"})
TORCH = frozenset({"sentence_transformers"})
ONNX = frozenset({"onnxruntime"})
L12 = "ms-marco-MiniLM-L-12-v2"


def find(
    name: str, engines: frozenset[str] = BOTH, offline: bool = False, cached: frozenset[str] = frozenset(), **fields: Any
) -> ModelSpec:
    return resolve(ModelQuery(name=name, **fields), load_builtin(), None, engines, offline, cached)


@pytest.mark.parametrize(
    ("name", "index", "engine"),
    [(f.name, i, engine) for f in load_builtin() for i, v in enumerate(f.variants) for engine in v.engines],
)
def test_every_variant_resolves_on_every_engine_it_declares(name: str, index: int, engine: str) -> None:
    family = load_builtin().get(name)
    assert family is not None
    variant = family.variants[index]
    engines = frozenset({*BOTH, engine})
    for dtype in ("auto", *variant.dtypes):
        spec = find(
            name, engines, engine=engine, format=variant.format, quantization=variant.quantization, dtype=str(dtype), trust_remote_code=True
        )
        assert (spec.name, spec.type, spec.engine) == (family.name, family.type, engine)
        assert (spec.format, spec.quantization, spec.onnx_file) == (variant.format, variant.quantization, variant.onnx_file)
        assert spec.sources == variant.sources
        assert spec.weight_bytes > 0
        assert dtype in {"auto", spec.dtype}
        assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_auto_is_torch_in_float32() -> None:
    for family in (each for each in load_builtin() if each.type is not ModelType.LLM):
        spec = find(family.name, trust_remote_code=True)
        assert (spec.engine, spec.format, spec.quantization) == ("sentence_transformers", "pytorch", "none")
        assert spec.dtype is family.dtype


def test_weight_bytes_follow_the_dtype() -> None:
    assert find("bge-m3").weight_bytes == 2 * find("bge-m3", dtype="bfloat16").weight_bytes == 567754752 * 4
    assert find("Qwen3-Reranker-8B").weight_bytes == 8188515328 * 2
    assert find(L12, engine="onnxruntime").weight_bytes == 34001604


def test_the_int8_wheel_is_chosen_when_asked_for_or_nothing_else_can() -> None:
    for spec in (find(L12, engine="onnxruntime"), find(L12, ONNX), find(L12, offline=True), find(L12, quantization="int8")):
        assert (spec.engine, spec.quantization, spec.onnx_file) == ("onnxruntime", "int8", "model.onnx")
        assert [source.kind for source in spec.sources] == ["pypi"]
    assert find(L12).quantization == "none"
    assert find(L12, engine="onnxruntime", quantization="none").sources[0].kind == "huggingface"


def test_a_quantised_variant_is_never_chosen_unasked() -> None:
    assert find("bge-small-en-v1.5", ONNX).quantization == "none"
    assert find("bge-small-en-v1.5", ONNX, quantization="INT8").quantization == "int8"
    with pytest.raises(InvalidRequest, match="quantization int8") as caught:
        find("bge-small-en-v1.5", ONNX, offline=True)
    assert caught.value.param == "model_name"
    with pytest.raises(InvalidRequest, match="quantization must be named") as caught:
        find("bge-small-en-v1.5", hub="pypi")
    assert caught.value.param == "quantization"


def test_offline_keeps_what_is_cached_or_in_a_wheel() -> None:
    assert [source.kind for source in find("all-MiniLM-L6-v2", offline=True).sources] == ["pypi"]
    with pytest.raises(InvalidRequest, match="no hub can be reached"):
        find("bge-m3", offline=True)
    spec = find("bge-m3", offline=True, cached=frozenset({"modelscope://Xorbits/bge-m3"}))
    assert [source.kind for source in spec.sources] == ["modelscope"]


def test_hub() -> None:
    assert [source.kind for source in find("bge-m3").sources] == ["huggingface", "modelscope"]
    assert [source.kind for source in find("bge-m3", hub="ModelScope").sources] == ["modelscope"]
    with pytest.raises(InvalidRequest, match="use huggingface") as caught:
        find("multilingual-e5-base", hub="modelscope")
    assert caught.value.param == "download_hub"


def test_spellings() -> None:
    assert find("BAAI/BGE-reranker-Base", type="Rerank").name == "bge-reranker-base"
    assert find("bge-m3", type="EMBEDDING").type is ModelType.EMBEDDING
    assert find("bge-m3", engine="Sentence-Transformers").engine == "sentence_transformers"
    assert find("bge-m3", type="", engine=" ", format="").name == "bge-m3"


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"type": "embedding"}, "model_type", "it is of type 'rerank'"),
        ({"type": "llm"}, "model_type", "it is of type 'rerank'"),
        ({"type": "image"}, "model_type", "use 'rerank', 'embedding' or 'LLM'"),
        ({"engine": "vllm"}, "model_engine", "not installed on any worker: use sentence_transformers or onnxruntime"),
        ({"engine": "other"}, "model_engine", "cannot run 'bge-reranker-base': use sentence_transformers or onnxruntime"),
        ({"format": "gguf"}, "model_format", "use onnx or pytorch"),
        ({"quantization": "q4"}, "quantization", "use none"),
        ({"dtype": "float16", "engine": "onnxruntime"}, "dtype", "use float32"),
        ({"dtype": "int8"}, "dtype", "use auto, float32, float16 or bfloat16"),
        ({"hub": "github"}, "download_hub", "use huggingface, modelscope or pypi"),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(fields: dict[str, str], param: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        find("bge-reranker-base", BOTH | {"other"}, **fields)
    assert caught.value.param == param
    assert said in str(caught.value)
    assert param in str(caught.value)


def test_engines_that_are_missing() -> None:
    with pytest.raises(InvalidRequest, match="install sentence_transformers") as caught:
        find("Qwen3-Reranker-0.6B", ONNX)
    assert caught.value.param == "model_engine"
    with pytest.raises(NoWorker):
        find("bge-m3", frozenset())


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ModelNotFound, match="did you mean bge-reranker-base") as caught:
        find("bge-rerank-base")
    assert caught.value.param == "model_name"
    with pytest.raises(ModelNotFound, match="model_path"):
        find("zzzzzz", frozenset())
    with pytest.raises(InvalidRequest, match="model_name or model_path"):
        resolve(ModelQuery(), load_builtin(), None, BOTH)


def test_remote_code_needs_consent_only_where_it_runs() -> None:
    with pytest.raises(InvalidRequest, match="trust_remote_code must be true") as caught:
        find("jina-reranker-v2-base-multilingual")
    assert caught.value.param == "trust_remote_code"
    assert find("jina-reranker-v2-base-multilingual", trust_remote_code=True).trust_remote_code
    assert not find("jina-reranker-v2-base-multilingual", engine="onnxruntime").trust_remote_code


def test_dtype_steers_an_open_choice() -> None:
    spec = find(L12, dtype="bfloat16", offline=False)
    assert (spec.engine, spec.dtype) == ("sentence_transformers", Dtype.BFLOAT16)
