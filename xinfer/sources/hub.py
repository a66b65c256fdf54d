"""Repositories on Hugging Face and ModelScope."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xinfer.catalog.spec import HubSource
from xinfer.catalog.uri import format_source
from xinfer.errors import SourceError
from xinfer.sources.inspect import file_names
from xinfer.sources.job import Job
from xinfer.sources.select import Format, has_weights, select_files
from xinfer.sources.store import Entry, is_disk_error

_FALSE = frozenset({"", "0", "false", "no", "off"})


def hubs_offline(env: Mapping[str, str]) -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE switches the hubs off, ModelScope included."""
    return any(env.get(name, "").strip().lower() not in _FALSE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def download(source: HubSource, entry: Entry, job: Job, form: Format, onnx_file: str) -> None:
    """Fetch what the format needs into ``entry.files``; what an earlier attempt left is resumed.

    Raises:
        SourceError: offline, no such repository, no access, nothing of that format in it, or the network failed.
    """
    label = format_source(source)
    if hubs_offline(os.environ):
        raise SourceError(f"{label} is not cached and HF_HUB_OFFLINE is set: unset it, or give a folder as model_path")
    entry.files.mkdir(parents=True, exist_ok=True)
    if source.kind == "huggingface":
        _huggingface(source, entry, job, form, onnx_file, label)
    else:
        _modelscope(source, entry, job, form, onnx_file, label)


def _choose(sizes: dict[str, int], form: Format, onnx_file: str, label: str, entry: Entry) -> list[str]:
    chosen = select_files(sizes, form, onnx_file)
    if not has_weights(chosen, form, onnx_file):
        wanted = onnx_file if form == "onnx" else "*.safetensors or *.bin"
        raise SourceError(f"{label} has no {wanted}")
    entry.note_total(sum(sizes[name] for name in chosen))
    return chosen


def _huggingface(source: HubSource, entry: Entry, job: Job, form: Format, onnx_file: str, label: str) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    # Connection failures share a base with HfHubHTTPError, in whichever HTTP library the installed version uses.
    network: tuple[type[Exception], ...] = tuple(
        kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError" and issubclass(kind, Exception)
    )
    try:
        info = huggingface_hub.HfApi().model_info(source.repo, revision=source.revision, files_metadata=True, timeout=20)
        sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
        chosen = _choose(sizes, form, onnx_file, label, entry)
        huggingface_hub.snapshot_download(
            source.repo,
            revision=info.sha,
            local_dir=entry.files,
            allow_patterns=[glob.escape(name) for name in chosen],
            tqdm_class=_bar(job),
            max_workers=4,
        )
    except errors.GatedRepoError as error:
        raise SourceError(f"{label} is gated: ask for access on its page and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(f"{label} does not exist, or HF_TOKEN has no access to it") from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{label} has no such revision") from error
    except (OSError, ValueError, RuntimeError, *network) as error:
        if is_disk_error(error):
            raise
        raise SourceError(f"{label} could not be fetched: {_first_line(error)}") from error
    shutil.rmtree(entry.files / ".cache", ignore_errors=True)


def _bar(job: Job) -> type[Any]:
    from tqdm import tqdm

    class SilentBar(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        """Shows nothing; the hub calls it while it downloads, which is when it can be cancelled."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> Any:
            job.check()
            return super().update(n)

    return SilentBar


def _modelscope(source: HubSource, entry: Entry, job: Job, form: Format, onnx_file: str, label: str) -> None:
    if importlib.util.find_spec("modelscope") is None:
        raise SourceError(f"{label} needs the ModelScope client: pip install 'xinfer-runtime[modelscope]'")
    api = importlib.import_module("modelscope.hub.api")
    snapshot = importlib.import_module("modelscope.hub.snapshot_download")
    failures = _modelscope_errors()
    try:
        listed = api.HubApi().get_model_files(source.repo, revision=source.revision, recursive=True)
        sizes = {str(item["Path"]): int(item.get("Size") or 0) for item in listed if item.get("Type", "blob") != "tree"}
        chosen = _choose(sizes, form, onnx_file, label, entry)
        job.check()
        snapshot.snapshot_download(
            source.repo, revision=source.revision, local_dir=str(entry.files), allow_file_pattern=[glob.escape(name) for name in chosen]
        )
    except (OSError, ValueError, RuntimeError, *failures) as error:
        if is_disk_error(error):
            raise
        raise SourceError(f"{label} could not be fetched: {_first_line(error)}") from error
    job.check()
    for left in (*entry.files.glob(".*"), *entry.files.glob("._____temp")):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _modelscope_errors() -> tuple[type[Exception], ...]:
    """The exception classes of the installed client; older and newer ones keep them in different modules."""
    kinds: list[type[Exception]] = []
    for name in ("modelscope.hub.errors", "modelscope_hub.errors"):
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            module = importlib.import_module(name)
            kinds += [
                kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception
            ]
    return tuple(kinds)


def existing_snapshot(source: HubSource, form: Format, onnx_file: str) -> Path | None:
    """A complete snapshot in the user's own Hugging Face cache, so that nothing is fetched twice."""
    if source.kind != "huggingface":
        return None
    import huggingface_hub
    from huggingface_hub import errors

    try:
        path = Path(huggingface_hub.snapshot_download(source.repo, revision=source.revision, local_files_only=True))
        names = file_names(path)
    except (errors.LocalEntryNotFoundError, OSError, ValueError):
        return None
    complete = "config.json" in names and has_weights(names, form, onnx_file) and not _missing_shards(path, names)
    return path if complete and any(name.startswith(("tokenizer", "vocab", "sentencepiece", "spiece")) for name in names) else None


def _missing_shards(path: Path, names: list[str]) -> set[str]:
    missing: set[str] = set()
    for name in names:
        if name.endswith((".safetensors.index.json", ".bin.index.json")):
            try:
                shards = set(json.loads((path / name).read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, KeyError, AttributeError):
                return {name}
            missing |= shards - set(names)
    return missing


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300].rstrip(".")
