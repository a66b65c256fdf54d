"""Which engines there are. Asking costs nothing: an engine's packages are imported when it loads a model, not before."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from xinfer.cluster.device import Division
from xinfer.engines.base import Engine
from xinfer.errors import InvalidRequest

_PLACES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sentence_transformers": ("xinfer.engines.sentence_transformers", "SentenceTransformersEngine"),
        "onnxruntime": ("xinfer.engines.onnxruntime", "OnnxRuntimeEngine"),
        "llamacpp": ("xinfer.engines.llamacpp", "LlamaCppEngine"),
    }
)
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "sentencetransformers": "sentence_transformers",
        "sentence": "sentence_transformers",
        "torch": "sentence_transformers",
        "pytorch": "sentence_transformers",
        "transformers": "sentence_transformers",
        "onnx": "onnxruntime",
        "ort": "onnxruntime",
        "llama.cpp": "llamacpp",
        "xllamacpp": "llamacpp",
    }
)

SERVING_OPTIONS: Mapping[str, type] = MappingProxyType(
    {
        "max_batch_ms": float,  # longest batch that calibration accepts
        "max_batch_tokens": int,  # upper bound of the batch budget, in padded tokens
        "calibrate_seconds": float,  # time calibration may take; 0 = none
    }
)
"""Launch options that every engine takes, because ``serving`` reads them."""


def names() -> tuple[str, ...]:
    """All engines, installed or not."""
    return tuple(_PLACES)


def canonical(name: str) -> str:
    """The engine's own name for any spelling of it.

    Raises:
        InvalidRequest: no such engine.
    """
    key = name.strip().lower().replace("-", "_")
    key = _ALIASES.get(key.replace("_", ""), key)
    if key not in _PLACES:
        raise InvalidRequest(f"model_engine: {name!r} is not an engine; choose one of {', '.join(_PLACES)}.", param="model_engine")
    return key


def get(name: str) -> Engine:
    """The engine of that name or alias.

    Raises:
        InvalidRequest: no such engine.
    """
    module, attribute = _PLACES[canonical(name)]
    engine: type[Engine] = getattr(import_module(module), attribute)
    return engine()


def available() -> frozenset[str]:
    """Engines whose packages are installed here; nothing heavy is imported to find out."""
    return frozenset(name for name in _PLACES if get(name).available())


def base_bytes(name: str) -> int:
    """Host memory that the engine takes before any weights."""
    return get(name).base_bytes


def divisions() -> dict[str, Division]:
    """By engine that can put one replica on several devices, how it does."""
    return {name: division for name in _PLACES if (division := get(name).division) is not None}


def packages(name: str) -> tuple[str, ...]:
    """What the engine imports, by import name."""
    return get(name).packages


def declared_options(name: str) -> Mapping[str, type]:
    """Launch options that the engine takes, its own and those of serving, with their types."""
    return {**SERVING_OPTIONS, **get(name).options}
