"""A GGUF file becomes a ModelSpec: everything that is to be known stands in its header."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from xinfer.catalog.families import Families, Family
from xinfer.catalog.files import GgufFile, ModelFiles
from xinfer.catalog.query import ModelQuery, either, parse_dtype
from xinfer.catalog.spec import Dtype, LlmTraits, LocalSource, ModelSpec, ModelType
from xinfer.errors import InvalidRequest

ENGINE = "llamacpp"
DEFAULT_CONTEXT = 2048
_QUANTIZATION = re.compile(r"(?:^|[.\-_])((?:i?q\d\w*|mxfp4\w*|bf16|f16|f32|fp16|fp32))(?:$|[.\-])", re.IGNORECASE)


def resolve_gguf(
    query: ModelQuery, wanted: ModelType | None, named: Family | None, families: Families, files: ModelFiles, engines: frozenset[str]
) -> ModelSpec:
    """Decide everything for a folder with GGUF files.

    Raises:
        InvalidRequest: a field contradicts what is there, or several files could be meant.
    """
    if wanted not in (None, ModelType.LLM):
        raise InvalidRequest(
            f"model_type {wanted.value!r} is wrong for {files.path!r}: a GGUF file has a language model", param="model_type"
        )
    if query.engine not in (None, ENGINE) or ENGINE not in engines:
        problem = f"cannot run {files.path!r}" if query.engine in engines else "is not installed on any worker"
        offer = f"use {ENGINE}" if ENGINE in engines else f"install {ENGINE} on a worker"
        raise InvalidRequest(f"model_engine {query.engine or ENGINE!r} {problem}: {offer}", param="model_engine")
    if parse_dtype(query.dtype) not in (None, Dtype.FLOAT32):
        raise InvalidRequest(f"dtype {query.dtype!r} is not offered on {ENGINE}: a GGUF file has its own", param="dtype")
    file = _chosen(query, files)
    family = named if named is not None and named.type is ModelType.LLM else families.get(file.name, ModelType.LLM)
    traits = _traits(file, family)
    return ModelSpec(
        name=family.name if family else query.name or PurePosixPath(file.path).stem,
        type=ModelType.LLM,
        engine=ENGINE,
        format="gguf",
        quantization=quantization(file.path),
        weight_bytes=file.size,
        max_tokens=traits.context_tokens,
        sources=(LocalSource(path=files.path),),
        gguf_file=file.path,
        llm=traits,
        packages=query.packages,
        languages=family.languages if family else (),
        description=family.description if family else "",
    )


def quantization(path: str) -> str:
    """As the file's name has it, in lower case; "none" if it has none."""
    found = _QUANTIZATION.search(PurePosixPath(path).stem)
    return found[1].lower() if found else "none"


def _chosen(query: ModelQuery, files: ModelFiles) -> GgufFile:
    fitting = [file for file in files.gguf_files if query.quantization in (None, quantization(file.path))]
    offered = sorted({quantization(file.path) for file in files.gguf_files})
    if not fitting:
        raise InvalidRequest(f"quantization {query.quantization!r} is not in {files.path!r}: use {either(offered)}", param="quantization")
    if len(fitting) > 1:
        named = len(offered) > 1 and query.quantization is None
        hint = f"name a quantization: {either(offered)}" if named else "give one of them as model_path"
        raise InvalidRequest(
            f"model_path {files.path!r} has {len(fitting)} GGUF files: {hint}", param="quantization" if named else "model_path"
        )
    return fitting[0]


def _traits(file: GgufFile, family: Family | None) -> LlmTraits:
    """The file's own figures; how it speaks as its family says, or as its template looks."""
    known = family.llm if family is not None and family.llm is not None else _of_template(file.template)
    return known.model_copy(
        update={
            "context_tokens": file.context_tokens or known.context_tokens or DEFAULT_CONTEXT,
            "kv_bytes_per_token": file.kv_bytes_per_token,
            "chat": bool(file.template),
        }
    )


def _of_template(template: str) -> LlmTraits:
    tools = "marked" if "<tool_call>" in template else "listed" if "[TOOL_CALLS]" in template else None
    return LlmTraits(tools=tools, reasoning="marked" if "</think>" in template else None)
