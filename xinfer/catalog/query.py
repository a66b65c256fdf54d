"""What a launch asks of the catalogue, and the spellings that clients use for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from xinfer.catalog.packages import checked
from xinfer.catalog.spec import Dtype, ModelType
from xinfer.errors import InvalidRequest

_TYPES = {
    "rerank": ModelType.RERANK,
    "reranker": ModelType.RERANK,
    "embedding": ModelType.EMBEDDING,
    "embeddings": ModelType.EMBEDDING,
    "llm": ModelType.LLM,
}
_HUBS = ("huggingface", "modelscope", "pypi")
_FORMATS = ("pytorch", "onnx", "gguf")


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """The model part of a launch request, as the client spelled it.

    Attributes:
        name: family name or alias; with ``path`` it only says which family the folder is of.
        path: folder on the worker.
        type: "rerank", "embedding" or "LLM" in any case; None = whatever the model is.
        engine, format, quantization: None = the catalogue chooses.
        dtype: "auto", "float32", "float16" or "bfloat16".
        hub: take the files only from "huggingface", "modelscope" or "pypi".
        trust_remote_code: Python code of the model's repository may run.
        packages: requirements that its replicas see beside, or instead of, what their worker has.
    """

    name: str | None = None
    path: str | None = None
    type: str | None = None
    engine: str | None = None
    format: str | None = None
    quantization: str | None = None
    dtype: str = "auto"
    hub: str | None = None
    trust_remote_code: bool = False
    packages: tuple[str, ...] = ()


def parse_type(text: str | None) -> ModelType | None:
    """``model_type`` in any case; None or "" stay open.

    Raises:
        InvalidRequest: unknown.
    """
    key = (text or "").strip().lower()
    if not key:
        return None
    if key not in _TYPES:
        raise InvalidRequest(f"model_type {text!r} is unknown: use 'rerank', 'embedding' or 'LLM'", param="model_type")
    return _TYPES[key]


def parse_dtype(text: str) -> Dtype | None:
    """``dtype``; None means "auto"."""
    key = (text or "auto").strip().lower()
    if key == "auto":
        return None
    if key not in {dtype.value for dtype in Dtype}:
        raise InvalidRequest(f"dtype {text!r} is unknown: use auto, float32, float16 or bfloat16", param="dtype")
    return Dtype(key)


def auto_dtypes(query: ModelQuery, first: Dtype, offered: Iterable[Dtype]) -> tuple[Dtype, ...]:
    """What may be chosen instead of ``first``; nothing if the query names a dtype."""
    return tuple(dtype for dtype in offered if dtype != first) if parse_dtype(query.dtype) is None else ()


def normalised(query: ModelQuery) -> ModelQuery:
    """Blank fields become None; engine, format, quantization and hub lower case; ``llama.cpp`` ``llamacpp``; packages one spelling.

    Raises:
        InvalidRequest: an unknown format or hub, a package that is no requirement, or neither name nor path.
    """

    def clean(text: str | None) -> str | None:
        return (text or "").strip() or None

    def lower(text: str | None) -> str | None:
        return (text or "").strip().lower() or None

    engine = lower(query.engine)
    engine = engine.replace("-", "_").replace("llama.cpp", "llamacpp") if engine else None
    form, hub = lower(query.format), lower(query.hub)
    _check("model_format", form, _FORMATS)
    _check("download_hub", hub, _HUBS)
    name, path = clean(query.name), clean(query.path)
    if name is None and path is None:
        raise InvalidRequest(
            "model_name or model_path is needed: the name of a model, or a folder with one on the workers", param="model_name"
        )
    return replace(
        query,
        name=name,
        path=path,
        type=clean(query.type),
        engine=engine,
        format=form,
        quantization=lower(query.quantization),
        hub=hub,
        packages=checked(query.packages),
    )


def _check(param: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise InvalidRequest(f"{param} {value!r} is unknown: use {either(allowed)}", param=param)


def either(words: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
