"""From a launch request to a Deployment: what belongs neither to the catalogue nor to placement is checked here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from xinfer.catalog.families import Families
from xinfer.catalog.files import ModelFiles
from xinfer.catalog.find import resolve
from xinfer.catalog.query import ModelQuery
from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import Device, DeviceKind, Division, kept_under
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.memory import estimate, parse_bytes
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.bounds import counted, launch_bounds
from xinfer.control.demands import demand_of, division_of
from xinfer.control.dtypes import Remembered, choice
from xinfer.control.launches import check_free
from xinfer.errors import InvalidRequest
from xinfer.placement.compile import PinnedDemand, compile_pins
from xinfer.schemas.launch import LaunchRequest

UNKNOWN_ENGINE_BYTES = 600 * 1024**2
"""Base memory of an engine that has not said: torch on the CPU, the largest there is."""

MAX_UID = 128
_UID = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_UID}}}", re.ASCII)

Measured = Callable[[ModelSpec, str], int | None]
"""(spec, device name) -> bytes that such a replica was seen to need, or None."""


def compile_launch(
    request: LaunchRequest,
    *,
    snapshot: Snapshot,
    families: Families,
    files: ModelFiles | None,
    engines: frozenset[str],
    now: float,
    base_bytes: Mapping[str, int] | None = None,
    engine_options: Mapping[str, Mapping[str, type]] | None = None,
    measured: Measured | None = None,
    remembered: Remembered | None = None,
    divisions: Mapping[str, Division] = MappingProxyType({}),
    offline: bool = False,
    cached: frozenset[str] = frozenset(),
    idle: float = 600.0,
) -> Deployment:
    """Decide everything about a launch but the slots.

    Args:
        files: what a worker found at ``model_path``.
        engines: installed on some worker.
        now: unix seconds.
        base_bytes: by engine, host memory it takes before any weights.
        engine_options: by engine, the options it declares with their types; an engine that is missing takes none.
        measured: remembered figures, preferred to the estimate.
        remembered: dtypes that earlier replicas chose.
        divisions: by engine that can put one replica on several devices, how it does.
        offline, cached: as for ``catalog.find.resolve``.
        idle: seconds until an idle model sleeps that may, by default.

    Raises:
        AlreadyExists, InvalidRequest, InvalidPlacement, ModelNotFound, NoWorker: one sentence each, with ``param``.
    """
    _check_uid(request.model_uid, snapshot)
    spec = resolve(_query(request), families, files, engines, offline=offline, cached=cached)
    uid = ModelUid(request.model_uid or _default_uid(spec.name))
    check_free(snapshot, uid)
    options = _options(request.options, spec.engine, (engine_options or {}).get(spec.engine, {}))
    workers = [worker for worker in snapshot.workers.values() if worker.state is not WorkerState.LOST]
    places = compile_pins(counted(request), workers)
    division = division_of(places, request, spec.engine, divisions)
    dtype = choice(_roomy(spec, options), _reachable(places, [worker for worker in workers if spec.engine in worker.engines]), remembered)
    spec = dtype.spec
    # To choose, two copies of the weights are held for a moment, which only the estimate has room for.
    figures = None if dtype.open else measured
    base = (base_bytes or {}).get(spec.engine, UNKNOWN_ENGINE_BYTES)
    demands = _demands(request, places, division, lambda place: _bytes(place, spec, base, workers, figures))
    return Deployment(
        uid=uid,
        spec=spec,
        demands=demands,
        ordinals=tuple(range(len(demands))),
        created_at=now,
        options=options,
        next_ordinal=len(demands),
        dtype_open=dtype.open,
        dtype_why=dtype.why,
        scaling=launch_bounds(request, len(places), sum(place.pin is not None for place in places), idle),
    )


def _demands(
    request: LaunchRequest, places: Sequence[PinnedDemand], division: Division | None, need: Callable[[PinnedDemand], int]
) -> tuple[Demand, ...]:
    fixed = parse_bytes(request.memory) if request.memory is not None else None
    return tuple(demand_of(place, need(place) if fixed is None else fixed, fixed is not None, division) for place in places)


def _query(request: LaunchRequest) -> ModelQuery:
    return ModelQuery(
        name=request.model_name,
        path=request.model_path,
        type=request.model_type,
        engine=request.model_engine,
        format=request.model_format,
        quantization=request.quantization,
        dtype=request.dtype,
        hub=request.download_hub,
        trust_remote_code=request.trust_remote_code,
        packages=tuple(request.packages or ()),
    )


def _check_uid(uid: str | None, snapshot: Snapshot) -> None:
    """One that was asked for is well formed and free, which is known before any file is looked at."""
    if uid is None:
        return
    if not _UID.fullmatch(uid):
        raise InvalidRequest(
            f"model_uid {uid[:160]!r} must be 1 to {MAX_UID} letters, digits, dots, underscores or hyphens.", param="model_uid"
        )
    check_free(snapshot, ModelUid(uid))


def _default_uid(name: str) -> str:
    """The model's name in the characters of a uid."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:MAX_UID] or "model"


