"""Language models in GGUF files on llama.cpp, through xllamacpp."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from xinfer.catalog.spec import Dtype, ModelType
from xinfer.engines.base import LoadContext
from xinfer.engines.generative import GenerativeEngine, GenerativeModel
from xinfer.engines.installed import installed
from xinfer.errors import LaunchFailed


class LlamaCppEngine(GenerativeEngine):
    """GGUF files on CPU and, with a build of xllamacpp for it, on CUDA."""

    name: ClassVar[str] = "llamacpp"
    types: ClassVar[frozenset[ModelType]] = frozenset({ModelType.LLM})
    dtypes: ClassVar[frozenset[Dtype]] = frozenset({Dtype.FLOAT32})
    base_bytes: ClassVar[int] = 200 << 20
    options: ClassVar[Mapping[str, type]] = MappingProxyType({"kv_tokens": int, "max_sequences": int})
    packages: ClassVar[tuple[str, ...]] = ("xllamacpp", "aiohttp")

    @classmethod
    def available(cls) -> bool:
        """xllamacpp and aiohttp are installed."""
        return installed(*cls.packages)

    def load(self, context: LoadContext) -> GenerativeModel:
        """Load the file; see the base class."""
        if context.spec.type not in self.types:
            raise LaunchFailed(f"model_engine: {self.name} runs language models, not {context.spec.type.value}.")
        from xinfer.engines import llamacpp_model

        return llamacpp_model.load(context)
