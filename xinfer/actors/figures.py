"""What a replica has done, for those who watch it."""

from __future__ import annotations

from dataclasses import replace

from xinfer.actors.messages import GenerationStats, ReplicaStats
from xinfer.serving.generator import Generator
from xinfer.serving.server import ModelServer


def of_server(blank: ReplicaStats, server: ModelServer) -> ReplicaStats:
    """Of a model that scores or embeds."""
    s = server.stats()
    return replace(
        blank,
        items=s.items,
        tokens=s.tokens,
        busy_seconds=s.busy_seconds,
        queued_items=s.queued_items,
        queued_tokens=s.queued_tokens,
        batches=s.batches,
        oom_splits=s.oom_splits,
        budget_tokens=s.budget_tokens,
        padded_tokens=s.padded_tokens,
        slowdown=s.slowdown,
        histograms=s.histograms,
    )


def of_generator(blank: ReplicaStats, generator: Generator) -> ReplicaStats:
    """Of a language model."""
    p, held = generator.progress, generator.holds()
    tokens = p.prompt_tokens + p.tokens
    return replace(
        blank,
        items=p.answers,
        tokens=tokens,
        padded_tokens=tokens,
        busy_seconds=p.busy_seconds,
        queued_items=p.active,
        queued_tokens=held,
        batches=p.steps,
        budget_tokens=generator.capacity.kv_tokens,
        histograms=p.histograms(),
        generation=GenerationStats(
            answers=p.answers,
            cancelled=p.cancelled_answers,
            prompt_tokens=p.prompt_tokens,
            cached_tokens=p.cached_tokens,
            tokens=p.tokens,
            active=p.active,
            held_tokens=held,
            kv_tokens=generator.capacity.kv_tokens,
        ),
    )
