"""Flags that many commands share, and the connection they open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xinfer.cli.flags import debug, stacked

F = TypeVar("F", bound=Callable[..., Any])
_CA_FILE = "xinfer.ca_file"
DEFAULT_ENDPOINT = "http://127.0.0.1:9997"


def _remember_ca_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[_CA_FILE] = value


def ca_file() -> str | None:
    """``--ca-file`` of the command that runs."""
    ctx = click.get_current_context(silent=True)
    found: str | None = ctx.meta.get(_CA_FILE) if ctx is not None else None
    return found


def connected() -> Callable[[F], F]:
    """``endpoint`` and ``api_key``; ``--ca-file`` is found by ``ca_file``."""
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
        click.option(
            "--ca-file",
            metavar="FILE",
            envvar="XINFER_CA_FILE",
            show_envvar=True,
            expose_value=False,
            callback=_remember_ca_file,
            help="Authority of an https server's certificate.  [default: those that the system trusts]",
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
