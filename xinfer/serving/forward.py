"""One forward pass, launched and landed, its failure as a value: an error on its way up would keep the failed batch in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from xinfer.engines.base import Encoded, LoadedModel, Pending
from xinfer.errors import EngineError, XinferError
from xinfer.serving.shard import Shard

Row = tuple[Shard, int]
Values = npt.NDArray[np.float32]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A batch between its launch and its landing.

    Attributes:
        pending: what to wait for, or why there is nothing to wait for.
        launched: seconds, on the runner's clock.
    """

    batch: list[Row]
    encoded: list[Encoded]
    pending: Pending | XinferError
    launched: float

    @property
    def longest(self) -> int:
        """Tokens of the longest item."""
        return max(item.tokens for item in self.encoded)


def launch(model: LoadedModel, encoded: Sequence[Encoded]) -> Pending | XinferError:
    """Hand one batch to the device."""
    return _caught(lambda: model.launch(encoded))


def land(pending: Pending | XinferError, count: int) -> Values | XinferError:
    """Wait for one batch of ``count`` items."""
    values = pending if isinstance(pending, XinferError) else _caught(pending.result)
    if not isinstance(values, XinferError) and len(values) != count:
        return EngineError(f"The engine gave {len(values)} values for a batch of {count}.")
    return values


def attempt(model: LoadedModel, encoded: Sequence[Encoded]) -> Values | XinferError:
    """Launch and land, with nothing else in flight."""
    return land(launch(model, encoded), len(encoded))


def required(model: LoadedModel, encoded: Sequence[Encoded]) -> None:
    """A forward pass that must go through, for measuring. Raises what ``attempt`` returns."""
    outcome = attempt(model, encoded)
    if isinstance(outcome, XinferError):
        raise outcome


def _caught(work: Callable[[], T]) -> T | XinferError:
    try:
        return work()
    except XinferError as error:
        return error.with_traceback(None)
    # The border of the replica: an engine is other people's code.
    except Exception as error:  # noqa: BLE001
        return EngineError(f"The model failed on the batch: {type(error).__name__}: {error}")
