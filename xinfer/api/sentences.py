"""Pydantic's findings as one sentence that names the field and says what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from xinfer.errors import InvalidRequest

Loc = tuple[int | str, ...]

_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def invalid(error: ValidationError, body: Any, model: type[BaseModel] | None = None) -> InvalidRequest:
    """The first field at fault as an InvalidRequest.

    Args:
        error: what pydantic raised.
        body: the parsed JSON that it was given; tells list positions and keys from the names of union members.
        model: to offer the nearest name for an unknown top-level field.
    """
    return from_errors(error.errors(include_url=False, include_input=False), body, model)


def from_errors(errors: Sequence[Any], body: Any, model: type[BaseModel] | None = None) -> InvalidRequest:
    """The same from a list of pydantic's error dictionaries."""
    first = errors[0]
    if not first["loc"]:
        return InvalidRequest(f"The body must be a JSON object{_got(body)}.")
    field = first["loc"][0]
    located = [(_path(e, body), e) for e in errors if e["loc"] and e["loc"][0] == field]
    deepest = max((path for path, _ in located), key=_depth)
    found = [e for path, e in located if path == deepest]
    param = _spell(deepest)
    extra = next((e for e in found if e["type"] == "extra_forbidden"), None)
    if extra is not None:
        return InvalidRequest(f"{param} is not a known field{_nearest(deepest, model)}.", param=param)
    if all(e["type"] == "missing" for e in found):
        return InvalidRequest(f"{param} is required.", param=param)
    return InvalidRequest(f"{param} must be {_expected(found)}{_got(_at(body, deepest))}.", param=param)


def _path(error: Any, body: Any) -> Loc:
    """Drop the names of union members from a location by walking the body along it."""
    path: list[int | str] = []
    here = body
    for position, step in enumerate(error["loc"]):
        last = position == len(error["loc"]) - 1
        if _leads(here, step):
            here = here[step]
        elif not (position == 0 or (last and error["type"] == "missing" and isinstance(here, dict))):
            continue
        path.append(step)
    return tuple(path)


def _leads(here: Any, step: int | str) -> bool:
    return step < len(here) if isinstance(here, list) and isinstance(step, int) else isinstance(here, dict) and step in here


def _depth(path: Loc) -> tuple[int, tuple[int, ...]]:
    """Deeper is more telling; among equals the later position, as a union stopped there having taken the earlier ones."""
    return len(path), tuple(step for step in path if isinstance(step, int))


def _spell(path: Loc) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _at(body: Any, path: Loc) -> Any:
    for step in path:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return body


_ABSENT = object()


def _got(value: Any) -> str:
    """What came instead, in few words; never a long text back."""
    if value is _ABSENT:
        return ""
    if value is None or isinstance(value, bool):
        return f", not {str(value).lower().replace('none', 'null')}"
    if isinstance(value, int | float):
        return f", not {value:.12g}" if isinstance(value, float) else f", not {_short(value)}"
    if isinstance(value, str):
        return f", not {value!r}" if len(value) <= 40 else ", not a text"
    if isinstance(value, list):
        return ", not a list" if value else ", not an empty list"
    return ", not an object"


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**12 else "so large a number"


def _expected(found: Iterable[Any]) -> str:
    words: list[str] = []
    for error in found:
        word = _one(error)
        if word not in words:
            words.append(word)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _one(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "model_type" and context.get("class_name") == "TextObject":
        return "an object with a string 'text'"
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind == "greater_than_equal":
        return f"at least {context['ge']}"
    if kind in ("less_than", "less_than_equal"):
        return f"at most {context['le'] if 'le' in context else context['lt'] - 1}"
    if kind == "literal_error":
        return f"one of {context['expected'].replace(' or ', ', ')}"
    if kind == "too_short":
        return "a list with at least one entry"
    if kind == "missing":
        return f"an object with a field {error['loc'][-1]!r}"
    message = str(error["msg"])
    return message.removeprefix("Value error, ").removeprefix("Input should be ")


def _nearest(path: Loc, model: type[BaseModel] | None) -> str:
    if model is None or len(path) != 1:
        return ""
    near = difflib.get_close_matches(str(path[0]), list(model.model_fields), 1, 0.6)
    return f"; did you mean {near[0]}" if near else f"; known are {', '.join(model.model_fields)}"
