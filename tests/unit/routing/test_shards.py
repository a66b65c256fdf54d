"""How much of the queue goes out at once."""

from __future__ import annotations

import pytest

from xinfer.routing.shards import depth, least, share


def test_two_batches_a_shard_while_the_queue_is_long() -> None:
    assert depth(8 * 1024, 1024) == 2
    assert depth(8 * 1024 - 1, 1024) == 1
    assert depth(0, 1024) == 1


def test_the_smallest_part_worth_a_batch() -> None:
    assert least(100) == 100
    assert least(1000) == 256
    assert least(8192) == 1024


def test_shares_end_together_and_who_is_ahead_has_none() -> None:
    assert share(1000, 0, 0, 3, 4) == pytest.approx(750)
    assert share(1000, 900, 900, 1, 2) == pytest.approx(50)
    assert share(100, 900, 900, 1, 2) < 0
