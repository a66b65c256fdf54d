"""What one API process has to do for one model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """As it is now, but for ``busy``.

    Attributes:
        tokens: estimated, waiting and in flight; ``documents``: those that wait.
        busy: there was a request since the last report.
        waiting: work waits for a model that is asleep.
        closing: the process knows that the model is being stopped, and takes nothing new for it.
    """

    tokens: int
    busy: bool = False
    waiting: bool = False
    closing: bool = False
    documents: int = 0
