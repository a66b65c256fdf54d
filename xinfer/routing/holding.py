"""What work is told while nothing can serve it: wait, come back, or give up."""

from __future__ import annotations

from xinfer.cluster.routes import ModelRoutes
from xinfer.errors import ModelLoading, ModelNotFound, Unavailable, XinferError

LOADING_RETRY = 2.0
FAILED_RETRY = 30.0


def refusal(uid: str, routes: ModelRoutes | None, was_ready: bool, waited: float, hold: float) -> XinferError | None:
    """Why work must not wait (any longer) for a replica of this model, which has none now; None = hold it.

    Args:
        routes: None = the model is no longer deployed.
        was_ready: a replica has been ready before, so one is likely to come back soon.
        waited: seconds without a replica; ``hold``: how many are allowed.
    """
    if routes is None:
        return ModelNotFound(f"model {uid!r} was stopped", param="model")
    if routes.failed and not routes.starting:
        return Unavailable(f"model {uid!r} has failed: {routes.failed}", retry_after=FAILED_RETRY)
    if not routes.replicas and not routes.starting:  # its replicas drain, and no other will come
        return ModelNotFound(f"model {uid!r} is being stopped", param="model")
    if not was_ready:
        return ModelLoading(f"model {uid!r} is still loading; ask again when it is ready", retry_after=LOADING_RETRY)
    if waited >= hold:
        return ModelLoading(f"no replica of model {uid!r} came back within {hold:g} s", retry_after=LOADING_RETRY)
    return None
