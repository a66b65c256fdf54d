"""What a look into a model folder found; filled by ``sources.inspect``, read by ``catalog.find``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GgufFile:
    """One GGUF file, as its header describes it.

    Attributes:
        path: relative to the folder; ``size`` in bytes.
        name: of the model.
        context_tokens: it was trained with; 0 = unsaid.
        kv_bytes_per_token: of a KV cache in 16 bits.
        template: of chats, "" = none.
    """

    path: str
    size: int
    architecture: str = ""
    name: str = ""
    context_tokens: int = 0
    kv_bytes_per_token: int = 0
    template: str = ""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model folder as found on a worker.

    Attributes:
        path: absolute.
        pytorch_bytes: size of the safetensors / bin weights, 0 if none.
        onnx_files: (relative path, bytes) of every .onnx file, with the external data that belongs to it.
        gguf_files: every .gguf file that is a model.
        config: config.json, {} if missing.
        pooling: 1_Pooling/config.json, {} if missing.
        modules: modules.json, [] if missing.
        prompts: of config_sentence_transformers.json.
        has_tokenizer: a tokenizer.json, vocab or sentencepiece file is there.
        needs_remote_code: config.json names an ``auto_map`` of the repository's own code.
        max_tokens: the longest input that the tokeniser or sentence-transformers configuration allows, 0 if unsaid.
    """

    path: str
    pytorch_bytes: int = 0
    onnx_files: tuple[tuple[str, int], ...] = ()
    gguf_files: tuple[GgufFile, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    pooling: Mapping[str, Any] = field(default_factory=dict)
    modules: tuple[Mapping[str, Any], ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    has_tokenizer: bool = False
    needs_remote_code: bool = False
    max_tokens: int = 0
