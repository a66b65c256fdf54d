"""Model families as data: the schema of ``builtin/*.yaml`` and the index over them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from xinfer.catalog.spec import DTYPE_BYTES, Dtype, EmbeddingTraits, LlmTraits, ModelType, RerankTraits, Source, weight_file
from xinfer.catalog.uri import format_source, parse_source
from xinfer.errors import ConfigError

_ENGINES = {"pytorch": ("sentence_transformers",), "onnx": ("onnxruntime",), "gguf": ("llamacpp",)}
_DTYPES = {"pytorch": (Dtype.FLOAT32, Dtype.FLOAT16, Dtype.BFLOAT16), "onnx": (Dtype.FLOAT32,), "gguf": (Dtype.FLOAT32,)}


def _source(value: object) -> object:
    return parse_source(value) if isinstance(value, str) else value


SourceText = Annotated[Source, BeforeValidator(_source)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Variant(_Data):
    """One form in which a model's weights are published.

    Attributes:
        engines: that can run it; default by format.
        dtypes: it can run in; default by format.
        weight_bytes: of the weight files; 0 = parameters × size of the dtype.
        onnx_file: relative path, for format "onnx"; ``gguf_file``: for "gguf".
        auto: may be chosen without being asked for; default: not quantised.
        remote_code: loading runs Python code of the repository.
        sources: written as text (``catalog.uri``), tried in order.
    """

    format: Literal["pytorch", "onnx", "gguf"] = "pytorch"
    quantization: str = "none"
    engines: tuple[str, ...] = ()
    dtypes: tuple[Dtype, ...] = ()
    weight_bytes: int = Field(default=0, ge=0)
    onnx_file: str = "model.onnx"
    gguf_file: str = ""
    auto: bool = False
    remote_code: bool = False
    sources: tuple[SourceText, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        form = data.get("format", "pytorch")
        derived = {"engines": _ENGINES.get(form, ()), "dtypes": _DTYPES.get(form, ()), "auto": data.get("quantization", "none") == "none"}
        return {**derived, **data}

    @property
    def weight_file(self) -> str:
        """As ``ModelSpec.weight_file``."""
        return weight_file(self.format, self.onnx_file, self.gguf_file)

    def bytes_in(self, dtype: Dtype, parameters: int) -> int:
        """Bytes of the weights once loaded in ``dtype``."""
        return self.weight_bytes or parameters * DTYPE_BYTES[dtype]


class Family(_Data):
    """One model: what it is, and the variants it comes in, the preferred one first.

    Attributes:
        aliases: other names it answers to, such as its repository.
        parameters: count, with every part that is loaded.
        dtype: what "auto" begins with; a device's own formats may be chosen instead if the variant has them (``auto_dtypes``).
    """

    name: str
    type: ModelType
    aliases: tuple[str, ...] = ()
    description: str
    license: str
    languages: tuple[str, ...] = Field(min_length=1)
    max_tokens: int = Field(gt=0)
    parameters: int = Field(gt=0)
    dtype: Dtype = Dtype.FLOAT32
    rerank: RerankTraits | None = None
    embedding: EmbeddingTraits | None = None
    llm: LlmTraits | None = None
    variants: tuple[Variant, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_its_traits(self) -> Family:
        traits = {ModelType.RERANK: self.rerank, ModelType.EMBEDDING: self.embedding, ModelType.LLM: self.llm}
        if {kind for kind, given in traits.items() if given is not None} != {self.type}:
            raise ValueError(f"{self.name}: a {self.type.value} model has exactly the traits '{self.type.value.lower()}'")
        if self.embedding is not None and (self.embedding.dimensions <= 0 or self.embedding.pooling is None):
            raise ValueError(f"{self.name}: embedding.dimensions and embedding.pooling are needed")
        if self.rerank is not None and self.rerank.scorer == "causal_lm" and not (self.rerank.template and self.rerank.instruction):
            raise ValueError(f"{self.name}: a causal_lm reranker needs a template and an instruction")
        return self

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that some variant runs on, the preferred one first."""
        return tuple(dict.fromkeys(engine for variant in self.variants for engine in variant.engines))

    def engine_specs(self) -> dict[str, list[dict[str, Any]]]:
        """Engine → the variants it runs, as GET /v1/engines/{type}/{name} answers."""
        return {engine: [self._variant_entry(v) for v in self.variants if engine in v.engines] for engine in self.engines}

    def listing(self) -> dict[str, Any]:
        """The detailed entry of GET /v1/model_registrations."""
        entry: dict[str, Any] = {
            "model_name": self.name,
            "model_type": self.type.value,
            "model_description": self.description,
            "aliases": list(self.aliases),
            "license": self.license,
            "language": list(self.languages),
            "max_tokens": self.max_tokens,
            "parameters": self.parameters,
            "model_specs": [self._variant_entry(v) for v in self.variants],
        }
        if self.llm is not None:
            entry |= {"context_length": self.llm.context_tokens, "model_ability": self.llm.abilities}
        if self.embedding is not None:
            entry |= {"dimensions": self.embedding.dimensions, "prompts": dict(self.embedding.prompts)}
        return entry

    def _variant_entry(self, variant: Variant) -> dict[str, Any]:
        return {
            "model_name": self.name,
            "model_format": variant.format,
            "quantization": variant.quantization,
            "engines": list(variant.engines),
            "dtypes": [dtype.value for dtype in variant.dtypes],
            "weight_bytes": variant.bytes_in(self.dtype if self.dtype in variant.dtypes else variant.dtypes[0], self.parameters),
            "trust_remote_code": variant.remote_code,
            "sources": [format_source(source) for source in variant.sources],
        }


