"""Pauses grow, keep to the bound, and follow Retry-After."""

from __future__ import annotations

import httpx
from hypothesis import given
from hypothesis import strategies as st

from xinfer.client.retry import Retry
from xinfer.errors import InvalidRequest, TooManyRequests, Unavailable


def test_pauses_double_up_to_the_bound() -> None:
    retry = Retry(attempts=10, base=1, most=4)
    assert [retry.pause(n, Unavailable("x"), None, True, dice=1.0) for n in (1, 2, 3, 4)] == [1, 2, 4, 4]


@given(st.integers(1, 20), st.floats(0, 1))
def test_never_longer_than_the_bound(attempt: int, dice: float) -> None:
    pause = Retry().pause(attempt, Unavailable("x"), None, True, dice)
    assert pause is None or 0 < pause <= Retry().most


def test_what_is_and_is_not_tried_again() -> None:
    retry = Retry()
    assert retry.pause(1, TooManyRequests("x", retry_after=3), None, False, 0.5) == 3
    assert retry.pause(1, TooManyRequests("x", retry_after=30), None, False, 0.5) is None
    assert retry.pause(1, Unavailable("x"), None, False, 0.5) is None
    assert retry.pause(1, InvalidRequest("x"), None, True, 0.5) is None
    assert retry.pause(4, Unavailable("x"), None, True, 0.5) is None
    assert retry.pause(1, Unavailable("x"), httpx.ReadError("x"), False, 0.5) is None
    assert retry.pause(1, Unavailable("x"), httpx.ConnectError("x"), False, 0.5) is not None
