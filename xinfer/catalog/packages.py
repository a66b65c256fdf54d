"""Packages that a launch wants beside those of its worker: checked here, installed by ``processes.environments``."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from xinfer.errors import InvalidRequest

MOST = 32
LONGEST = 200


def checked(given: Sequence[str]) -> tuple[str, ...]:
    """Requirements in one spelling and order, each once, so that equal wishes are equal texts.

    Raises:
        InvalidRequest: too many, or one that is no name with versions (PEP 508): options, files and addresses would let a
            launch choose where code comes from, which is for the worker's own pip settings to say.
    """
    if len(given) > MOST:
        raise InvalidRequest(f"packages must name at most {MOST} requirements, not {len(given)}.", param="packages")
    return tuple(sorted({_spelt(text) for text in given}))


def _spelt(text: str) -> str:
    shown = repr(text[:LONGEST])
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        requirement = None
    if requirement is None or len(text) > LONGEST:
        raise InvalidRequest(
            f"packages must hold requirements such as einops or transformers==4.57.*, not {shown}: no options, files or addresses.",
            param="packages",
        )
    if requirement.url is not None:
        raise InvalidRequest(
            f"packages must name versions, not addresses, as {shown} does: a worker's own pip settings say where packages come from.",
            param="packages",
        )
    requirement.name = canonicalize_name(requirement.name)
    return str(requirement)
