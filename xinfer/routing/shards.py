"""How much of the queue goes out at once, and which items."""

from __future__ import annotations

from xinfer.routing.pending import PendingItem
from xinfer.routing.queue import ItemQueue

LEAST = 256
"""Tokens below which work is not divided further among replicas: one to three short documents stay together."""


DEEP = 2
"""Batches of one shard of a long queue."""
PLENTY = 8
"""Batches for every replica that make a queue long: more than all windows hold when it is, and the end is far."""


def depth(queued: float, budgets: int) -> int:
    """Batches that a shard of bulk work should make.

    Two, while there is plenty: half the calls, and what the replica cuts, by true lengths, out of twice the work is fuller and
    nearer in length. Near the end one, so that all replicas end together.

    Args:
        queued: tokens waiting; ``budgets``: tokens of one batch at each replica, together.
    """
    return DEEP if queued >= PLENTY * budgets else 1


def least(budget: int) -> int:
    """The smallest part, in tokens, worth a batch of its own."""
    return min(budget, max(LEAST, budget // 8))


def share(queued: float, remaining: float, everywhere: float, speed: float, all_speed: float) -> float:
    """Tokens that one replica should take so that all end together.

    Args:
        queued: tokens waiting.
        remaining: tokens this replica still has to do; ``everywhere``: all replicas together.
        speed: of this replica; ``all_speed``: of all together.

    Returns:
        Below zero where a replica already has more than its part.
    """
    return (queued + everywhere) * speed / all_speed - remaining


def form(queue: ItemQueue, lane: str, budget: int, part: float) -> list[PendingItem]:
    """Take the next shard: the item whose turn it is and those nearest to it in length, across requests.

    Args:
        budget: padded tokens the shard may have; one item always goes.
        part: this replica's share of what waits; near the end of the queue it is smaller than the budget, which spreads
            one request over idle replicas and lets all of them end together.
    """
    whole = part >= queue.lane(lane).tokens  # counted without the padding that it will have
    return queue.take(lane, int(budget if whole else min(budget, max(least(budget), part))), budget // 8)
