"""The real models, as fixtures."""

from tests.support.models import bge_small_onnx, reranker_onnx

__all__ = ["bge_small_onnx", "reranker_onnx"]
