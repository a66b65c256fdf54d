"""A folder of model files becomes a ModelSpec, registered or not."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal, NoReturn

from xinfer.catalog.families import Families, Family
from xinfer.catalog.files import ModelFiles
from xinfer.catalog.gguf import resolve_gguf
from xinfer.catalog.query import ModelQuery, auto_dtypes, either, parse_dtype
from xinfer.catalog.spec import DTYPE_BYTES, Dtype, EmbeddingTraits, LocalSource, ModelSpec, ModelType, RerankTraits
from xinfer.errors import InvalidRequest, ModelNotFound

_EXPECTED = "expected config.json and weights (*.safetensors, *.bin or *.onnx), or a GGUF file"
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}
_QUANTISED = ("int8", "uint8", "quantized", "q4", "bnb4", "int4", "fp16", "float16")
_FORMAT_ENGINE = {"pytorch": "sentence_transformers", "onnx": "onnxruntime"}
_FORMAT_DTYPES = {"pytorch": (Dtype.FLOAT32, Dtype.FLOAT16, Dtype.BFLOAT16), "onnx": (Dtype.FLOAT32,)}


def resolve_folder(
    query: ModelQuery, wanted: ModelType | None, named: Family | None, families: Families, files: ModelFiles | None, engines: frozenset[str]
) -> ModelSpec:
    """Decide everything for ``query.path``.

    The traits are those of the family that the name, the folder or its configuration points to;
    without one, the folder's own files say how to pool and score.

    Raises:
        ModelNotFound: nothing usable at the path; InvalidRequest: a field contradicts what is there.
    """
    if files is None:
        raise ModelNotFound(f"model_path {query.path!r} is not a model folder on any worker: {_EXPECTED}", param="model_path")
    if files.gguf_files and (wanted is ModelType.LLM or not (files.pytorch_bytes or files.onnx_files)):
        return resolve_gguf(query, wanted, named, families, files, engines)
    family = named or matching_family(files, wanted, families)
    _check_complete(files, family, wanted)
    kind = _type_of(files, wanted, family)
    rerank = _rerank(files, family) if kind is ModelType.RERANK else None
    embedding = _embedding(files, family) if kind is ModelType.EMBEDDING else None
    scored_by_lm = rerank is not None and rerank.scorer == "causal_lm"
    form, engine = _engine(query, files, engines, ("pytorch",) if scored_by_lm else ("pytorch", "onnx"))
    if form == "pytorch" and files.needs_remote_code and not query.trust_remote_code:
        raise InvalidRequest(
            f"trust_remote_code must be true for {files.path!r}: its config.json names Python code to run", param="trust_remote_code"
        )
    dtype = _dtype(query, family, form, engine)
    onnx_file, onnx_bytes, quantization = _onnx(query, files, family) if form == "onnx" else ("model.onnx", 0, "none")
    if form == "pytorch" and query.quantization not in {None, "none"}:
        raise InvalidRequest(f"quantization {query.quantization!r} is not in {files.path!r}: use none", param="quantization")
    return ModelSpec(
        name=family.name if family else query.name or PurePosixPath(files.path).name,
        type=kind,
        engine=engine,
        format=form,
        quantization=quantization,
        dtype=dtype,
        auto_dtypes=auto_dtypes(query, dtype, _FORMAT_DTYPES[form]),
        weight_bytes=onnx_bytes or _loaded_bytes(files, dtype),
        max_tokens=_max_tokens(files, family),
        sources=(LocalSource(path=files.path),),
        onnx_file=onnx_file,
        rerank=rerank,
        embedding=embedding,
        trust_remote_code=query.trust_remote_code,
        packages=query.packages,
        languages=family.languages if family else (),
        description=family.description if family else "",
    )


def matching_family(files: ModelFiles, wanted: ModelType | None, families: Families) -> Family | None:
    """The family that the folder's name, a hub cache's folder or ``_name_or_path`` points to, if its kind agrees with the files."""
    parts = PurePosixPath(files.path).parts
    names = [parts[-1]] if parts else []
    # ~/.cache/huggingface/hub/models--ORG--REPO/snapshots/COMMIT
    names += [part.removeprefix("models--").replace("--", "/") for part in parts if part.startswith("models--")]
    origin = str(files.config.get("_name_or_path") or "").rstrip("/")
    names += [origin, "/".join(origin.split("/")[-2:]), origin.rsplit("/", 1)[-1], origin.rsplit("/", 1)[-1].replace("_", "/", 1)]
    apparent = _apparent_type(files)
    for name in names:
        family = families.get(name, wanted) if name else None
        if family is not None and apparent in {None, family.type}:
            return family
    return None


def _check_complete(files: ModelFiles, family: Family | None, wanted: ModelType | None) -> None:
    missing = []
    if not files.config and (files.pytorch_bytes or not files.onnx_files):
        missing.append("config.json")
    if not files.pytorch_bytes and not files.onnx_files:
        missing.append("weights (*.safetensors, *.bin or *.onnx)")
    if not files.has_tokenizer:
        missing.append("a tokenizer (tokenizer.json, vocab.txt or a sentencepiece model)")
    if missing:
        raise ModelNotFound(
            f"model_path {files.path!r} is not a complete model folder: it lacks {' and '.join(missing)}", param="model_path"
        )
    if not files.config and family is None and wanted is None:
        raise InvalidRequest(
            f"model_type is needed for {files.path!r}, which has no config.json: use 'rerank' or 'embedding'", param="model_type"
        )


def _architectures(files: ModelFiles) -> tuple[str, ...]:
    value = files.config.get("architectures")
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _labels(config: Any) -> int:
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    count = config.get("num_labels")
    return count if isinstance(count, int) else 2


def _apparent_type(files: ModelFiles) -> ModelType | None:
    """What the files alone say; None if they leave it open."""
    architectures = _architectures(files)
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return ModelType.RERANK
    if any("cross_encoder" in str(module.get("type", "")).lower() for module in files.modules):
        return ModelType.RERANK
    return ModelType.EMBEDDING if files.modules or files.pooling else None


def _type_of(files: ModelFiles, wanted: ModelType | None, family: Family | None) -> ModelType:
    apparent = _apparent_type(files)
    kind = wanted or (family.type if family else None) or apparent
    if kind is not None and apparent not in {None, kind}:
        _refuse_type(files, wanted, family, apparent)
    if kind is None and not _is_language_model(files):
        raise InvalidRequest(
            f"model_type is needed for {files.path!r}: its files tell neither a reranker (a *ForSequenceClassification architecture) "
            "nor an embedding model (modules.json)",
            param="model_type",
        )
    if family is None and apparent is not ModelType.EMBEDDING and _is_language_model(files):
        raise InvalidRequest(
            f"model_name is needed for {files.path!r}, a language model: name the family whose template it was trained with, "
            "such as Qwen3-Reranker-0.6B or Qwen3-Embedding-0.6B",
            param="model_name",
        )
    if kind is ModelType.RERANK and family is None:
        _check_head(files)
    return kind or ModelType.EMBEDDING


def _refuse_type(files: ModelFiles, wanted: ModelType | None, family: Family | None, apparent: ModelType | None) -> NoReturn:
    found = "a reranker or classifier" if apparent is ModelType.RERANK else "an embedding model"
    if wanted is None and family is not None:
        raise InvalidRequest(
            f"model_name {family.name!r} is of type {family.type.value!r}, but the files in {files.path!r} are those of {found}",
            param="model_name",
        )
    asked = wanted.value if wanted else ""
    raise InvalidRequest(f"model_type {asked!r} is wrong for {files.path!r}: its files are those of {found}", param="model_type")


def _is_language_model(files: ModelFiles) -> bool:
    return any(name.endswith("ForCausalLM") for name in _architectures(files))


def _check_head(files: ModelFiles) -> None:
    """An unknown reranker must have a head with one label."""
    architectures = _architectures(files)
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        labels = _labels(files.config)
        if labels != 1:
            raise InvalidRequest(f"model_path {files.path!r} is a classifier with {labels} labels: a reranker has one", param="model_path")
    elif architectures and files.pytorch_bytes and not files.modules:
        raise InvalidRequest(
            f"model_path {files.path!r} cannot rerank: its architecture {architectures[0]} has no head for pairs", param="model_path"
        )


def _rerank(files: ModelFiles, family: Family | None) -> RerankTraits:
    return family.rerank if family is not None and family.rerank is not None else RerankTraits()


def _embedding(files: ModelFiles, family: Family | None) -> EmbeddingTraits:
    """The folder's own statements come before the family's: it may hold a fine-tuned descendant."""
    known = family.embedding if family is not None and family.embedding is not None else EmbeddingTraits()
    width = _count(files.pooling.get("word_embedding_dimension")) or known.dimensions or _count(files.config.get("hidden_size"))
    # A projection after the pooling changes the width: only the model itself knows it then.
    projected = any(str(module.get("type", "")).endswith("Dense") for module in files.modules)
    return known.model_copy(
        update={
            "pooling": _stated_pooling(files) or known.pooling,
            "dimensions": known.dimensions if projected else width,
            "prompts": {**known.prompts, **files.prompts},
        }
    )


def _stated_pooling(files: ModelFiles) -> str | None:
    """Of 1_Pooling/config.json; None unless it names exactly one mode that traits can express."""
    stated = files.pooling.get("pooling_mode")
    modes = [stated] if isinstance(stated, str) else [key for key, on in files.pooling.items() if key.startswith("pooling_mode_") and on]
    known = {
        "mean": "mean",
        "mean_tokens": "mean",
        "cls": "cls",
        "cls_token": "cls",
        "lasttoken": "last_token",
        "max": "max",
        "max_tokens": "max",
    }
    return known.get(modes[0].removeprefix("pooling_mode_")) if len(modes) == 1 else None


def _engine(
    query: ModelQuery, files: ModelFiles, engines: frozenset[str], allowed: tuple[Literal["pytorch", "onnx"], ...]
) -> tuple[Literal["pytorch", "onnx"], str]:
    present = [form for form in allowed if (files.pytorch_bytes if form == "pytorch" else files.onnx_files)]
    if not present:
        raise ModelNotFound(f"model_path {files.path!r} lacks weights (*.safetensors or *.bin) that this model needs", param="model_path")
    if query.format is not None and query.format not in present:
        raise InvalidRequest(f"model_format {query.format!r} is not in {files.path!r}: use {either(present)}", param="model_format")
    present = [form for form in present if query.format in {None, form}]
    could = [_FORMAT_ENGINE[form] for form in present if _FORMAT_ENGINE[form] in engines]
    for form in present:
        engine = _FORMAT_ENGINE[form]
        if engine in could and query.engine in {None, engine}:
            return form, engine
    offer = f"use {either(could)}" if could else f"install {either(_FORMAT_ENGINE[form] for form in present)} on a worker"
    if query.engine is None:
        raise InvalidRequest(f"no worker has an engine for {files.path!r}: {offer}", param="model_engine")
    problem = f"cannot run {files.path!r}" if query.engine in engines else "is not installed on any worker"
    raise InvalidRequest(f"model_engine {query.engine!r} {problem}: {offer}", param="model_engine")


def _dtype(query: ModelQuery, family: Family | None, form: str, engine: str) -> Dtype:
    allowed = _FORMAT_DTYPES[form]
    asked = parse_dtype(query.dtype)
    if asked is None:
        return family.dtype if family and family.dtype in allowed else allowed[0]
    if asked not in allowed:
        raise InvalidRequest(f"dtype {query.dtype!r} is not offered on {engine}: use {either(d.value for d in allowed)}", param="dtype")
    return asked


def _onnx(query: ModelQuery, files: ModelFiles, family: Family | None) -> tuple[str, int, str]:
    """(file, bytes, quantization) of the ONNX file to run; unquantised before quantised, then the shortest path."""
    known = {v.weight_bytes: v.quantization for v in family.variants if v.format == "onnx" and v.weight_bytes} if family else {}

    def quantization(path: str, size: int) -> str:
        stem = PurePosixPath(path).stem.lower()
        return known.get(size) or next((mark for mark in _QUANTISED if mark in stem), "none")

    found = sorted((quantization(path, size) != "none", len(path), path, size) for path, size in files.onnx_files)
    for _, _, path, size in found:
        if query.quantization in {None, quantization(path, size)}:
            return path, size, quantization(path, size)
    offered = dict.fromkeys(quantization(path, size) for _, _, path, size in found)
    raise InvalidRequest(f"quantization {query.quantization!r} is not in {files.path!r}: use {either(offered)}", param="quantization")


def _loaded_bytes(files: ModelFiles, dtype: Dtype) -> int:
    stored = str(files.config.get("torch_dtype") or files.config.get("dtype") or "float32")
    width = DTYPE_BYTES[Dtype(stored)] if stored in {d.value for d in Dtype} else 4
    return files.pytorch_bytes * DTYPE_BYTES[dtype] // width


def _max_tokens(files: ModelFiles, family: Family | None) -> int:
    if family is not None:
        return family.max_tokens
    limit = _count(files.config.get("max_position_embeddings"))
    if limit and files.config.get("model_type") in _OFFSET_POSITIONS:
        limit -= (_count(files.config.get("pad_token_id")) or 1) + 1
    limits = [value for value in (limit, files.max_tokens) if value > 0]
    return min(limits) if limits else 512


def _count(value: object) -> int:
    """A number that a configuration states; 0 for whatever else stands there."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
