"""What a simulated cluster is: how large, and how bad things are in it."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Weather:
    """How bad things are; calm has nothing but short delays."""

    lose_effect: float = 0.0
    repeat: float = 0.0
    late: float = 0.3
    fates: tuple[tuple[str, float], ...] = (("ready", 1.0),)


STORM = Weather(0.06, 0.15, 4.0, (("ready", 0.72), ("crash", 0.12), ("oom", 0.06), ("hang", 0.06), ("fatal", 0.04)))
CALM = Weather()


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a cluster is.

    Attributes:
        gpus, gib: of each worker; 0 = drawn for each.
        replicas: that run when the history begins, ``each`` of a model; the supervisor has just been restarted then.
        models: uids that launches choose among, beside those that run.
        check_whole: steps from one check of everything to the next.
    """

    workers: int
    gpus: int = 0
    gib: int = 0
    replicas: int = 0
    each: int = 10
    models: int = 6
    check_whole: int = 100


def small(dice: random.Random) -> Shape:
    """Two to four workers of one to three GPUs."""
    return Shape(dice.randint(2, 4))
