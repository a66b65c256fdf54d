"""Breaker and retry budget."""

from __future__ import annotations

from xinfer.routing.breaker import Breaker
from xinfer.routing.retry import RetryBudget


def tripped() -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.sent()
        breaker.failed(0.0)
    return breaker


def test_five_failures_in_a_row_open_it_and_an_answer_between_does_not() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(4):
        breaker.failed(0.0)
    assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert not breaker.allows(9.9)


def test_one_probe_after_ten_seconds() -> None:
    breaker = tripped()
    assert breaker.allows(10.0)
    breaker.sent()
    assert not breaker.allows(10.0)
    breaker.succeeded()
    assert breaker.allows(10.0)
    assert not breaker.is_open


def test_failed_probes_double_the_wait_up_to_two_minutes() -> None:
    breaker, now, waits = tripped(), 0.0, []
    for _ in range(6):
        wait = next(w for w in (10.0, 20.0, 40.0, 80.0, 120.0) if breaker.allows(now + w))
        waits.append(wait)
        now += wait
        breaker.sent()
        breaker.failed(now)
    assert waits == [10.0, 20.0, 40.0, 80.0, 120.0, 120.0]


def test_late_failures_do_not_prolong_and_a_probe_that_says_nothing_is_repeated() -> None:
    breaker = tripped()
    breaker.failed(9.0)
    assert breaker.allows(10.0)
    breaker.sent()
    breaker.released()
    assert breaker.allows(10.0)


def test_retries_are_a_tenth_of_the_traffic() -> None:
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(100)) == 10
    for _ in range(50):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) in (4, 5)