def _options(given: Mapping[str, Any], engine: str, declared: Mapping[str, type]) -> dict[str, Any]:
    """Names checked against what the engine declares, values turned into the declared types."""
    known = [*(name for name in LaunchRequest.model_fields if name != "options"), *declared]
    for name in given:
        if name not in declared:
            close = difflib.get_close_matches(name, known, n=1)
            takes = f"{engine} takes {', '.join(sorted(declared))}" if declared else f"{engine} takes no options"
            hint = f"did you mean {close[0]}?" if close else f"{takes}."
            raise InvalidRequest(f"{name} is neither a launch field nor an option of {engine}: {hint}", param=name)
    return {name: _typed(name, value, declared[name]) for name, value in given.items()}


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _typed(name: str, value: Any, kind: type) -> Any:
    """The value in its declared type; texts of numbers and truth values are read, as command lines send them."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        if kind is bool and value.strip().lower() in _TRUTH:
            return _TRUTH[value.strip().lower()]
        if kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    raise InvalidRequest(f"{name} must be {_NAMES.get(kind, kind.__name__)}, not {str(value)[:80]!r}.", param=name)


def _roomy(spec: ModelSpec, options: Mapping[str, Any]) -> ModelSpec:
    """A language model with the KV room and the sequences that the launch names."""
    wanted = {field: options[name] for name, field in (("kv_tokens", "kv_tokens"), ("max_sequences", "sequences")) if name in options}
    if spec.llm is None or not wanted:
        return spec
    for name, least, most in (("kv_tokens", 256, 1 << 24), ("max_sequences", 1, 1024)):
        if name in options and not least <= options[name] <= most:
            raise InvalidRequest(f"{name} must be from {least} to {most}, not {options[name]}.", param=name)
    return spec.model_copy(update={"llm": spec.llm.model_copy(update=wanted)})


def _bytes(place: PinnedDemand, spec: ModelSpec, base: int, workers: Sequence[Worker], measured: Measured | None) -> int:
    """Per device: what was measured on every kind of device it may go to, else the largest estimate of those."""
    devices = _reachable([place], workers)
    if measured is not None and devices:
        figures = [measured(spec, kept_under(name, place.n_devices)) for name in {device.name for device in devices}]
        known = [figure for figure in figures if figure is not None]
        if len(known) == len(figures):
            return max(known)
    kinds = {device.kind for device in devices} or {DeviceKind.CPU}
    return max(estimate(spec, base, kind, place.n_devices) for kind in kinds)


def _reachable(places: Iterable[PinnedDemand], workers: Sequence[Worker]) -> list[Device]:
    """Devices that one of ``places`` may come to be on."""
    return [
        device
        for worker in workers
        for device in worker.devices
        if any(
            place.worker_id in {None, worker.id}
            and (place.pin is None or (place.pin.worker_id == worker.id and device.uuid in place.pin.device_uuids))
            for place in places
        )
    ]
