"""What one replica of a language model has generated since it became ready: counts, and histograms of waits and of gaps between tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from xinfer.generation.answer import Answer
from xinfer.generation.job import Generated
from xinfer.serving import histogram
from xinfer.serving.histogram import Distribution, Histogram


@dataclass(slots=True)
class _Times:
    begun: float
    last: float


class Progress:
    """The generating thread counts, others look.

    Attributes:
        answers: that ended, cancelled ones too; ``cancelled``: of these.
        prompt_tokens, cached_tokens: of the prompts that began to be answered; ``tokens``: generated.
        busy_seconds: within steps, with something to generate.
        active: answers being generated now.
        moved_at: when something last came of the engine, or began after nothing was there.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: dict[str, _Times] = {}
        self._first = Histogram(histogram.SECONDS)
        self._gap = Histogram(histogram.SECONDS)
        self._length = Histogram(histogram.TOKENS)
        self.answers = self.cancelled_answers = 0
        self.prompt_tokens = self.cached_tokens = self.tokens = self.steps = 0
        self.busy_seconds = 0.0
        self.active = 0
        self.moved_at = clock()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a step."""
        started = self._clock()
        try:
            yield
        finally:
            self.steps += 1
            self.busy_seconds += self._clock() - started

    def began(self, answer: Answer, active: int) -> None:
        """An answer has begun."""
        now = self._clock()
        if not self.active:
            self.moved_at = now
        self.active = active
        self._times[answer.job.key] = _Times(now, now)

    def came(self, answer: Answer, generated: Generated) -> None:
        """Tokens came."""
        now, times = self._clock(), self._times[answer.job.key]
        self.moved_at = now
        if times.last == times.begun:
            self.prompt_tokens += answer.prompt_tokens
            self.cached_tokens += generated.cached_tokens
            self._first.observe(now - times.begun)
        elif generated.tokens:
            self._gap.observe((now - times.last) / len(generated.tokens))
        times.last = now
        self.tokens += len(generated.tokens)

    def ended(self, answer: Answer, active: int) -> None:
        """An answer is whole, or has failed."""
        self.active = active
        self.answers += 1
        self._times.pop(answer.job.key, None)
        self._length.observe(answer.tokens)

    def cancelled(self, answer: Answer, active: int) -> None:
        """Nobody waits for it any more."""
        self.ended(answer, active)
        self.cancelled_answers += 1

    def histograms(self) -> Mapping[str, Distribution]:
        """By the name that metrics give them."""
        return {
            "first_token_seconds": self._first.distribution(),
            "token_seconds": self._gap.distribution(),
            "answer_tokens": self._length.distribution(),
        }
