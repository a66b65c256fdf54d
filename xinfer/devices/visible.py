"""What ``CUDA_VISIBLE_DEVICES`` selects, by CUDA's own rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_INDEX = re.compile(r"\s*\+?(\d+)")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU.

    Attributes:
        uuid: what the driver calls the card.
        parts: uuids that can be bound to: the card itself, or its MIG devices where MIG is on.
    """

    uuid: str
    parts: tuple[str, ...]


def select(value: str | None, gpus: Sequence[Gpu]) -> list[str]:
    """The uuids that ``value`` makes visible, in its order.

    Unset means all. The first entry decides whether integers (positions in ``gpus``) or unique prefixes of ``GPU-…`` or
    ``MIG-…`` uuids are read. The list ends before the first entry that is invalid, ambiguous or of another kind; an entry
    twice makes nothing visible. A whole GPU that is divided by MIG stands for all of its MIG devices.
    """
    if value is None:
        return [part for gpu in gpus for part in gpu.parts]
    entries = [entry.strip() for entry in value.split(",")]
    kind = next((prefix for prefix in ("GPU-", "MIG-") if entries[0].startswith(prefix)), "")
    chosen: list[str] = []
    for entry in entries:
        parts = _by_uuid(entry, kind, gpus) if kind else _by_index(entry, gpus)
        if parts is None:
            break
        if set(parts) & set(chosen):
            return []
        chosen += parts
    return chosen


def _by_index(entry: str, gpus: Sequence[Gpu]) -> tuple[str, ...] | None:
    match = _INDEX.match(entry)
    if match is None or int(match[1]) >= len(gpus):
        return None
    return gpus[int(match[1])].parts


def _by_uuid(entry: str, kind: str, gpus: Sequence[Gpu]) -> tuple[str, ...] | None:
    if not entry.startswith(kind):
        return None
    if kind == "GPU-":
        found = [gpu.parts for gpu in gpus if gpu.uuid.startswith(entry)]
    else:
        found = [(part,) for gpu in gpus for part in gpu.parts if part.startswith(entry)]
    return found[0] if len(found) == 1 else None