class FamilyFile(_Data):
    """One YAML file: models that share ``defaults`` (nested mappings are merged, lists replaced)."""

    family: str
    defaults: dict[str, Any] = Field(default_factory=dict)
    models: list[dict[str, Any]] = Field(min_length=1)

    def expand(self) -> tuple[Family, ...]:
        """The models with the defaults filled in."""
        return tuple(Family.model_validate(_merged(self.defaults, model)) for model in self.models)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class Families:
    """An immutable index of models by name and alias, in any case."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)
        self._index: dict[tuple[str, ModelType], Family] = {}
        for family in self._families:
            for name in {family.name.lower(), *(alias.lower() for alias in family.aliases)}:
                if self._index.setdefault((name, family.type), family) is not family:
                    raise ConfigError(f"the model name {name!r} stands twice among the {family.type.value} families")

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families)

    def __len__(self) -> int:
        return len(self._families)

    def get(self, name: str, type: ModelType | None = None) -> Family | None:
        """The model of that name or alias; without a type, of the first type that has it."""
        for kind in (type,) if type else ModelType:
            found = self._index.get((name.strip().lower(), kind))
            if found is not None:
                return found
        return None

    def names(self, type: ModelType | None = None) -> tuple[str, ...]:
        """Names without aliases, sorted."""
        return tuple(sorted(family.name for family in self._families if type in {None, family.type}))

    def listing(self, type: ModelType | None = None, detailed: bool = False) -> list[dict[str, Any]]:
        """GET /v1/model_registrations/{type}: name and ``is_builtin``, with everything else when ``detailed``."""
        chosen = sorted((f for f in self._families if type in {None, f.type}), key=lambda f: f.name)
        return [({**f.listing(), "is_builtin": True} if detailed else {"model_name": f.name, "is_builtin": True}) for f in chosen]


def parse_family(text: str, where: str) -> tuple[Family, ...]:
    """Read one family file.

    Raises:
        ConfigError: not YAML, or not of the schema; ``where`` names the file in the sentence.
    """
    try:
        return FamilyFile.model_validate(yaml.safe_load(text)).expand()
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@functools.cache
def load_builtin() -> Families:
    """The families shipped with the package, validated; read once per process."""
    folder = resources.files("xinfer.catalog.builtin")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    return Families(family for entry in files for family in parse_family(entry.read_text(encoding="utf-8"), entry.name))
