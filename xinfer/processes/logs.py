"""One log format for our own lines and those of libraries: key=value for people, JSON with XINFER_LOG_JSON=1."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

from xinfer.errors import ConfigError
from xinfer.processes.redact import redactor

# xoscar logs a traceback for every peer that goes away; what matters of it reaches us as an exception.
_NOISY = {
    "xoscar": logging.CRITICAL,
    "uvicorn.error": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "asyncio": logging.WARNING,
    "filelock": logging.WARNING,
}


def configure_logging(level: str) -> None:
    """Lines of ``level`` and above go to stderr.

    Raises:
        ConfigError: no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"--log-level must be debug, info, warning or error, not {level!r}.", param="--log-level")
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=False),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Discreet(foreign_pre_chain=shared, processors=[_drop, *_rendered()]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(max(number, least))


class _Discreet(structlog.stdlib.ProcessorFormatter):
    """The last hand on every line, tracebacks and libraries' lines included: no secret leaves it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._redacted = redactor(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        return self._redacted(super().format(record))


def _drop(logger: Any, name: str, event: Any) -> Any:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)


def _rendered() -> list[Any]:
    """Tracebacks never show variables: among them are the cluster token and the texts of requests."""
    if os.environ.get("XINFER_LOG_JSON", "") not in ("", "0"):
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
