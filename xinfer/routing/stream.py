"""One answer that grows, as the API process that waits for it sees it, and the replicas that it may grow on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xinfer.cluster.capacity import Capacity
from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.routes import Route
from xinfer.errors import XinferError
from xinfer.generation.job import Emission, GenerationJob, Resume
from xinfer.routing.standing import Standing

UNKNOWN = Capacity(context_tokens=4096, kv_tokens=4096, places=1)
"""Of a replica that does not say what it holds."""
HORIZON = 512
"""Tokens that an answer is taken for at most: few use all that they may have."""


@dataclass(slots=True, eq=False)
class Stream:
    """One answer.

    Attributes:
        job: as asked for.
        estimate: tokens of the prompt, as guessed from its letters.
        arrived: when; ``key``: the API key, between which the queue is fair.
        prefixes: names of the conversation's beginnings, the shortest first (``routing.affinity``).
        load: the replica that it is at; ``attempt`` counts them, from 1.
        seen: number of the last emission from there.
        prompt_tokens: true ones, 0 = not known yet; ``cached_tokens``: of them, in the KV cache already.
        tokens: ids delivered, from all replicas; ``held``: text of them that may become a stop string.
        failures: engine errors; ``crashes``: replicas that died with it; ``resumes``: times that it went on elsewhere.
        avoid: where it failed last.
        fresh: emissions that its client has not been told.
    """

    job: GenerationJob
    estimate: int
    arrived: float
    key: str = ""
    prefixes: tuple[int, ...] = ()
    load: StreamLoad | None = None
    attempt: int = 0
    seen: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: list[int] = field(default_factory=list)
    held: str = ""
    failures: int = 0
    crashes: int = 0
    resumes: int = 0
    avoid: ReplicaId | None = None
    fresh: list[Emission] = field(default_factory=list)
    settled: bool = False
    error: XinferError | None = None

    @property
    def alone(self) -> bool:
        """Replicas die with it: until it is known whether it is the cause, it risks no other's answer."""
        return self.crashes > 1

    @property
    def at(self) -> str:
        """Its key on the replica that it is at."""
        return f"{self.job.key}/{self.attempt}"

    @property
    def prompt(self) -> int:
        """Tokens of the prompt, as well as they are known."""
        return self.prompt_tokens or self.estimate

    def wants(self, capacity: Capacity) -> int:
        """Tokens of KV room that it may come to."""
        longest = capacity.longest
        limit = self.job.max_tokens
        return longest if limit is None else min(longest, self.prompt + limit)

    @property
    def left(self) -> int:
        """Tokens that are likely still to be computed, of prompt and answer."""
        limit = HORIZON if self.job.max_tokens is None else min(HORIZON, self.job.max_tokens)
        answer = max(1, limit - len(self.tokens))
        return answer if self.seen else answer + self.prompt + len(self.tokens)

    def next_job(self) -> GenerationJob:
        """What the next replica is asked for; counts the attempt."""
        self.attempt += 1
        self.seen = 0
        if not self.tokens:
            return self.job.named(self.at)
        self.resumes += 1
        return self.job.going_on(self.at, Resume(tuple(self.tokens), self.held))

    def take(self, emission: Emission) -> bool:
        """More of the answer; False for what has come before."""
        if self.settled or emission.number <= self.seen:
            return False
        if emission.number == 1 and not self.prompt_tokens:
            self.prompt_tokens, self.cached_tokens = emission.prompt_tokens, emission.cached_tokens
        self.seen = emission.number
        self.tokens += emission.tokens
        self.held = emission.held
        return True


@dataclass(slots=True, eq=False)
class StreamLoad(Standing):
    """One life of one replica.

    Attributes:
        streams: answers of this process there, begun or about to, by the key that they have there.
        answers, tokens, errors: counts.
    """

    route: Route
    streams: dict[str, Stream] = field(default_factory=dict)
    answers: int = 0
    tokens: int = 0
    errors: int = 0

    @property
    def capacity(self) -> Capacity:
        """What it holds at once."""
        return self.route.capacity or UNKNOWN

    @property
    def work(self) -> int:
        """Tokens that are likely still to be computed there for this process."""
        return sum(stream.left for stream in self.streams.values())

    def has_room(self, stream: Stream, now: float) -> bool:
        """Whether an answer may begin there now, as far as this process knows."""
        if self.ejected or now < self.closed_until:
            return False
        if self.streams and (stream.alone or any(other.alone for other in self.streams.values())):
            return False
        held = [other.wants(self.capacity) for other in self.streams.values()]
        return self.capacity.has_room(held, stream.wants(self.capacity))

    def seen(self) -> dict[str, int]:
        """By key, the number of the last emission that came."""
        return {key: stream.seen for key, stream in self.streams.items()}


def held_by_key(loads: Iterable[StreamLoad]) -> dict[str, int]:
    """Tokens of KV room that each API key's answers hold."""
    held: dict[str, int] = {}
    for load in loads:
        for stream in load.streams.values():
            held[stream.key] = held.get(stream.key, 0) + stream.wants(load.capacity)
    return held
