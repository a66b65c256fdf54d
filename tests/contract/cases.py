"""The models that every engine is held to, each with what the plain library gives for the same texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.contract import references
from tests.support import checkpoints
from tests.support.models import model as real_model
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import EmbeddingTraits, LocalSource, ModelSpec, ModelType, RerankTraits
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import registry
from xinfer.engines.base import LoadContext, LoadedModel
from xinfer.serving.shard import finish

Array = npt.NDArray[np.float32]

QWEN_TEMPLATE = (
    "<|im_start|>system\nIs it relevant? yes or no.<|im_end|>\n<|im_start|>user\n"
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


@dataclass(frozen=True)
class Case:
    """One model on one engine.

    Attributes:
        make: writes or finds the model's folder, given an empty one.
        reference: (folder, texts, query) to scores or vectors, by the library itself, each text alone or in its own batches.
        exact: a batch's composition changes nothing (float32 without dynamic quantisation).
    """

    name: str
    engine: str
    type: ModelType
    make: Callable[[Path], Path]
    reference: Callable[[Path, Sequence[str], str], Array]
    max_tokens: int = 512
    fields: dict[str, Any] = field(default_factory=dict)
    exact: bool = True

    def items(self, texts: Sequence[str], query: str, **fields: Any) -> list[WorkItem]:
        """Pairs or texts, as the model takes them."""
        if self.type is ModelType.RERANK:
            return [WorkItem(query, text, **fields) for text in texts]
        return [WorkItem(text, **fields) for text in texts]

    def context(self, path: Path) -> LoadContext:
        """For one thread of the CPU."""
        spec = ModelSpec(name=self.name, type=self.type, engine=self.engine, sources=(LocalSource(path=str(path)),), **self.fields)
        return LoadContext(path, spec, DeviceKind.CPU, (DeviceUuid("CPU-test-0"),), 1, 0)


def _made(make: Callable[[Path], None]) -> Callable[[Path], Path]:
    def written(target: Path) -> Path:
        make(target)
        return target

    return written


def _real(name: str) -> Callable[[Path], Path]:
    return lambda target: real_model(name)


CASES = (
    Case("reranker-torch", "sentence_transformers", ModelType.RERANK, _real("reranker-torch"), references.cross_encoder),
    Case("reranker-onnx", "onnxruntime", ModelType.RERANK, _real("reranker-onnx"), references.onnx_reranker, exact=False),
    Case(
        "minilm", "sentence_transformers", ModelType.EMBEDDING, _real("minilm-embedding"), references.sentence_transformer, max_tokens=256
    ),
    Case(
        "bge-small-onnx",
        "onnxruntime",
        ModelType.EMBEDDING,
        _real("bge-small-onnx"),
        references.onnx_cls_embedding,
        fields={"embedding": EmbeddingTraits(pooling="cls")},
        exact=False,
    ),
    Case(
        "tiny-xlm-roberta",
        "sentence_transformers",
        ModelType.RERANK,
        _made(checkpoints.tiny_xlm_roberta_reranker),
        references.cross_encoder,
        max_tokens=64,
    ),
    Case(
        "tiny-qwen3-reranker",
        "sentence_transformers",
        ModelType.RERANK,
        _made(checkpoints.tiny_qwen3_reranker),
        references.qwen3_reranker,
        max_tokens=256,
        fields={"rerank": RerankTraits(scorer="causal_lm", template=QWEN_TEMPLATE, instruction="find it")},
    ),
    Case(
        "tiny-qwen3-embedding",
        "sentence_transformers",
        ModelType.EMBEDDING,
        _made(checkpoints.tiny_qwen3_embedding),
        references.sentence_transformer,
        max_tokens=200,
    ),
)


@cache
def folder_of(name: str) -> Path:
    """The model's folder; tiny ones are made once per run."""
    import tempfile

    return case_of(name).make(Path(tempfile.mkdtemp(prefix=f"{name}-")) / name)


@cache
def loaded(name: str) -> LoadedModel:
    """The model, loaded once per run."""
    case = case_of(name)
    return registry.get(case.engine).load(case.context(folder_of(name)))


def case_of(name: str) -> Case:
    """By name."""
    return next(case for case in CASES if case.name == name)


def answers(model: LoadedModel, items: Sequence[WorkItem], batch: int = 1) -> Array:
    """What a client would get, in batches of ``batch`` items as they come."""
    encoded = model.tokenize(items)
    parts = [model.forward(encoded[start : start + batch]) for start in range(0, len(encoded), batch)]
    return finish(np.concatenate(parts), model)
