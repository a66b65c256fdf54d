"""Grants as people write them: ``infer``, ``infer:bge-m3``, ``infer,stop:bge-m3,ce``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xinfer.cluster.keys import EVERY, Action, Grant
from xinfer.errors import InvalidRequest

_MODEL = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def parse(texts: Iterable[str]) -> tuple[Grant, ...]:
    """``ACTION[,ACTION][:MODEL[,MODEL]]`` each, without a model for all of them; every grant once, in order.

    Raises:
        InvalidRequest: naming ``allow``.
    """
    return tuple(dict.fromkeys(grant for text in texts for grant in _one(text)))


def _one(text: str) -> Iterable[Grant]:
    actions, colon, models = text.replace(" ", "").partition(":")
    for action in actions.split(","):
        if action not in set(Action):
            known = ", ".join(Action)
            raise InvalidRequest(f"allow must be ACTION or ACTION:MODEL with an action of {known}, not {text[:80]!r}.", param="allow")
        for model in models.split(",") if colon else [EVERY]:
            if model != EVERY and not _MODEL.fullmatch(model):
                raise InvalidRequest(f"allow must name a model by its uid, or * for all, not {model[:80]!r}.", param="allow")
            yield Grant(Action(action), model)


def written(grants: Iterable[Grant]) -> list[str]:
    """The reverse of ``parse``, one text each."""
    return [f"{grant.action.value}:{grant.model}" for grant in grants]
