"""From a GGUF file to a ModelSpec."""

from __future__ import annotations

from typing import Any

import pytest

from xinfer.catalog.families import load_builtin
from xinfer.catalog.files import GgufFile, ModelFiles
from xinfer.catalog.find import resolve
from xinfer.catalog.gguf import quantization
from xinfer.catalog.query import ModelQuery
from xinfer.catalog.spec import Dtype, LlmTraits, ModelSpec, ModelType
from xinfer.errors import InvalidRequest

TEMPLATE = "{% for m in messages %}<tool_call></think>{% endfor %}"


def one(name: str = "tiny.Q4_K_M.gguf", **fields: Any) -> GgufFile:
    return GgufFile(name, 1000, "llama", "Tiny", **{"context_tokens": 4096, "kv_bytes_per_token": 100, "template": TEMPLATE, **fields})


def resolved(*files: GgufFile, engines: tuple[str, ...] = ("llamacpp",), **query: Any) -> ModelSpec:
    found = ModelFiles("/models/tiny", gguf_files=files or (one(),))
    return resolve(ModelQuery(path="/models/tiny", **query), load_builtin(), found, frozenset(engines))


def test_everything_comes_from_the_file() -> None:
    spec = resolved()
    assert (spec.type, spec.engine, spec.format, spec.gguf_file) == (ModelType.LLM, "llamacpp", "gguf", "tiny.Q4_K_M.gguf")
    assert (spec.quantization, spec.dtype, spec.weight_bytes, spec.max_tokens) == ("q4_k_m", Dtype.FLOAT32, 1000, 4096)
    assert spec.llm == LlmTraits(context_tokens=4096, kv_bytes_per_token=100, chat=True, tools="marked", reasoning="marked")
    assert spec.weight_file == "tiny.Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("template", "chat", "tools", "reasoning"),
    [("", False, None, None), ("[TOOL_CALLS]", True, "listed", None), ("<|im_start|>", True, None, None)],
)
def test_how_it_speaks_is_read_from_its_template(template: str, chat: bool, tools: str | None, reasoning: str | None) -> None:
    llm = resolved(one(template=template)).llm
    assert llm is not None
    assert (llm.chat, llm.tools, llm.reasoning) == (chat, tools, reasoning)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "q4_1"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "q4_k_m"),
        ("gemma-3-1b-it-IQ4_XS.gguf", "iq4_xs"),
        ("model-BF16.gguf", "bf16"),
        ("model.gguf", "none"),
        ("q4/model-f16.gguf", "f16"),
    ],
)
def test_the_quantization_is_in_the_files_name(name: str, word: str) -> None:
    assert quantization(name) == word


def test_of_several_files_one_is_named_by_its_quantization() -> None:
    files = (one("a-Q8_0.gguf"), one("a-Q4_0.gguf"))
    assert resolved(*files, quantization="Q8_0").gguf_file == "a-Q8_0.gguf"
    with pytest.raises(InvalidRequest, match=r"2 GGUF files: name a quantization: q4_0 or q8_0"):
        resolved(*files)
    with pytest.raises(InvalidRequest, match=r"give one of them as model_path"):
        resolved(one("a-Q8_0.gguf"), one("b-Q8_0.gguf"))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"type": "rerank"}, "model_type"),
        ({"engine": "onnxruntime"}, "model_engine"),
        ({"dtype": "float16"}, "dtype"),
        ({"quantization": "q2_k"}, "quantization"),
    ],
)
def test_a_field_that_contradicts_the_file_is_named(query: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(**query)
    assert refused.value.param == param


def test_without_its_engine_on_a_worker_it_is_said_what_to_install() -> None:
    with pytest.raises(InvalidRequest, match=r"install llamacpp on a worker"):
        resolved(engines=("onnxruntime",))
