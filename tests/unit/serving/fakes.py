"""A model without weights: a word is a token, the value is the sum of its letters' counts. It can be slow, short of memory, or choke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from xinfer.batching.timing import BatchTime
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import Dtype, LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines.base import Encoded, EncoderEngine, LoadContext, LoadedModel
from xinfer.errors import EngineError, InvalidItem, OutOfMemory
from xinfer.serving.calibrate import Calibration

POISON = "poison"
UNREADABLE = "unreadable"


class FakeModel(LoadedModel):
    """Scores one item as the sum of its words' lengths.

    Args:
        most_tokens: padded tokens above which a batch runs out of memory.
        before: called at the start of each forward pass with the batch.
    """

    def __init__(self, most_tokens: int | None = None, before: Callable[[Sequence[Encoded]], None] | None = None) -> None:
        self.max_tokens = 64
        self.most_tokens = most_tokens
        self.before = before
        self.forwards: list[int] = []
        self.released = 0
        self.closed = threading.Event()
        self.tokenize_threads: set[str] = set()
        self.forward_threads: set[str] = set()

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        self.tokenize_threads.add(threading.current_thread().name)
        encoded = []
        for item in items:
            text = item.pair if item.pair is not None else str(item.text)
            if text == UNREADABLE:
                raise InvalidItem("cannot be read")
            words = text.split()[: self.max_tokens] or [""]
            codes = [-1 if word == POISON else len(word) for word in words]
            encoded.append(Encoded({"input_ids": np.array(codes, dtype=np.int64)}, len(words), len(text.split()) > self.max_tokens))
        return encoded

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        self.forward_threads.add(threading.current_thread().name)
        if self.before is not None:
            self.before(batch)
        padded = len(batch) * max(item.tokens for item in batch)
        self.forwards.append(padded)
        if self.most_tokens is not None and padded > self.most_tokens:
            raise OutOfMemory(f"{padded} tokens do not fit")
        if any((item.features["input_ids"] < 0).any() for item in batch):
            raise EngineError("the engine cannot digest it")
        return np.array([item.features["input_ids"].sum() for item in batch], dtype=np.float32)

    def reports(self) -> tuple[DeviceReport, ...]:
        return (DeviceReport(DeviceUuid("CPU-fake-0"), "fake", DeviceKind.CPU, 1),)

    def release_memory(self) -> None:
        self.released += 1

    def close(self) -> None:
        self.closed.set()


class FakeEngine(EncoderEngine):
    """Loads the model it was made with."""

    name: ClassVar[str] = "fake"
    types: ClassVar[frozenset[ModelType]] = frozenset(ModelType)
    dtypes: ClassVar[frozenset[Dtype]] = frozenset(Dtype)
    base_bytes: ClassVar[int] = 0

    def __init__(self, model: FakeModel | Exception) -> None:
        self.model = model

    @classmethod
    def available(cls) -> bool:
        return True

    def load(self, context: LoadContext) -> LoadedModel:
        if isinstance(self.model, Exception):
            raise self.model
        return self.model


def context(**options: Any) -> LoadContext:
    """For a CPU slot; calibration measures one size only unless told otherwise."""
    spec = ModelSpec(name="fake", type=ModelType.RERANK, engine="fake", sources=(LocalSource(path="/"),))
    chosen = {"calibrate_seconds": 0.0, **options}
    return LoadContext(Path("/"), spec, DeviceKind.CPU, (DeviceUuid("CPU-fake-0"),), 1, 0, chosen)


def calibration(budget: int) -> Calibration:
    """A budget, and a tenth of a millisecond a token."""
    return Calibration(budget, 10_000.0, BatchTime(0.0, 1e-4), ())


def item(text: str, **fields: Any) -> WorkItem:
    """One pair with ``text`` for its document."""
    return WorkItem("query", text, **fields)


def expected(text: str) -> float:
    """The fake model's score before activation."""
    return float(sum(len(word) for word in text.split()))
