"""The order of shards at a replica: interactive ahead, bulk never starved, dropped ones skipped."""

from __future__ import annotations

from dataclasses import dataclass

from xinfer.batching.line import BULK_TURN, ShardLine


@dataclass(eq=False)
class Shard:
    tokens: int
    urgent: bool = False
    dropped: bool = False


def line(*shards: Shard) -> ShardLine[Shard]:
    made: ShardLine[Shard] = ShardLine()
    for shard in shards:
        made.add(shard)
    return made


def test_interactive_shards_run_before_older_bulk_ones() -> None:
    bulk, small = Shard(100), Shard(10, urgent=True)
    waiting = line(bulk, small)
    assert waiting.take(100) == [small]
    assert waiting.take(100) == [bulk]
    assert waiting.take(100) == []


def test_what_fits_one_batch_is_taken_together_but_kinds_do_not_mix() -> None:
    first, second, third, bulk = Shard(40, urgent=True), Shard(50, urgent=True), Shard(20, urgent=True), Shard(10)
    waiting = line(bulk, first, second, third)
    assert waiting.take(100) == [first, second]
    assert waiting.take(100) == [third]
    assert waiting.take(100) == [bulk]


def test_bulk_has_a_turn_after_eight_interactive_ones() -> None:
    waiting = line(*(Shard(100) for _ in range(2)), *(Shard(100, urgent=True) for _ in range(30)))
    order = [waiting.take(100)[0].urgent for _ in range(20)]
    assert [turn for turn, urgent in enumerate(order) if not urgent] == [BULK_TURN, 2 * BULK_TURN + 1]


def test_a_bulk_shard_in_progress_is_overtaken_eight_times_per_batch() -> None:
    waiting = line(*(Shard(100, urgent=True) for _ in range(20)))
    runs = [bool(waiting.overtaking(100)) for _ in range(18)]
    assert [turn for turn, urgent in enumerate(runs) if not urgent] == [BULK_TURN, 2 * BULK_TURN + 1]


def test_dropped_shards_are_skipped() -> None:
    gone, bulk, small = Shard(100), Shard(100), Shard(10, urgent=True, dropped=True)
    gone.dropped = True
    waiting = line(gone, bulk, small)
    assert waiting.take(100) == [bulk]
    assert not waiting
