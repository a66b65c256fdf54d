"""Rerank and embeddings on torch, with sentence-transformers' loading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from xinfer.catalog.spec import Dtype, ModelType
from xinfer.cluster.device import Division
from xinfer.engines.base import EncoderEngine, LoadContext, LoadedModel
from xinfer.engines.installed import installed
from xinfer.errors import LaunchFailed


class SentenceTransformersEngine(EncoderEngine):
    """PyTorch checkpoints on CPU and CUDA."""

    name: ClassVar[str] = "sentence_transformers"
    types: ClassVar[frozenset[ModelType]] = frozenset({ModelType.RERANK, ModelType.EMBEDDING})
    dtypes: ClassVar[frozenset[Dtype]] = frozenset(Dtype)
    base_bytes: ClassVar[int] = 600 << 20
    division: ClassVar[Division | None] = Division.LAYERS
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "sentence_transformers")
    options: ClassVar[Mapping[str, type]] = {
        "tf32": bool,  # CUDA, float32: products rounded to 10 bits of mantissa, several times as fast
        "tune": bool,  # choose how to compute by measurement at load (the default)
    }

    @classmethod
    def available(cls) -> bool:
        """torch, transformers and sentence-transformers are installed."""
        return installed(*cls.packages)

    def load(self, context: LoadContext) -> LoadedModel:
        """Load weights onto the device; see the base class."""
        if not context.path.is_dir():
            raise LaunchFailed(f"model_path: {context.path} is not a folder on this worker.")
        if context.spec.type is ModelType.EMBEDDING:
            from xinfer.engines import torch_embedding

            return torch_embedding.load(context)
        if context.spec.type is not ModelType.RERANK:
            raise LaunchFailed(f"model_engine: {self.name} runs rerank and embedding models, not {context.spec.type.value}.")
        if context.spec.rerank is not None and context.spec.rerank.scorer == "causal_lm":
            from xinfer.engines import torch_causal_scorer

            return torch_causal_scorer.load(context)
        from xinfer.engines import torch_cross_encoder

        return torch_cross_encoder.load(context)
