"""Flags that many commands share, and the connection they open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xinfer.cli.flags import debug, stacked

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_ENDPOINT = "http://127.0.0.1:9997"


def connected() -> Callable[[F], F]:
    """``endpoint`` and ``api_key``."""
    return stacked(
        click.option(
            "-e",
            "--endpoint",
            metavar="URL",
            envvar="XINFER_ENDPOINT",
            show_envvar=True,
            default=DEFAULT_ENDPOINT,
            show_default=True,
            help="The server.",
        ),
        click.option(
            "-ak", "--api-key", metavar="KEY", envvar="XINFER_API_KEY", show_envvar=True, help="Key, where the server asks for one."
        ),
        debug,
    )


def reading(*, short: bool = True) -> Callable[[F], F]:
    """``as_json`` and ``quiet``; ``short`` is False where -q means something else."""
    names = ["-q", "--quiet", "quiet"] if short else ["--quiet", "quiet"]
    return stacked(
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(*names, is_flag=True, help="Print ids only."),
    )
