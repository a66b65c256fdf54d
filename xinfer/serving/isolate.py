"""One bad item never fails its neighbours: what raises for many is tried on halves until the culprit is alone."""

from __future__ import annotations

from collections.abc import Sequence

from xinfer.batching.work import WorkItem
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import EngineError, InvalidItem, XinferError


def tokenize_each(model: LoadedModel, items: Sequence[WorkItem]) -> tuple[list[Encoded | None], dict[int, XinferError]]:
    """Tokenise, and name the rows that cannot be.

    Returns:
        by row the tokens, None where it failed; the errors of those rows.
    """
    encoded: list[Encoded | None] = [None] * len(items)
    errors: dict[int, XinferError] = {}
    waiting = [list(range(len(items)))] if items else []
    while waiting:
        rows = waiting.pop()
        outcome = _attempt(model, [items[row] for row in rows])
        if not isinstance(outcome, XinferError):
            for row, item in zip(rows, outcome, strict=True):
                encoded[row] = item
        elif len(rows) == 1:
            errors[rows[0]] = outcome
        else:
            middle = len(rows) // 2
            waiting += [rows[middle:], rows[:middle]]
    return encoded, errors


def _attempt(model: LoadedModel, items: Sequence[WorkItem]) -> list[Encoded] | XinferError:
    try:
        encoded = model.tokenize(items)
    except XinferError as error:
        return error
    # The border of the replica: an engine is other people's code, and whatever it raises belongs to one item.
    except Exception as error:  # noqa: BLE001
        return InvalidItem(f"The item could not be tokenised: {type(error).__name__}: {error}")
    if len(encoded) != len(items):
        return EngineError(f"The engine gave {len(encoded)} tokenised items for {len(items)}.")
    return encoded
