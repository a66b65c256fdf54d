"""Repositories on Hugging Face and ModelScope."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path

from xinfer.catalog.spec import HubSource
from xinfer.catalog.uri import format_source
from xinfer.errors import SourceError
from xinfer.sources.child import run_module
from xinfer.sources.inspect import file_names
from xinfer.sources.job import Job
from xinfer.sources.select import Format, has_weights
from xinfer.sources.store import Entry

_FALSE = frozenset({"", "0", "false", "no", "off"})


def hubs_offline(env: Mapping[str, str]) -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE switches the hubs off, ModelScope included."""
    return any(env.get(name, "").strip().lower() not in _FALSE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def download(source: HubSource, entry: Entry, job: Job, form: Format, weight_file: str) -> None:
    """Fetch what the format needs into ``entry.files``; what an earlier attempt left is resumed.

    Raises:
        SourceError: offline, no such repository, no access, nothing of that format in it, or the network failed.
        OSError: the disk said no.
    """
    label = format_source(source)
    if hubs_offline(os.environ):
        raise SourceError(f"{label} is not cached and HF_HUB_OFFLINE is set: unset it, or give a folder as model_path")
    if source.kind == "modelscope" and importlib.util.find_spec("modelscope") is None:
        raise SourceError(f"{label} needs the ModelScope client: pip install 'xinfer-runtime[modelscope]'")
    entry.files.mkdir(parents=True, exist_ok=True)
    said: dict[str, str] = {}

    def hear(line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "xinfer:total":
            entry.note_total(int(rest))
        elif word in {"xinfer:failed", "xinfer:disk"}:
            said[word] = rest
        elif line.strip():
            said["last"] = line.strip()

    status = run_module(job, "xinfer.sources.hubclient", [source.model_dump_json(), str(entry.files), form, weight_file], {}, hear)
    if "xinfer:disk" in said:
        code = int(said["xinfer:disk"])
        raise OSError(code, os.strerror(code))
    if status != 0:
        raise SourceError(said.get("xinfer:failed") or f"{label} could not be fetched: {said.get('last', f'exit status {status}')}")


def existing_snapshot(source: HubSource, form: Format, weight_file: str) -> Path | None:
    """A complete snapshot in the user's own Hugging Face cache, so that nothing is fetched twice."""
    if source.kind != "huggingface":
        return None
    from huggingface_hub import constants, errors

    kept = Path(constants.HF_HUB_CACHE)
    if not (kept / f"models--{source.repo.replace('/', '--')}").is_dir():
        return None  # what follows imports much
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(source.repo, revision=source.revision, local_files_only=True, cache_dir=kept))
        names = file_names(path)
    except (errors.LocalEntryNotFoundError, OSError, ValueError):
        return None
    if form == "gguf":
        return path if has_weights(names, form, weight_file) else None
    complete = "config.json" in names and has_weights(names, form, weight_file) and not _missing_shards(path, names)
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
