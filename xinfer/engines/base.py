"""The engine interface: a file of this room turns a folder into a model that scores or embeds batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import Dtype, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind, DeviceReport, Division
from xinfer.cluster.ids import DeviceUuid


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What an engine is given to load a model.

    Attributes:
        path: folder with the model's files.
        device_kind: GPU means CUDA device 0.. of this process; CPU and SIMULATED mean the CPU.
        device_uuids: what this replica is bound to, in the engine's device order; several are filled with layers one after the other.
        threads: compute threads (CPU).
        memory_bytes: reservation per device; the engine keeps itself within it.
    """

    path: Path
    spec: ModelSpec
    device_kind: DeviceKind
    device_uuids: tuple[DeviceUuid, ...]
    threads: int
    memory_bytes: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised item.

    Attributes:
        features: by input name, token ids and the like, each int64 of shape (tokens,), unpadded.
        tokens: length after truncation.
        truncated: the input was longer than the model's maximum.
    """

    features: Mapping[str, npt.NDArray[np.int64]]
    tokens: int
    truncated: bool = False


class Pending(ABC):
    """A batch whose work has been handed to the device."""

    @abstractmethod
    def result(self) -> npt.NDArray[np.float32]:
        """Wait for the batch and give what ``LoadedModel.forward`` gives. To be called once.

        Raises:
            OutOfMemory, EngineError: of this batch, as ``forward``.
        """


@dataclass(frozen=True, slots=True)
class Finished(Pending):
    """A batch that was computed where it was launched."""

    values: npt.NDArray[np.float32]

    def result(self) -> npt.NDArray[np.float32]:
        """At once."""
        return self.values


class LoadedModel(ABC):
    """A model in memory. ``tokenize`` runs on the tokeniser thread, ``launch`` and ``forward`` on the compute thread only.

    Attributes:
        in_flight: batches that may be launched before the first of them is waited for; 1 = launching is computing.
        packs: rows are computed without padding, so that a batch costs its real tokens.
        compute_path: how it computes, for people: chosen at load by what is installed and by measurement.
    """

    max_tokens: int
    activation: Literal["sigmoid", "identity"] = "identity"
    normalize: bool = False
    dimensions: int = 0
    scores_depend_on_batch: bool = False
    in_flight: int = 1
    packs: bool = False
    compute_path: str = ""

    @abstractmethod
    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        """Apply prompts or template, tokenise, truncate to ``max_tokens``.

        Raises:
            InvalidItem: an unknown prompt or a text the tokeniser cannot digest.
        """

    @abstractmethod
    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        """Run one padded batch.

        Returns:
            (n,) raw scores before the activation, or (n, dim) pooled vectors before normalisation; float32.

        Raises:
            OutOfMemory: the batch was too large; nothing is broken and a smaller one may follow.
            EngineError: anything else.
        """

    def launch(self, batch: Sequence[Encoded]) -> Pending:
        """Start one batch, so that the next can be prepared and launched while the device computes.

        Results must be taken in the order of the launches. What a failed launch raises is of that batch alone: those before it go on.

        Raises:
            OutOfMemory, EngineError: as ``forward``.
        """
        return Finished(self.forward(batch))

    @abstractmethod
    def reports(self) -> tuple[DeviceReport, ...]:
        """Ask the runtime, not the environment, which devices the weights are on, with the memory used."""

    def release_memory(self) -> None:  # noqa: B027 - most have nothing to give
        """Give cached blocks back after an OOM or a burst."""

    def close(self) -> None:  # noqa: B027
        """Free everything."""


class Engine(ABC):
    """One engine. Instances hold no state."""

    name: ClassVar[str]
    types: ClassVar[frozenset[ModelType]]
    dtypes: ClassVar[frozenset[Dtype]]
    base_bytes: ClassVar[int]
    """Memory the engine takes on the CPU before any weights."""
    options: ClassVar[Mapping[str, type]] = {}
    """Launch options that this engine declares, with their types."""
    division: ClassVar[Division | None] = None
    """How one replica may use several devices; None = it cannot."""
    packages: ClassVar[tuple[str, ...]]
    """What it imports, by import name."""

    @classmethod
    @abstractmethod
    def available(cls) -> bool:
        """Whether the packages it needs are installed (found, not imported)."""


class EncoderEngine(Engine):
    """An engine whose models score or embed; those that generate are in ``generative``."""

    @abstractmethod
    def load(self, context: LoadContext) -> LoadedModel:
        """Load weights onto the device.

        Raises:
            LaunchFailed: files missing or of the wrong kind; OutOfMemory: weights do not fit.
        """
