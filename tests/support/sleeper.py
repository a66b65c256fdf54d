"""A language model that only sleeps. Its next token is a function of all before it: an answer that goes on elsewhere is the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from xinfer.catalog.spec import Dtype, ModelType
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.device import DeviceReport
from xinfer.engines.base import LoadContext
from xinfer.engines.generative import GenerativeEngine, GenerativeModel
from xinfer.errors import InvalidItem
from xinfer.generation.job import Finish, Generated, GenerationJob

LETTERS = "abcdefghijklmnopqrstuvwxyz "


def next_token(ids: tuple[int, ...]) -> int:
    """The likeliest one."""
    return (sum(ids) * 31 + len(ids) * 7) % len(LETTERS)


def answer_to(prompt: str, tokens: int) -> str:
    """The whole answer."""
    ids = encode(prompt)
    first = len(ids)
    while len(ids) < first + tokens:
        ids = (*ids, next_token(ids))
    return "".join(LETTERS[each] for each in ids[first:])


def encode(text: str) -> tuple[int, ...]:
    """A token for each character."""
    return tuple(ord(each) % 1000 for each in text)


@dataclass
class _Sequence:
    ids: tuple[int, ...]
    left: int
    fresh: bool = True


@dataclass
class Sleeper(GenerativeModel):
    """Each step gives every answer a token and takes ``step_seconds``.

    Attributes:
        broken: what the next step raises; ``gate``: steps wait until it is set.
        cancelled: keys; ``most``: answers that were there at once; ``steps``: taken.
    """

    capacity: Capacity = Capacity(context_tokens=1000, kv_tokens=4000, places=16)
    step_seconds: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    broken: BaseException | None = None
    gate: threading.Event | None = None
    cancelled: list[str] = field(default_factory=list)
    most: int = 0
    steps: int = 0
    sequences: dict[str, _Sequence] = field(default_factory=dict)
    closed: bool = False

    def encode(self, job: GenerationJob) -> tuple[int, ...]:
        """A token for each character of the prompt, or of the messages' contents."""
        if job.messages:
            return encode("\n".join(str(message["content"]) for message in job.messages))
        if isinstance(job.prompt, str):
            if "\0" in job.prompt:
                raise InvalidItem("the prompt cannot be read")
            return encode(job.prompt)
        return job.prompt

    def begin(self, job: GenerationJob, prompt: tuple[int, ...], max_tokens: int) -> None:
        """One more sequence."""
        self.sequences[job.key] = _Sequence(prompt, max_tokens)
        self.most = max(self.most, len(self.sequences))

    def step(self, timeout: float) -> list[Generated]:
        """A token for each."""
        if self.gate is not None and not self.gate.wait(timeout):
            return []
        self.sleep(self.step_seconds)
        if self.broken is not None:
            raise self.broken
        self.steps += 1
        return [self._advance(key, sequence) for key, sequence in list(self.sequences.items())]

    def _advance(self, key: str, sequence: _Sequence) -> Generated:
        token = next_token(sequence.ids)
        sequence.ids = (*sequence.ids, token)
        sequence.left -= 1
        done = sequence.left == 0
        if done:
            del self.sequences[key]
        return Generated(key, (token,), LETTERS[token], finish=Finish.LENGTH if done else None)

    def cancel(self, key: str) -> None:
        """Forget it."""
        if self.sequences.pop(key, None) is not None:
            self.cancelled.append(key)

    def reports(self) -> tuple[DeviceReport, ...]:
        """Nowhere."""
        return ()

    def close(self) -> None:
        """Remember it."""
        self.closed = True


@dataclass
class SleeperEngine(GenerativeEngine):
    """Gives a Sleeper."""

    name: ClassVar[str] = "sleeper"
    types: ClassVar[frozenset[ModelType]] = frozenset({ModelType.LLM})
    dtypes: ClassVar[frozenset[Dtype]] = frozenset({Dtype.FLOAT32})
    base_bytes: ClassVar[int] = 0
    packages: ClassVar[tuple[str, ...]] = ()
    model: Sleeper = field(default_factory=Sleeper)

    @classmethod
    def available(cls) -> bool:
        """Always."""
        return True

    def load(self, context: LoadContext) -> GenerativeModel:
        """The same one each time."""
        return self.model
