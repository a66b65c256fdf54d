"""What a language model is asked for, and what it answers while it answers: immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from xinfer.errors import XinferError


class Finish(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the model's own end, or a stop string
    LENGTH = "length"  # as many tokens as were allowed


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 = always the likeliest token.
        top_k: 0 = no bound.
        seed: None = another answer each time.
        logprobs: how many likeliest tokens are told with each token; None = not even the token's own.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Where an answer stood when its replica was lost.

    Attributes:
        tokens: ids that were delivered.
        held: text of these that was not said yet, because it may become a stop string.
    """

    tokens: tuple[int, ...]
    held: str = ""


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """One answer to be generated.

    Attributes:
        key: names it on its replica; unique among all API processes.
        messages: of a chat, put into the model's own template; or ``prompt``, text or token ids, taken as it is.
        tools: descriptions of functions, for the template; ``template_options``: whatever else it is to be given.
        max_tokens: of the answer, those of ``resume`` among them; None = up to the model's context.
        stops: strings that end the answer and are not in it.
        ignore_end: go on past the model's own end, up to ``max_tokens``.
        schema: JSON schema that the answer must follow; None = free text.
    """

    key: str
    messages: tuple[Mapping[str, Any], ...] = ()
    prompt: str | tuple[int, ...] = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    template_options: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    ignore_end: bool = False
    schema: Mapping[str, Any] | None = None
    resume: Resume | None = None

    def another(self, number: int) -> GenerationJob:
        """One of several answers to the same, each with a seed of its own."""
        seed = self.sampling.seed
        own = self.sampling if seed is None else replace(self.sampling, seed=(seed + number) % 2**32)
        return replace(self, key=f"{self.key}-{number}", sampling=own)

    def named(self, key: str) -> GenerationJob:
        """The same under another key."""
        return replace(self, key=key)

    def going_on(self, key: str, resume: Resume) -> GenerationJob:
        """The job that goes on from there on another replica; ``resume`` counts from the beginning of the answer.

        A sampler cannot be put back to where it was: with a seed, the rest is what a sampler of the next seed chooses, the same each time.
        """
        seed = self.sampling.seed
        moved = replace(self.sampling, seed=None if seed is None else (seed + len(resume.tokens)) % 2**32)
        return replace(self, key=key, resume=resume, sampling=moved)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and its log probability, in nats; ``top`` has the likeliest ones in its place, the likeliest first."""

    token: str
    logprob: float
    raw: bytes = b""
    top: tuple[tuple[str, float, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """More of one answer, as an engine gives it.

    Attributes:
        tokens: ids that together make whole characters: ``text``.
        cached_tokens: of the prompt, that were in the KV cache already; with the first one.
        finish, or an error: with the last one.
    """

    key: str
    tokens: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int = 0
    finish: Finish | None = None
    error: XinferError | None = None


@dataclass(frozen=True, slots=True)
class Emission:
    """More of one answer, as its caller is told.

    Attributes:
        number: counts those of one job on one replica, from 1.
        tokens: ids, with ``text`` what may be said now; ``held`` is what is held back after it.
        prompt_tokens, cached_tokens: length of the prompt, and how much of it was in the KV cache already; with the first emission.
        finish, or an error: with the last one; ``stopped_by`` is the stop string, if it was one.
    """

    key: str
    number: int
    tokens: tuple[int, ...] = ()
    text: str = ""
    held: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finish: Finish | None = None
    stopped_by: str | None = None
    error: XinferError | None = None

    @property
    def last(self) -> bool:
        """No more of this answer comes from this replica."""
        return self.finish is not None or self.error is not None
