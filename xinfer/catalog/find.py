"""From what a launch asks for to one ModelSpec: variant, engine and dtype decided once."""

from __future__ import annotations

import difflib
from typing import NoReturn

from xinfer.catalog.families import Families, Family, Variant
from xinfer.catalog.files import ModelFiles
from xinfer.catalog.folder import resolve_folder
from xinfer.catalog.query import ModelQuery, auto_dtypes, either, normalised, parse_dtype, parse_type
from xinfer.catalog.spec import Dtype, HubSource, ModelSpec, ModelType, Source
from xinfer.catalog.uri import cache_key
from xinfer.errors import InvalidRequest, ModelNotFound, NoWorker

__all__ = ["ModelQuery", "resolve"]

RELATED, MISSPELT = 0.5, 0.8
"""Similarity (difflib ratio) from which a name is worth suggesting, and from which it was surely meant."""


def resolve(
    query: ModelQuery,
    families: Families,
    files: ModelFiles | None,
    engines: frozenset[str],
    offline: bool = False,
    cached: frozenset[str] = frozenset(),
) -> ModelSpec:
    """Decide which model, in which variant, on which engine and in which dtype.

    Args:
        files: what ``sources.inspect`` found at ``query.path`` on a worker; None if there is no path or nothing is there.
        engines: installed on at least one worker.
        offline: the hubs cannot be reached; wheels and cached models can.
        cached: what workers already have (``sources.fetch.cached_keys``, as ``catalog.uri.cache_key`` spells it).

    Raises:
        InvalidRequest: a field contradicts the model; ``param`` names it.
        ModelNotFound: no such family, or no model at the path.
        NoWorker: no engine at all is installed, because no worker is there.
    """
    query = normalised(query)
    wanted = parse_type(query.type)
    parse_dtype(query.dtype)
    family = _family(query.name, wanted, families, label=query.path is not None) if query.name is not None else None
    if not engines:
        raise NoWorker("no worker is connected that could run a model: start one and launch again", retry_after=5)
    if query.path is not None or family is None:
        return resolve_folder(query, wanted, family, families, files, engines)
    return _resolve_family(query, family, engines, offline, cached)


def _family(name: str, wanted: ModelType | None, families: Families, label: bool) -> Family | None:
    """The family of that name. Beside a path the name may be a mere label, unless it looks like a family misspelt."""
    found = families.get(name, wanted)
    if found is not None:
        return found
    other = families.get(name)
    if other is not None and wanted is not None:
        raise InvalidRequest(
            f"model_type {wanted.value!r} is wrong for {other.name!r}: it is of type {other.type.value!r}", param="model_type"
        )
    spellings = {spelling.lower(): family.name for family in families for spelling in (family.name, *family.aliases)}
    close = difflib.get_close_matches(name.lower(), spellings, n=3, cutoff=MISSPELT if label else RELATED)
    if label and not close:
        return None
    nearest = list(dict.fromkeys(spellings[key] for key in close))
    hint = f"did you mean {either(nearest)}?" if nearest else "see `xinfer registrations`, or give a folder as model_path"
    raise ModelNotFound(f"model_name {name!r} is not a known model: {hint}", param="model_name", nearest=nearest)


def _resolve_family(query: ModelQuery, family: Family, engines: frozenset[str], offline: bool, cached: frozenset[str]) -> ModelSpec:
    asked = _asked_for(query, family)
    runnable = [variant for variant in asked if _engines(variant, query, engines)]
    if not runnable:
        _refuse_engine(query, family, asked, engines)
    fitting = _in_dtype(query, family, runnable)
    variants = _automatic(query, family, fitting)
    deliverable = [variant for variant in variants if _reachable(variant, query, offline, cached)]
    if not deliverable:
        _refuse_sources(family, [variant for variant in fitting if _reachable(variant, query, offline, cached)])
    variant = deliverable[0]
    if variant.remote_code and not query.trust_remote_code:
        raise InvalidRequest(
            f"trust_remote_code must be true for {family.name!r}: loading it runs Python code of its repository", param="trust_remote_code"
        )
    dtype = parse_dtype(query.dtype) or default_dtype(family, variant.dtypes)
    return ModelSpec(
        name=family.name,
        type=family.type,
        engine=_engines(variant, query, engines)[0],
        format=variant.format,
        quantization=variant.quantization,
        dtype=dtype,
        auto_dtypes=auto_dtypes(query, dtype, variant.dtypes),
        weight_bytes=variant.bytes_in(dtype, family.parameters),
        max_tokens=family.max_tokens,
        sources=_reachable(variant, query, offline, cached),
        onnx_file=variant.onnx_file,
        gguf_file=variant.gguf_file,
        rerank=family.rerank,
        embedding=family.embedding,
        llm=family.llm,
        trust_remote_code=query.trust_remote_code,
        packages=query.packages,
        languages=family.languages,
        description=family.description,
    )


