"""A look into a model folder: what ``catalog.find`` needs to know, without loading anything."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xinfer.catalog.files import GgufFile, ModelFiles
from xinfer.errors import ModelNotFound
from xinfer.sources import gguf
from xinfer.sources.confine import confine
from xinfer.sources.select import onnx_with_data, weight_files

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "spm.model",
)
_UNSET_LENGTH = 10**6  # transformers writes 1e30 for "no limit known"
_MAX_DEPTH = 3
_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")


def inspect(path: Path, roots: Sequence[Path] | None = None) -> ModelFiles:
    """What the folder holds; an incomplete one is reported as it is.

    Args:
        roots: folders that it must be in, with every file of it, links followed; None = it may be anywhere.

    Raises:
        ModelNotFound: not an absolute path, no folder and no GGUF file, not readable, or a configuration that is not JSON.
        Forbidden: outside of ``roots``; said before anything is looked at.
    """
    if not path.is_absolute():
        raise ModelNotFound(f"model_path {str(path)!r} must be absolute: it is looked up on the workers", param="model_path")
    if roots is not None:
        confine(path, roots)
    try:
        if path.is_file() and path.suffix == ".gguf":
            return ModelFiles(path=str(path.parent), gguf_files=_gguf_files(path.parent, [path.name], needed=True))
        if not path.is_dir():
            raise ModelNotFound(f"model_path {str(path)!r} is not a folder on this worker", param="model_path")
        return _look(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelNotFound(f"model_path {str(path)[:200]!r} cannot be read by the worker: {reason}", param="model_path") from error


def file_names(path: Path) -> list[str]:
    """Relative POSIX paths of the files in the folder, sorted; links are followed to files, not to folders."""
    found: list[str] = []

    def walk(folder: Path, prefix: str, depth: int) -> None:
        for entry in folder.iterdir():
            if entry.is_file():
                found.append(prefix + entry.name)
            elif depth < _MAX_DEPTH and entry.is_dir() and not entry.is_symlink():
                walk(entry, f"{prefix}{entry.name}/", depth + 1)

    walk(path, "", 0)
    return sorted(found)


def _look(path: Path) -> ModelFiles:
    names = file_names(path)
    config = _mapping(path / "config.json")
    modules = _json(path / "modules.json")
    modules = tuple(m for m in modules if isinstance(m, dict)) if isinstance(modules, list) else ()
    pooling = next((m.get("path") for m in modules if str(m.get("type", "")).endswith(".Pooling")), None) or "1_Pooling"
    prompts = _mapping(path / "config_sentence_transformers.json").get("prompts")
    pytorch_bytes = _total(path, weight_files(names))
    onnx_files = tuple((name, _total(path, onnx_with_data(names, name))) for name in names if name.endswith(".onnx"))
    return ModelFiles(
        path=str(path),
        pytorch_bytes=pytorch_bytes,
        onnx_files=onnx_files,
        gguf_files=_gguf_files(path, names, needed=not pytorch_bytes and not onnx_files),
        config=config,
        pooling=_mapping(path / str(pooling) / "config.json"),
        modules=modules,
        prompts={str(k): str(v) for k, v in prompts.items()} if isinstance(prompts, dict) else {},
        has_tokenizer=any(name in names for name in _TOKENIZERS),
        needs_remote_code="auto_map" in config or any(_own_code(module) for module in modules),
        max_tokens=_max_tokens(path),
    )


def _gguf_files(path: Path, names: Sequence[str], needed: bool) -> tuple[GgufFile, ...]:
    """Models; of one that is cut into parts the first, and no projector of pictures. One that cannot be read matters only where there
    are no other weights."""
    found = []
    for name in names:
        later = _PART.search(name)
        if name.endswith(".gguf") and not Path(name).name.startswith("mmproj") and (later is None or int(later[1]) == 1):
            try:
                found.append(gguf.read(path / name, name))
            except gguf.NotGguf as error:
                if not needed:
                    continue
                raise ModelNotFound(f"model_path: {path / name} is not a GGUF file: {error}", param="model_path") from error
    return tuple(found)


def _own_code(module: dict[str, Any]) -> bool:
    kind = str(module.get("type", ""))
    return bool(kind) and not kind.startswith("sentence_transformers.")


def _max_tokens(path: Path) -> int:
    stated = (
        _mapping(path / "sentence_bert_config.json").get("max_seq_length"),
        _mapping(path / "tokenizer_config.json").get("model_max_length"),
    )
    limits = [int(value) for value in stated if isinstance(value, int | float) and 0 < value < _UNSET_LENGTH]
    return min(limits) if limits else 0


def _total(path: Path, names: list[str]) -> int:
    return sum((path / name).stat().st_size for name in names)


def _mapping(path: Path) -> dict[str, Any]:
    value = _json(path)
    return value if isinstance(value, dict) else {}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, IsADirectoryError) as error:
        raise ModelNotFound(f"model_path: {path} is not valid JSON", param="model_path") from error
