"""The budget halves what failed, keeps one item possible and grows back to where it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.budget import TokenBudget


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


@given(st.integers(64, 100_000), st.integers(64, 100_000))
def test_a_hidden_limit_is_met_rarely(calibrated: int, hidden: int) -> None:
    budget = TokenBudget.of(calibrated)
    for _ in range(50):
        budget = budget.after_oom(budget.tokens, 10) if budget.tokens > hidden else budget.after_clean()
    late = budget.splits
    for _ in range(1000):
        budget = budget.after_oom(budget.tokens, 10) if budget.tokens > hidden else budget.after_clean()
    assert budget.splits - late <= 10
    assert 1 <= budget.tokens <= calibrated
