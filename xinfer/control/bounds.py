"""Between how many replicas the load decides: what people ask for, checked."""

from __future__ import annotations

from xinfer.cluster.deployment import Deployment, Scaling
from xinfer.control.demands import compile_growth
from xinfer.control.events import ScalingSet
from xinfer.errors import InvalidRequest
from xinfer.placement.compile import MAX_REPLICAS
from xinfer.schemas.launch import LaunchRequest
from xinfer.schemas.models import ScaleRequest


def launch_bounds(request: LaunchRequest, replicas: int, pinned: int, idle: float) -> Scaling | None:
    """Of a launch with so many replicas; by default at least 1 and no more than it begins with. None = no scaling by load.

    Args:
        pinned: replicas with a slot of their own, which are never let go by load.
        idle: seconds until an idle model sleeps, where nothing else is said.

    Raises:
        InvalidRequest: naming the field.
    """
    least, most = request.min_replica, request.max_replica
    if least is None and most is None:
        _check_idle(request.idle_seconds, 1)
        return None
    least = max(min(1, replicas), pinned) if least is None else least
    return _bounds(least, max(replicas, least) if most is None else most, request.idle_seconds, idle, replicas, pinned)


def counted(request: LaunchRequest) -> LaunchRequest:
    """One that names a ``min_replica`` and nothing else about its number begins with so many."""
    places = (request.replica, request.slots, request.gpu_idx, request.replica_config)
    alone = all(place is None for place in places) and (request.min_replica or 0) > 1
    return request.model_copy(update={"replica": request.min_replica}) if alone else request


def compile_scaling(deployment: Deployment, wanted: ScaleRequest, idle: float) -> ScalingSet:
    """Another count, other bounds, or both; a count that was not named stays, as far as the bounds allow.

    Raises:
        InvalidRequest: naming the field.
    """
    before, have = deployment.scaling, deployment.wanted
    pinned = deployment.pinned
    least, most = wanted.min_replica, wanted.max_replica
    scaling = before
    if least is None and most is None:
        if wanted.replica is None and wanted.idle_seconds is None:
            raise InvalidRequest("replica, min_replica or max_replica must be given.", param="replica")
        _check_idle(wanted.idle_seconds, 1 if before is None else before.min_replica)
    if (least, most, wanted.idle_seconds) != (None, None, None):
        least = least if least is not None else before.min_replica if before is not None else max(1, pinned)
        most = most if most is not None else before.max_replica if before is not None else max(have, least, wanted.replica or 0)
        usual = idle if before is None else before.idle_seconds
        scaling = _bounds(least, most, wanted.idle_seconds, usual, wanted.replica, pinned)
        count = max(least, min(most, have)) if wanted.replica is None else wanted.replica
    else:
        count = have if wanted.replica is None else wanted.replica
        if before is not None:
            _check_count(count, before.min_replica, before.max_replica)
    more = count - have
    return ScalingSet(deployment.uid, scaling, count, compile_growth(deployment, more) if more > 0 else ())


def _bounds(least: int, most: int, idle_seconds: float | None, usual: float, count: int | None, pinned: int) -> Scaling | None:
    if not 1 <= most <= MAX_REPLICAS:
        raise InvalidRequest(f"max_replica must be between 1 and {MAX_REPLICAS}, not {most}.", param="max_replica")
    if not 0 <= least <= most:
        raise InvalidRequest(f"min_replica must be between 0 and max_replica, which is {most}, not {least}.", param="min_replica")
    if least < pinned:
        raise InvalidRequest(
            f"min_replica must be at least {pinned}, not {least}: {pinned} replicas are pinned, and those are never let go by load.",
            param="min_replica",
        )
    _check_idle(idle_seconds, least)
    if count is not None:
        _check_count(count, least, most)
    return None if least == most else Scaling(least, most, usual if idle_seconds is None else idle_seconds)


def _check_count(count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise InvalidRequest(f"replica must be between min_replica {least} and max_replica {most}, not {count}.", param="replica")


def _check_idle(idle_seconds: float | None, least: int) -> None:
    if idle_seconds is None:
        return
    if least > 0:
        raise InvalidRequest("idle_seconds needs min_replica 0: a model that keeps a replica never sleeps.", param="idle_seconds")
    if not 1 <= idle_seconds <= 86_400 * 365:
        raise InvalidRequest(f"idle_seconds must be at least 1 and at most a year, not {idle_seconds:g}.", param="idle_seconds")
