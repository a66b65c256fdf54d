"""The one error tree: every failure a caller can meet, with a code, an HTTP status and whether to retry.

Errors cross process borders by pickle, so a subclass never changes the constructor:
everything beyond the sentence travels in ``details`` (plain JSON values).
"""

from __future__ import annotations

from typing import Any, ClassVar


class XinferError(Exception):
    """Root of the tree.

    Args:
        message: one sentence that names the field and says what would be right.
        param: the request field at fault, if one is.
        retry_after: seconds after which a retry may succeed.
        details: JSON values for programs (refused slots, limits, ids).
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.details: dict[str, Any] = details

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"param": self.param, "retry_after": self.retry_after, "details": self.details}
        return (_rebuild, (type(self), self.message, state))


def _rebuild(cls: type[XinferError], message: str, state: dict[str, Any]) -> XinferError:
    error = cls.__new__(cls)
    XinferError.__init__(error, message, param=state["param"], retry_after=state["retry_after"], **state["details"])
    return error


# --- the caller's fault -------------------------------------------------------------------------


class InvalidRequest(XinferError):
    """A field is missing, of the wrong type or out of range."""

    code = "invalid_request"
    http_status = 400


class InvalidPlacement(InvalidRequest):
    """Pins, indices or counts that contradict themselves or the cluster."""

    code = "invalid_placement"


class NoFit(InvalidRequest):
    """No slot can hold the replica; ``details["refusals"]`` names every slot with its reason."""

    code = "no_fit"


class AlreadyExists(InvalidRequest):
    """The model uid is taken (400, not 409: the openai SDK retries 409)."""

    code = "already_exists"


class InvalidItem(InvalidRequest):
    """One document or text that the model cannot digest; its neighbours are unharmed."""

    code = "invalid_item"


class PayloadTooLarge(XinferError):
    """Body or document count over the limit."""

    code = "payload_too_large"
    http_status = 413


class Unauthorized(XinferError):
    """No key, or one that is not known, expired or revoked."""

    code = "unauthorized"
    http_status = 401


class Forbidden(XinferError):
    """The key is good, but not for this."""

    code = "forbidden"
    http_status = 403


class NotFound(XinferError):
    """The thing named does not exist."""

    code = "not_found"
    http_status = 404


class ModelNotFound(NotFound):
    """No family, path or running model of that name."""

    code = "model_not_found"


class ReplicaNotFound(NotFound):
    """No replica of that id."""

    code = "replica_not_found"


class WorkerNotFound(NotFound):
    """No worker of that id or address."""

    code = "worker_not_found"


class KeyNotFound(NotFound):
    """No API key of that name or id."""

    code = "key_not_found"


# --- later may be better ------------------------------------------------------------------------


class TooManyRequests(XinferError):
    """The queue is full; ``retry_after`` is queued work over measured speed."""

    code = "too_many_requests"
    http_status = 429
    retryable = True


class Unavailable(XinferError):
    """Nothing can serve this now."""

    code = "unavailable"
    http_status = 503
    retryable = True


class ModelLoading(Unavailable):
    """The model is launched but no replica is ready yet."""

    code = "model_loading"


class NoWorker(Unavailable):
    """The cluster has no worker that could do this now."""

    code = "no_worker"


class SupervisorUnreachable(Unavailable):
    """Inference goes on; launches and listings wait for the control process."""

    code = "supervisor_unreachable"


class Unreachable(Unavailable):
    """The client found no server at the endpoint, or lost it before an answer came."""

    code = "unreachable"


class DeadlineExceeded(XinferError):
    """A call took longer than it was given."""

    code = "deadline_exceeded"
    http_status = 504
    retryable = True


class Cancelled(XinferError):
    """Someone cancelled this on purpose (499 as in nginx: the client is usually gone)."""

    code = "cancelled"
    http_status = 499


# --- inside the cluster -------------------------------------------------------------------------


class ReplicaLost(Unavailable):
    """The replica's process or link is gone; its work goes to another."""

    code = "replica_lost"


class ReplicaBusy(Unavailable):
    """The replica's window is full; the work goes back to the queue."""

    code = "replica_busy"


class StaleEpoch(Unavailable):
    """News or a call for an earlier life of a worker or replica."""

    code = "stale_epoch"


class PlanOvertaken(Unavailable):
    """What was planned cannot begin any more: the cluster has changed meanwhile."""

    code = "plan_overtaken"


class SlotTaken(Unavailable):
    """The worker's own ledger says that the device cannot take this replica."""

    code = "slot_taken"


class LaunchFailed(XinferError):
    """A replica did not become ready; the message is the reason it gave."""

    code = "launch_failed"


class DeviceMismatch(LaunchFailed):
    """The replica sees another device than the one it was bound to."""

    code = "device_mismatch"


class OutOfMemory(LaunchFailed):
    """Not enough memory for the weights or for one item alone."""

    code = "out_of_memory"


class EngineError(XinferError):
    """The engine raised while it ran a batch."""

    code = "engine_error"


class SourceError(LaunchFailed):
    """Model files could not be fetched or verified."""

    code = "source_error"


class UpgradeRefused(XinferError):
    """The code on a worker's host does not start; the worker goes on with what it runs."""

    code = "upgrade_refused"
    http_status = 409


class StoreError(XinferError):
    """Desired state could not be read or written; nothing was changed."""

    code = "store_error"


class ConfigError(XinferError):
    """A process refuses to start: a setting is missing or wrong."""

    code = "config_error"
    http_status = 400
