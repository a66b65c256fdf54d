"""The budget halves what failed, keeps one item possible and grows back to where it was."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.budget import TokenBudget
from xinfer.batching.form import batches, bounds


def test_oom_halves_what_failed_not_only_the_bound() -> None:
    assert TokenBudget.of(4096).after_oom(4000, 100).tokens == 2000
    assert TokenBudget.of(4096).after_oom(1000, 100).tokens == 500


def test_never_below_the_longest_item() -> None:
    assert TokenBudget.of(2048).after_oom(1024, 1024).tokens == 1024


def test_grows_a_tenth_per_200_clean_batches_up_to_calibrated() -> None:
    budget = TokenBudget.of(1000).after_oom(1000, 10)
    for _ in range(199):
        budget = budget.after_clean()
    assert budget.tokens == 500
    budget = budget.after_clean()
    assert (budget.tokens, budget.clean) == (550, 0)
    for _ in range(200 * 20):
        budget = budget.after_clean()
    assert budget.tokens == 1000


def test_an_oom_starts_the_count_again() -> None:
    budget = TokenBudget.of(1000).after_oom(1000, 10)
    for _ in range(199):
        budget = budget.after_clean()
    assert budget.after_oom(400, 10).after_clean().tokens == 200


def test_a_batch_over_the_bound_says_nothing_against_it() -> None:
    budget = TokenBudget.of(1000).after_clean()
    after = budget.after_oom(1100, 1100)
    assert (after.tokens, after.clean, after.wall, after.splits) == (1000, 1, 0, 1)


def test_batches_too_small_to_prove_anything_do_not_raise_the_bound() -> None:
    budget = TokenBudget.of(1000).after_oom(1000, 10)
    for _ in range(1000):
        budget = budget.after_clean(249)
    assert budget.tokens == 500
    for _ in range(200):
        budget = budget.after_clean(250)
    assert budget.tokens == 550


def test_growth_waits_longer_each_time_at_the_same_wall_and_forgets_it_once_it_is_over() -> None:
    budget, hidden, looks = TokenBudget.of(4096), 1500, []
    for batch in range(60_000):
        if budget.tokens > hidden:
            budget = budget.after_oom(budget.tokens, 10)
            looks.append(batch)
        else:
            budget = budget.after_clean(budget.tokens)
    waits = [b - a for a, b in pairwise(looks[1:])]
    assert waits[:6] == sorted(waits[:6])
    assert waits[-1] > 10 * waits[0]
    for _ in range(30_000):  # the memory is there again
        budget = budget.after_clean(budget.tokens)
    assert (budget.tokens, budget.wall, budget.patience) == (4096, 0, 0)


def splits_of(dice: random.Random, budget: TokenBudget, hidden: int, longest: int, batches_run: int) -> tuple[TokenBudget, list[bool]]:
    """Shards of random lengths through the replica's own loop; for each batch, whether it ran out of memory."""
    seen: list[bool] = []
    while len(seen) < batches_run:
        lengths = [dice.randint(1, longest) for _ in range(dice.randint(1, 60))]
        waiting = [[lengths[place] for place in batch] for batch in batches(lengths, bounds(budget)[1])]
        while waiting:
            batch = waiting.pop(0)
            padded = len(batch) * max(batch)
            if len(batch) > 1 and padded > bounds(budget)[1]:  # formed before the bound fell
                waiting[:0] = [[batch[place] for place in part] for part in batches(batch, budget.tokens)]
                continue
            seen.append(padded > hidden)
            if padded <= hidden:
                budget = budget.after_clean(padded)
                continue
            budget = budget.after_oom(padded, max(batch))
            assert len(batch) > 1, "a document that fits alone was given up"
            parts = [[batch[place] for place in part] for part in batches(batch, budget.tokens)]
            middle = (len(batch) + 1) // 2
            waiting[:0] = parts if len(parts) > 1 else [batch[:middle], batch[middle:]]
    return budget, seen


def worst_hundred(seen: list[bool]) -> int:
    return max(sum(seen[start : start + 100]) for start in range(max(1, len(seen) - 99)))


@pytest.mark.parametrize("seed", range(40))
def test_a_hidden_limit_that_stays_falls_and_rises(seed: int) -> None:
    dice = random.Random(seed)
    longest = dice.choice([64, 256, 512])
    calibrated = dice.choice([512, 2048, 8192, 65536])
    hidden = dice.randint(longest, 2 * calibrated)
    budget, seen = splits_of(dice, TokenBudget.of(calibrated), hidden, longest, 2000)
    assert worst_hundred(seen[50:]) <= 1
    less = max(longest, hidden // dice.randint(2, 8))  # another process takes memory
    budget, seen = splits_of(dice, budget, less, longest, 2000)
    assert worst_hundred(seen[50:]) <= 1
    before = budget.tokens
    budget, seen = splits_of(dice, budget, 10 * calibrated, longest, 4000)  # and gives it back
    assert sum(seen) == 0
    assert budget.tokens >= min(calibrated, before)


@given(st.integers(64, 100_000), st.integers(64, 100_000))
def test_a_hidden_limit_is_met_rarely(calibrated: int, hidden: int) -> None:
    budget = TokenBudget.of(calibrated)
    for _ in range(50):
        budget = budget.after_oom(budget.tokens, 10) if budget.tokens > hidden else budget.after_clean()
    late = budget.splits
    for _ in range(1000):
        budget = budget.after_oom(budget.tokens, 10) if budget.tokens > hidden else budget.after_clean()
    assert budget.splits - late <= 3
    assert 1 <= budget.tokens <= calibrated
