"""One answer while it is generated: what an engine gives becomes what its caller is told. Pure."""

from __future__ import annotations

from dataclasses import replace

from xinfer.generation.job import Emission, Finish, Generated, GenerationJob
from xinfer.generation.stops import StopStrings


class Answer:
    """Counts tokens, finds stop strings.

    Args:
        prompt_tokens: of the prompt alone, without what was delivered before.
        max_tokens: that may come here.

    Attributes:
        holds: tokens of KV room, with all that may come.
        tokens: that came here.
        ended: nothing more is told of it.
    """

    def __init__(self, job: GenerationJob, prompt_tokens: int, max_tokens: int) -> None:
        before = job.resume
        self.job = job
        self.prompt_tokens = prompt_tokens
        self.holds = prompt_tokens + (len(before.tokens) if before else 0) + max_tokens
        self.tokens = 0
        self.ended = False
        self._number = 0
        self._stops = StopStrings(job.stops, held=before.held if before else "")

    def take(self, generated: Generated) -> Emission:
        """What the caller is told of it."""
        self.tokens += len(generated.tokens)
        self._number += 1
        text = self._stops.feed(generated.text)
        finish = Finish.STOP if self._stops.stopped_by is not None else generated.finish
        error = None if finish is not None else generated.error
        if finish is not None or error is not None:
            text += self._stops.end()
            self.ended = True
        emission = Emission(
            key=self.job.key,
            number=self._number,
            tokens=generated.tokens,
            text=text,
            held=self._stops.held,
            logprobs=generated.logprobs,
            finish=finish,
            stopped_by=self._stops.stopped_by,
            error=error,
        )
        if self._number == 1:
            return replace(emission, prompt_tokens=self.prompt_tokens, cached_tokens=generated.cached_tokens)
        return emission
