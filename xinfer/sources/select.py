"""Which files of a repository or folder a model needs: never two copies of the weights, never another framework's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal

Format = Literal["pytorch", "onnx", "gguf"]

_SMALL = frozenset({".json", ".txt", ".model", ".py", ".jinja", ".tiktoken", ".vocab"})
_OTHER_FRAMEWORKS = frozenset({"onnx", "openvino", "coreml", "tf", "flax", "gguf", "original", "runs", "eval", "metal"})
_NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "consolidated")


def select_files(names: Iterable[str], form: Format, weight_file: str = "model.onnx") -> list[str]:
    """Relative paths that loading needs, sorted: configuration, tokeniser, modules, and one copy of the weights.

    For "pytorch", in each folder the safetensors if there are any, else the ``.bin`` files; for "onnx",
    ``weight_file`` with its external data; for "gguf", that file alone, which has everything in it.
    """
    given = sorted(set(names))
    if form == "gguf":
        return [name for name in given if name == weight_file]
    chosen = [name for name in given if _is_small(name)]
    chosen += weight_files(given) if form == "pytorch" else onnx_with_data(given, weight_file)
    return sorted(chosen)


def weight_files(names: Sequence[str]) -> list[str]:
    """Safetensors or, in folders without them, ``.bin`` weights."""
    torch = [name for name in names if not _foreign(name) and not PurePosixPath(name).name.startswith(_NOT_WEIGHTS)]
    safe = [name for name in torch if name.endswith(".safetensors")]
    folders = {PurePosixPath(name).parent for name in safe}
    return safe + [name for name in torch if name.endswith(".bin") and PurePosixPath(name).parent not in folders]


def onnx_with_data(names: Sequence[str], weight_file: str) -> list[str]:
    """The ONNX file and its external data (``model.onnx_data``, ``model.onnx.data``, …), empty if it is not there."""
    return [name for name in names if name == weight_file or name.startswith((f"{weight_file}_data", f"{weight_file}.data"))]


def has_weights(names: Sequence[str], form: Format, weight_file: str) -> bool:
    """Whether the selection can be loaded at all."""
    return bool(weight_files(names)) if form == "pytorch" else weight_file in names


def _is_small(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix in _SMALL and not _foreign(name) and not path.name.startswith(".") and path.name != "data_config.json"


def _foreign(name: str) -> bool:
    parts = PurePosixPath(name).parts[:-1]
    return any(part.lower() in _OTHER_FRAMEWORKS or part.startswith(".") for part in parts)
