"""Failures as the error tree: replies that are no success, and links that broke."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx

from xinfer.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
    XinferError,
)

_BY_STATUS: dict[int, type[XinferError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: PayloadTooLarge,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def _tree(root: type[XinferError]) -> dict[str, type[XinferError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def from_reply(status: int, body: bytes, headers: Mapping[str, str]) -> XinferError:
    """Rebuild the server's error by its code; by status where something between us and it answered."""
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    inner = data.get("error") if isinstance(data, dict) else None
    error = inner if isinstance(inner, dict) else {}
    fallback = _BY_STATUS.get(status, InvalidRequest if 400 <= status < 500 else XinferError)
    kind = _tree(XinferError).get(str(error.get("code")), fallback)
    message = error.get("message") or f"The server answered {status} without saying why."
    details = error.get("details")
    param = error.get("param")
    return kind(
        str(message),
        param=str(param) if param is not None else None,
        retry_after=_seconds(headers.get("retry-after")),
        **{k: v for k, v in details.items() if k not in _OWN} if isinstance(details, dict) else {},
    )


_OWN = frozenset({"message", "param", "retry_after"})


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


def from_transport(error: httpx.HTTPError | httpx.InvalidURL, endpoint: str) -> XinferError:
    """A link that could not be made, broke, or took too long."""
    reason = (str(error) or type(error).__name__).rstrip(".")
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return DeadlineExceeded(f"{endpoint} did not answer in time ({type(error).__name__}).")
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return Unreachable(
            f"The certificate of {endpoint} is not trusted ({reason.rpartition(': ')[2]}).",
            hint="Name the file of its authority with --ca-file, ca_file or XINFER_CA_FILE.",
        )
    return Unreachable(f"No xinfer server answers at {endpoint}: {reason}.")
