"""Rerank and embeddings on onnxruntime, int8 graphs included, without torch."""

from __future__ import annotations

from typing import ClassVar

from xinfer.catalog.spec import Dtype, ModelType
from xinfer.engines.base import EncoderEngine, LoadContext, LoadedModel
from xinfer.engines.installed import installed
from xinfer.errors import LaunchFailed


class OnnxRuntimeEngine(EncoderEngine):
    """ONNX graphs on CPU and CUDA."""

    name: ClassVar[str] = "onnxruntime"
    types: ClassVar[frozenset[ModelType]] = frozenset({ModelType.RERANK, ModelType.EMBEDDING})
    dtypes: ClassVar[frozenset[Dtype]] = frozenset({Dtype.FLOAT32})
    base_bytes: ClassVar[int] = 150 << 20
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime", "tokenizers")

    @classmethod
    def available(cls) -> bool:
        """onnxruntime and tokenizers are installed."""
        return installed(*cls.packages)

    def load(self, context: LoadContext) -> LoadedModel:
        """Load the graph; see the base class."""
        if not context.path.is_dir():
            raise LaunchFailed(f"model_path: {context.path} is not a folder on this worker.")
        if context.spec.type not in self.types:
            raise LaunchFailed(f"model_engine: {self.name} runs rerank and embedding models, not {context.spec.type.value}.")
        from xinfer.engines import onnx_models

        return onnx_models.load(context)
