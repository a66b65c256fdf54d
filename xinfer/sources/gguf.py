"""The header of a GGUF file: what it says of its model. The weights are not read.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Read here because a worker has no engine's packages to read it with.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from xinfer.catalog.files import GgufFile

MAGIC = b"GGUF"
MOST_FIELDS = 100_000
LONGEST = 64 << 20
"""Bytes of one string."""
F16_BYTES = 2
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KEPT = 256
"""Items of an array that are kept; vocabularies are skipped."""


class NotGguf(ValueError):
    """The file is not of this format, or cut off."""


def read(path: Path, name: str) -> GgufFile:
    """What the file says.

    Args:
        name: relative to the model's folder.

    Raises:
        NotGguf; OSError.
    """
    with path.open("rb") as file:
        fields = _fields(file)
    kind = str(fields.get("general.architecture", ""))

    def number(field: str, default: int = 0) -> int:
        value = fields.get(f"{kind}.{field}", default)
        return max(value) if isinstance(value, list) and value else value if isinstance(value, int) else default

    heads = max(1, number("attention.head_count", 1))
    width = number("embedding_length") // heads
    keys, values = number("attention.key_length", width), number("attention.value_length", width)
    per_layer = number("attention.head_count_kv", heads) * (keys + values) * F16_BYTES
    return GgufFile(
        path=name,
        size=path.stat().st_size,
        architecture=kind,
        name=str(fields.get("general.name", "")),
        context_tokens=number("context_length"),
        kv_bytes_per_token=number("block_count") * per_layer,
        template=str(fields.get("tokenizer.chat_template", "")),
    )


def _fields(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != MAGIC:
        raise NotGguf("it does not begin with GGUF")
    version, _, count = _unpack(file, "<IQQ")
    if version not in (2, 3) or count > MOST_FIELDS:
        raise NotGguf(f"version {version} with {count} fields")
    found: dict[str, Any] = {}
    for _ in range(count):
        key = _string(file)
        (kind,) = _unpack(file, "<I")
        found[key] = _value(file, kind)
    return found


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    size = struct.calcsize(form)
    data = file.read(size)
    if len(data) < size:
        raise NotGguf("it is cut off")
    return struct.unpack(form, data)


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > LONGEST:
        raise NotGguf(f"a text of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise NotGguf("it is cut off")
    return data.decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        return _array(file)
    if kind not in _SCALARS:
        raise NotGguf(f"a field of type {kind}")
    return _unpack(file, f"<{_SCALARS[kind]}")[0]


def _array(file: BinaryIO) -> list[Any]:
    kind, count = _unpack(file, "<IQ")
    kept: list[Any] = []
    if kind in _SCALARS and count > _KEPT:
        file.seek(count * struct.calcsize(_SCALARS[kind]), 1)
        return kept
    for number in range(count):
        value = _value(file, kind)
        if number < _KEPT:
            kept.append(value)
    return kept
