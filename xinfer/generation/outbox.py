"""What one caller has not been told yet, of all its answers on one replica. Emissions stay until a later pull says that they were seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from xinfer.generation.job import Emission


class _Answer:
    __slots__ = ("ended", "kept", "told")

    def __init__(self) -> None:
        self.kept: deque[Emission] = deque()
        self.told = 0  # the last number that a pull took
        self.ended = False  # and with it the last emission


class Outbox:
    """Of one caller.

    Attributes:
        waiting: emissions that no pull has taken.
        urgent: one of them begins or ends an answer: somebody looks at an empty line, or a place is free.
    """

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self.waiting = 0
        self.urgent = False

    def put(self, emission: Emission) -> None:
        """One more."""
        self._answers.setdefault(emission.key, _Answer()).kept.append(emission)
        self.waiting += 1
        self.urgent |= emission.last or emission.number == 1

    def missed(self, seen: Mapping[str, int]) -> bool:
        """An answer to a pull was lost on its way."""
        return any(key in seen and seen[key] < answer.told for key, answer in self._answers.items())

    def take(self, seen: Mapping[str, int]) -> tuple[Emission, ...]:
        """Everything that the caller has not seen.

        Args:
            seen: of each answer that the caller still waits for, the number of the last emission that it has.
        """
        taken: list[Emission] = []
        for key, answer in list(self._answers.items()):
            if answer.ended and key not in seen:
                del self._answers[key]
                continue
            while answer.kept and answer.kept[0].number <= seen.get(key, 0):
                answer.kept.popleft()
            taken += answer.kept
            if answer.kept:
                answer.told, answer.ended = answer.kept[-1].number, answer.kept[-1].last
        self.waiting, self.urgent = 0, False
        return tuple(taken)

    def forget(self, key: str) -> None:
        """Nobody waits for that answer any more."""
        answer = self._answers.pop(key, None)
        if answer is not None:
            self.waiting -= sum(emission.number > answer.told for emission in answer.kept)
