"""A pull that is lost loses nothing, and nothing is told twice to one who says what he has seen."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from xinfer.generation.job import Emission, Finish
from xinfer.generation.outbox import Outbox


def emission(key: str, number: int, last: bool = False) -> Emission:
    return Emission(key, number, (number,), finish=Finish.STOP if last else None)


def test_beginnings_and_ends_are_urgent() -> None:
    box = Outbox()
    box.put(emission("a", 1))
    assert box.urgent
    assert len(box.take({"a": 0})) == 1
    assert not box.urgent
    box.put(emission("a", 2))
    assert (box.waiting, box.urgent) == (1, False)
    box.put(emission("a", 3, last=True))
    assert box.urgent


def test_what_was_not_seen_comes_again_and_is_known_to_be_missed() -> None:
    box = Outbox()
    box.put(emission("a", 1))
    box.put(emission("a", 2, last=True))
    assert [e.number for e in box.take({"a": 0})] == [1, 2]
    assert box.missed({"a": 1})
    assert [e.number for e in box.take({"a": 1})] == [2]
    assert not box.missed({"a": 2})
    assert box.take({}) == ()  # the caller is done with it
    assert not box.missed({"a": 0})


def test_an_answer_that_began_during_the_pull_is_told() -> None:
    box = Outbox()
    box.put(emission("new", 1))
    assert [e.key for e in box.take({})] == ["new"]


def test_a_forgotten_answer_waits_for_nobody() -> None:
    box = Outbox()
    box.put(emission("a", 1))
    box.put(emission("b", 1))
    box.forget("a")
    assert box.waiting == 1
    assert [e.key for e in box.take({"a": 0, "b": 0})] == ["b"]


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 12))
def test_however_pulls_are_lost_every_emission_is_told_once_in_order(seed: int, answers: int, length: int) -> None:
    dice = random.Random(seed)
    box, seen = Outbox(), {str(key): 0 for key in range(answers)}
    told: dict[str, list[int]] = {key: [] for key in seen}
    left = [(key, number) for number in range(1, length + 1) for key in seen]
    while left or seen:
        for _ in range(dice.randint(0, 5)):
            if left:
                key, number = left.pop(0)
                box.put(emission(key, number, last=number == length))
        lost = dice.random() < 0.4
        for each in box.take(seen):
            if lost or each.key not in seen:
                continue
            assert each.number == seen[each.key] + 1
            seen[each.key] = each.number
            told[each.key].append(each.number)
            if each.last:
                del seen[each.key]
    assert all(numbers == list(range(1, length + 1)) for numbers in told.values())
    assert box.take({}) == ()
