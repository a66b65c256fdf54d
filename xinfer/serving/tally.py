"""What one replica has computed since it became ready: counts, and histograms of waits, batches and padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xinfer.batching.work import BatchTrace
from xinfer.serving import histogram
from xinfer.serving.histogram import Distribution, Histogram
from xinfer.serving.shard import Shard


def _of(bounds: tuple[float, ...]) -> Histogram:
    return field(default_factory=lambda: Histogram(bounds))


@dataclass(slots=True)
class Tally:
    """Work done since the replica became ready. The compute thread counts, others look.

    Attributes:
        wait, tokenize, stay: of each answered shard, ``stay`` from its arrival to its last batch.
            The others are of each batch that went through.
    """

    items: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    busy_seconds: float = 0.0
    wait: Histogram = _of(histogram.SECONDS)
    tokenize: Histogram = _of(histogram.SECONDS)
    stay: Histogram = _of(histogram.SECONDS)
    compute: Histogram = _of(histogram.SECONDS)
    batch_tokens: Histogram = _of(histogram.TOKENS)
    batch_items: Histogram = _of(histogram.ITEMS)
    padding: Histogram = _of(histogram.RATIO)

    def ran(self, batch: BatchTrace) -> None:
        """A batch went through."""
        self.items += batch.items
        self.tokens += batch.real_tokens
        self.padded_tokens += batch.padded_tokens
        self.batches += 1
        self.compute.observe(batch.seconds)
        self.batch_tokens.observe(batch.padded_tokens)
        self.batch_items.observe(batch.items)
        self.padding.observe(batch.padded_tokens / max(1, batch.real_tokens))

    def answered(self, shard: Shard) -> None:
        """A shard has all its values."""
        self.wait.observe(shard.wait_seconds)
        self.tokenize.observe(shard.tokenize_seconds)
        self.stay.observe(shard.stay_seconds)

    def histograms(self) -> Mapping[str, Distribution]:
        """By the name that metrics give them."""
        return {
            "wait_seconds": self.wait.distribution(),
            "tokenize_seconds": self.tokenize.distribution(),
            "stay_seconds": self.stay.distribution(),
            "compute_seconds": self.compute.distribution(),
            "batch_tokens": self.batch_tokens.distribution(),
            "batch_items": self.batch_items.distribution(),
            "padding_ratio": self.padding.distribution(),
        }