def default_dtype(family: Family | None, dtypes: tuple[Dtype, ...]) -> Dtype:
    """What dtype "auto" means: the family's own default where the variant can, else float32."""
    wanted = family.dtype if family is not None else Dtype.FLOAT32
    return wanted if wanted in dtypes else dtypes[0]


def _asked_for(query: ModelQuery, family: Family) -> list[Variant]:
    """Variants of the format, quantization and hub that the query names."""
    variants = list(family.variants)
    for param, value in (("model_format", query.format), ("quantization", query.quantization), ("download_hub", query.hub)):
        offered = sorted({word for variant in variants for word in _words(variant, param)})
        variants = [variant for variant in variants if value is None or value in _words(variant, param)]
        if not variants:
            raise InvalidRequest(f"{param} {value!r} is not offered for {family.name!r}: use {either(offered)}", param=param)
    return variants


def _words(variant: Variant, param: str) -> set[str]:
    if param == "model_format":
        return {variant.format}
    return {variant.quantization.lower()} if param == "quantization" else {source.kind for source in variant.sources}


def _engines(variant: Variant, query: ModelQuery, engines: frozenset[str]) -> list[str]:
    return [engine for engine in variant.engines if engine in engines and query.engine in {None, engine}]


def _refuse_engine(query: ModelQuery, family: Family, variants: list[Variant], engines: frozenset[str]) -> NoReturn:
    runs = list(dict.fromkeys(engine for variant in variants for engine in variant.engines))
    could = [engine for engine in runs if engine in engines]
    if query.engine is None:
        raise InvalidRequest(
            f"no worker has an engine for {family.name!r}: install {either(runs)} on one of them", param="model_engine", engines=runs
        )
    offer = f"use {either(could)}" if could else f"install {either(runs)} on one of them"
    problem = f"cannot run {family.name!r}" if query.engine in engines else "is not installed on any worker"
    raise InvalidRequest(f"model_engine {query.engine!r} {problem}: {offer}", param="model_engine", engines=could or runs)


def _refuse_sources(family: Family, quantised: list[Variant]) -> NoReturn:
    """``quantised`` could be fetched, but only if they were asked for."""
    instead = [f"ask for quantization {either(sorted({variant.quantization for variant in quantised}))}"] if quantised else []
    raise InvalidRequest(
        f"model_name {family.name!r} cannot be fetched: no hub can be reached, or HF_HUB_OFFLINE is set, and its files are not cached: "
        + either([*instead, "connect a worker to a hub or a mirror (HF_ENDPOINT)", "give a folder as model_path"]),
        param="model_name",
    )


def _in_dtype(query: ModelQuery, family: Family, variants: list[Variant]) -> list[Variant]:
    dtype = parse_dtype(query.dtype)
    fitting = [variant for variant in variants if dtype is None or dtype in variant.dtypes]
    if not fitting:
        offered = list(dict.fromkeys(d.value for variant in variants for d in variant.dtypes))
        engine = variants[0].engines[0]
        raise InvalidRequest(f"dtype {query.dtype!r} is not offered for {family.name!r} on {engine}: use {either(offered)}", param="dtype")
    return fitting


def _automatic(query: ModelQuery, family: Family, variants: list[Variant]) -> list[Variant]:
    """Without a quantization asked for, only variants that may be chosen unasked."""
    if query.quantization is not None:
        return variants
    fitting = [variant for variant in variants if variant.auto]
    if not fitting:
        offered = either(sorted({variant.quantization for variant in variants}))
        raise InvalidRequest(
            f"quantization must be named for {family.name!r}, as only quantised files fit this request: use {offered}", param="quantization"
        )
    return fitting


def _reachable(variant: Variant, query: ModelQuery, offline: bool, cached: frozenset[str]) -> tuple[Source, ...]:
    """The variant's sources that can deliver, in order."""
    return tuple(
        source
        for source in variant.sources
        if query.hub in {None, source.kind}
        and (not offline or not isinstance(source, HubSource) or cache_key(source, variant.format, variant.weight_file) in cached)
    )
