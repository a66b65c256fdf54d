"""GGUF files that have a header and no weights."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIELDS: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.context_length": 512,
    "llama.block_count": 4,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b", "c"] * 200,
    "tokenizer.ggml.scores": [0.5] * 600,
    "tokenizer.chat_template": "{{ messages }}",
    "general.quantized": True,
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def field(value: Any) -> bytes:
    """Type and value."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        case [int(), *_]:
            return struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
        case _:
            return struct.pack("<IIQ", 9, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)


def header(**more: Any) -> bytes:
    """All of ``FIELDS``, and more with dots for ``__``; None leaves one out."""
    fields = {**FIELDS, **{name.replace("__", "."): value for name, value in more.items()}}
    fields = {name: value for name, value in fields.items() if value is not None}
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields)) + b"".join(text(name) + field(value) for name, value in fields.items())


def write(path: Path, **more: Any) -> Path:
    """Such a file, 1,000 bytes longer than its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header(**more) + bytes(1000))
    return path
