"""HTTP figures of this process."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Meter:
    """Counts every HTTP request by route template, never by raw path.

    Attributes:
        process: name of this API process, a label of all that is its own; "" = there is but one.
    """

    def __init__(self, process: str = "") -> None:
        self.process = process
        self.registry = CollectorRegistry()
        self._requests = Counter("xinfer_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "xinfer_http_request_seconds",
            "Seconds from the request line to the last byte out.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Metered:
    """The layer that feeds the Meter."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self.app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} else "other"
            self._meter.observe(method, route, status, time.monotonic() - begun)
