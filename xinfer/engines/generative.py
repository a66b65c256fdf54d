"""The interface of language models: a file of this room turns a folder into a model that generates many answers at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

from xinfer.cluster.capacity import Capacity
from xinfer.cluster.device import DeviceReport
from xinfer.engines.base import Engine, LoadContext
from xinfer.generation.job import Generated, GenerationJob


class GenerativeModel(ABC):
    """A language model in memory. ``encode`` runs on the tokeniser thread, ``wake`` on any, everything else on the compute thread only.

    Attributes:
        capacity: what it holds at once; whoever calls ``begin`` keeps within it.
        compute_path: how it computes, for people.
    """

    capacity: Capacity
    compute_path: str = ""

    @abstractmethod
    def encode(self, job: GenerationJob) -> tuple[int, ...]:
        """Token ids of the prompt: the messages in the model's template, or the text as it is.

        Raises:
            InvalidItem: the template refuses the messages, or a token id is none of the model's.
        """

    @abstractmethod
    def begin(self, job: GenerationJob, prompt: tuple[int, ...], max_tokens: int) -> None:
        """Take up one answer behind ``prompt``, of at most ``max_tokens`` new tokens.

        Raises:
            InvalidItem: what the job asks for (a schema, say) cannot be done; EngineError: anything else. Either way nothing was begun.
        """

    @abstractmethod
    def step(self, timeout: float) -> list[Generated]:
        """Go on with everything that has begun, or wait up to ``timeout`` seconds for what comes by itself.

        Raises:
            ReplicaLost: the engine is broken for good. Errors of one answer come as ``Generated``.
        """

    @abstractmethod
    def cancel(self, key: str) -> None:
        """Stop that answer within one step and free its room; nothing more comes of it. An unknown one is none."""

    def wake(self) -> None:  # noqa: B027 - most only compute while they are in ``step``
        """End a ``step`` that only waits: there is something to begin or to cancel."""

    @abstractmethod
    def reports(self) -> tuple[DeviceReport, ...]:
        """Ask the runtime, not the environment, which devices the weights are on, with the memory used."""

    def close(self) -> None:  # noqa: B027
        """Free everything."""


class GenerativeEngine(Engine):
    """An engine whose models generate text."""

    @abstractmethod
    def load(self, context: LoadContext) -> GenerativeModel:
        """Load weights onto the device and take the KV cache.

        Raises:
            LaunchFailed: files missing or of the wrong kind; OutOfMemory: weights or KV cache do not fit.
        """
