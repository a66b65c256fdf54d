"""What work is told while nothing can serve it: wait, come back, or give up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xinfer.cluster.routes import ModelRoutes
from xinfer.errors import ModelLoading, ModelNotFound, Unavailable, XinferError

LOADING_RETRY = 2.0
FAILED_RETRY = 30.0


def refusal(uid: str, routes: ModelRoutes | None, was_ready: bool, waited: float, hold: float, wake: float) -> XinferError | None:
    """Why work must not wait (any longer) for a replica of this model, which has none now; None = hold it.

    Args:
        routes: None = the model is no longer deployed.
        was_ready: a replica has been ready before, so one is likely to come back soon; as when one warms up.
        waited: seconds without a replica; ``hold``: how many are allowed, ``wake`` while the model wakes.
    """
    if routes is None:
        return ModelNotFound(f"model {uid!r} was stopped", param="model")
    if routes.failed and not routes.starting:
        return Unavailable(f"model {uid!r} has failed: {routes.failed}", retry_after=FAILED_RETRY)
    if routes.asleep or routes.waking:
        late = f"model {uid!r} was asleep and did not wake within {wake:g} s"
        return ModelLoading(late, retry_after=LOADING_RETRY) if waited >= wake else None
    if not routes.replicas and not routes.starting:  # its replicas drain, and no other will come
        return ModelNotFound(f"model {uid!r} is being stopped", param="model")
    if not was_ready and not routes.warming:
        return ModelLoading(f"model {uid!r} is still loading; ask again when it is ready", retry_after=LOADING_RETRY)
    if waited >= hold:
        return ModelLoading(f"no replica of model {uid!r} became ready within {hold:g} s", retry_after=LOADING_RETRY)
    return None


class Waiting(Protocol):
    """Something that waits since ``arrived``."""

    @property
    def arrived(self) -> float: ...


class Hold:
    """Since when nothing can serve one model, and what that means for what waits.

    Args:
        hold: seconds that work waits for a replica; ``wake``: for that of a model that was asleep.

    Attributes:
        since: when the last replica went; None while there is one.
    """

    def __init__(self, uid: str, hold: float, wake: float) -> None:
        self._uid = uid
        self._hold = hold
        self._wake = wake
        self._was_ready = False
        self.routes: ModelRoutes | None = None
        self.since: float | None = None

    def update(self, routes: ModelRoutes | None) -> None:
        """Adopt routes; None = not deployed, and whatever was ready before does not count for what comes after."""
        self.routes = routes
        self._was_ready = routes is not None and (self._was_ready or routes.was_ready or bool(routes.replicas))

    def watch(self, served: bool, now: float) -> None:
        """Whether some replica can serve."""
        if served:
            self.since = None
        elif self.since is None:
            self.since = now

    def refusal(self, arrived: float, now: float) -> XinferError | None:
        """Why a request of that age must not wait on; None = serve or hold it."""
        if self.routes is not None and self.since is None:
            return None
        waited = now - max(arrived, arrived if self.since is None else self.since)
        return refusal(self._uid, self.routes, self._was_ready, waited, self._hold, self._wake)

    def wake_at(self, waiting: Sequence[Waiting]) -> float | None:
        """When the first of them, oldest first, has waited too long; None = never, by the clock."""
        if self.since is None or not waiting:
            return None
        waking = self.routes is not None and (self.routes.asleep or self.routes.waking)
        return max(self.since, waiting[0].arrived) + (self._wake if waking else self._hold)
