"""The child process that talks to a hub: ``python -m xinfer.sources.hubclient SOURCE FOLDER FORMAT ONNX_FILE``.

It says ``xinfer:total BYTES`` once it knows, and before a failure ``xinfer:failed SENTENCE`` or ``xinfer:disk ERRNO``.
"""

from __future__ import annotations

import glob
import hashlib
import importlib
import importlib.util
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from xinfer.catalog.spec import HubSource
from xinfer.catalog.uri import format_source
from xinfer.errors import SourceError
from xinfer.sources.select import Format, has_weights, select_files
from xinfer.sources.store import is_disk_error

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_STREAMS = 4
_FORMS: dict[str, Format] = {"pytorch": "pytorch", "onnx": "onnx", "gguf": "gguf"}


def fetch_repository(source: HubSource, folder: Path, form: Format, weight_file: str) -> None:
    """Fetch what the format needs into the folder, resuming what is there.

    Raises:
        SourceError: with the reason; OSError: the disk said no.
    """
    if source.kind == "huggingface":
        _huggingface(source, folder, form, weight_file)
    else:
        _modelscope(source, folder, form, weight_file)
        # What its client keeps beside the files.
        for left in (path for path in folder.iterdir() if path.name.startswith(".")):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


def _choose(sizes: dict[str, int], form: Format, weight_file: str, label: str) -> list[str]:
    chosen = select_files(sizes, form, weight_file)
    if not has_weights(chosen, form, weight_file):
        raise SourceError(f"{label} has no {weight_file if form != 'pytorch' else '*.safetensors or *.bin'}")
    _say(f"xinfer:total {sum(sizes[name] for name in chosen)}")
    return chosen


def _huggingface(source: HubSource, folder: Path, form: Format, weight_file: str) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    label = format_source(source)
    # Connection failures share a base with HfHubHTTPError, in whichever HTTP library the installed version uses.
    shared = (kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError" and issubclass(kind, Exception))
    failures: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, *shared)
    try:
        info = huggingface_hub.HfApi().model_info(source.repo, revision=source.revision, files_metadata=True, timeout=20)
        listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        chosen = _choose({name: sibling.size or 0 for name, sibling in listed.items()}, form, weight_file, label)
        part = folder.parent / "parts" / str(info.sha)
        with ThreadPoolExecutor(_STREAMS) as pool:
            running = [pool.submit(_one_file, source.repo, str(info.sha), listed[name], folder, part, label) for name in chosen]
            for done in running:
                done.result()
    except errors.GatedRepoError as error:
        raise SourceError(f"{label} is gated: ask for access on its page and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(f"{label} does not exist, or HF_TOKEN has no access to it") from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{label} has no such revision") from error
    except failures as error:
        if is_disk_error(error):
            raise
        raise SourceError(f"{label} could not be fetched: {_first_line(error)}") from error


def _one_file(repo: str, commit: str, listed: RepoSibling, folder: Path, parts: Path, label: str) -> None:
    """Fetch one file, going on where an earlier attempt stopped: the hub's own client starts again from nothing."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined,unused-ignore]

    name = listed.rfilename
    path, part = folder / name, parts / name
    if path.is_file() and _is(path, listed):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as stream:
        if listed.size is not None and stream.tell() > listed.size:
            stream.truncate(0)
        http_get(
            hf_hub_url(repo, name, revision=commit, endpoint=constants.ENDPOINT),
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(),
            expected_size=listed.size,
        )
    if not _is(part, listed):
        part.unlink()
        raise SourceError(f"{label}: {name} does not have the hash that the hub gives")
    part.replace(path)


def _is(path: Path, listed: RepoSibling) -> bool:
    """Whether the file has the hash that the hub lists: SHA-256 for large ones, git's for the others."""
    size = path.stat().st_size
    if listed.size is not None and size != listed.size:
        return False
    if listed.lfs is not None:
        return _digest(path, hashlib.sha256()) == listed.lfs.sha256
    header = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    return listed.blob_id is None or _digest(path, header) == listed.blob_id


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _modelscope(source: HubSource, folder: Path, form: Format, weight_file: str) -> None:
    label = format_source(source)
    api = importlib.import_module("modelscope.hub.api")
    snapshot = importlib.import_module("modelscope.hub.snapshot_download")
    failures = _modelscope_failures()
    try:
        listed = api.HubApi().get_model_files(source.repo, revision=source.revision, recursive=True)
        sizes = {str(item["Path"]): int(item.get("Size") or 0) for item in listed if item.get("Type", "blob") != "tree"}
        patterns = [glob.escape(name) for name in _choose(sizes, form, weight_file, label)]
        snapshot.snapshot_download(source.repo, revision=source.revision, local_dir=str(folder), allow_file_pattern=patterns)
    except failures as error:
        if is_disk_error(error):
            raise
        raise SourceError(f"{label} could not be fetched: {_first_line(error)}") from error


def _modelscope_failures() -> tuple[type[Exception], ...]:
    """What the installed client may raise; older and newer ones keep their classes in different modules."""
    kinds: list[type[Exception]] = [OSError, ValueError, RuntimeError]
    for name in ("modelscope.hub.errors", "modelscope_hub.errors"):
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            found = vars(importlib.import_module(name)).values()
            kinds += [kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception]
    return tuple(kinds)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300].rstrip(".")


def _say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Exit status: 0 when every file is there."""
    text, folder, form, weight_file = arguments
    try:
        fetch_repository(HubSource.model_validate_json(text), Path(folder), _FORMS[form], weight_file)
    except SourceError as error:
        _say(f"xinfer:failed {error}")
        return 1
    except OSError as error:
        _say(f"xinfer:disk {error.errno}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
