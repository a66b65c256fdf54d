"""Flags of the servers, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from xinfer.cli.group import debug_option
from xinfer.errors import XinferError
from xinfer.settings import Home, Limits, ServerSettings, SimulatedGpus

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)
DEFAULT_PORT = 9997
LEVELS = ("debug", "info", "warning", "error")


def read_port_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``24000-24100``: the two ends, both included."""
    if value is None:
        return None
    low, dash, high = value.partition("-")
    if not (dash and low.isdigit() and high.isdigit() and 0 < int(low) <= int(high) < 65536):
        raise click.BadParameter(f"must be LOW-HIGH within 1-65535, not {value!r}.", ctx, param)
    return int(low), int(high)


def read_simulated(ctx: click.Context, param: click.Parameter, value: str | None) -> SimulatedGpus | None:
    """``4x24GiB``."""
    from xinfer.devices.parse import parse_simulated

    return None if value is None else parse_simulated(value)


def read_size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """``64MiB``: bytes."""
    from xinfer.cluster.memory import parse_bytes

    try:
        size = parse_bytes(value)
    except XinferError:
        size = 0
    if size < 1024:
        raise click.BadParameter(f"must be a size such as 64MiB, at least 1KiB, not {value!r}.", ctx, param)
    return size


def read_roots(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    """Absolute folders: workers of other machines have another working directory."""
    for root in value:
        if not root.is_absolute():
            raise click.BadParameter(f"must be absolute, not {str(root)!r}: it is looked up on the workers.", ctx, param)
    return value


def stacked(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several click options as one decorator, in their order in the help text."""
    return lambda function: reduce(lambda made, option: option(made), reversed(options), function)


def debug(function: F) -> F:
    """``--debug`` on a command."""
    params = getattr(function, "__click_params__", [])
    params.append(debug_option())
    function.__click_params__ = params  # type: ignore[attr-defined]
    return function


def process_flags() -> Callable[[F], F]:
    """What every server takes."""
    return stacked(
        click.option("--home", metavar="DIR", help="State, logs and model files.  [env: XINFER_HOME; default: ~/.xinfer]"),
        click.option(
            "--cluster-token-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The cluster token, needed beyond loopback.  [env: XINFER_CLUSTER_TOKEN, the token itself]",
        ),
        click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True),
        debug,
    )


def rest_flags() -> Callable[[F], F]:
    """The REST socket and the control process."""
    port = click.IntRange(0, 65535)
    return stacked(
        click.option(
            "-H", "--host", metavar="ADDR", default="127.0.0.1", show_default=True, help="Address of the REST API; 0.0.0.0 for all."
        ),
        click.option(
            "-p", "--port", metavar="PORT", type=port, default=DEFAULT_PORT, show_default=True, help="Port of the REST API; 0 for any."
        ),
        click.option("--supervisor-host", metavar="ADDR", help="Address of the actors, where workers of other machines join."),
        click.option("--supervisor-port", metavar="PORT", type=port, default=0, help="Port of the supervisor's actor.  [default: any]"),
        click.option(
            "--api-processes", metavar="N", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that serve REST."
        ),
        click.option("--ssl-certfile", type=FILE, metavar="FILE", help="Certificate of the REST port with its chain, PEM: serves https."),
        click.option("--ssl-keyfile", type=FILE, metavar="FILE", help="Its private key, PEM, without a pass phrase."),
        click.option(
            "--model-root",
            "model_roots",
            type=click.Path(path_type=Path),
            multiple=True,
            callback=read_roots,
            metavar="DIR",
            help="A folder on the workers that keys which are no admin's may launch models from; repeatable.  [default: none]",
        ),
        click.option(
            "--max-body",
            metavar="SIZE",
            callback=read_size,
            default="64MiB",
            show_default=True,
            help="Largest body of a request.",
        ),
        click.option(
            "--max-documents",
            metavar="N",
            type=click.IntRange(1),
            default=Limits().documents,
            show_default=True,
            help="Most documents or texts of a request.",
        ),
    )


def server_settings(home: Home, actors: str, log_level: str, rest: Mapping[str, Any]) -> ServerSettings:
    """What the flags of ``rest_flags`` say.

    Args:
        actors: address of the SupervisorActor.

    Raises:
        ConfigError: certificate or key are missing, cannot be read or do not belong together.
    """
    from xinfer.processes import tls

    return ServerSettings(
        home,
        rest["host"],
        rest["port"],
        actors,
        rest["supervisor_port"],
        rest["api_processes"],
        log_level,
        limits=Limits(body_bytes=rest["max_body"], documents=rest["max_documents"]),
        tls=tls.paired(rest["ssl_certfile"], rest["ssl_keyfile"]),
        model_roots=rest["model_roots"],
    )


def device_flags() -> Callable[[F], F]:
    """What a worker offers."""
    return stacked(
        click.option(
            "--worker-port", metavar="PORT", type=click.IntRange(0, 65535), default=0, help="Port of the worker's actor.  [default: any]"
        ),
        click.option(
            "--port-range", metavar="LOW-HIGH", callback=read_port_range, help="Ports of the worker and its replicas.  [default: any]"
        ),
        click.option(
            "--cpu-slots", metavar="N", type=click.IntRange(1, 1024), help="Offer N shares of the CPU.  [default: the GPUs, else 1]"
        ),
        click.option(
            "--simulate-gpus",
            metavar="COUNTxMEMORY",
            callback=read_simulated,
            help="Offer pretended GPUs that run on the CPU, such as 4x24GiB.",
        ),
        click.option(
            "--simulate-workers", metavar="N", type=click.IntRange(1, 4096), default=1, help="Pretend to be N workers, for tests of size."
        ),
    )


def exclude(cpu_slots: int | None, simulate_gpus: SimulatedGpus | None) -> None:
    """A worker offers one kind of device."""
    if cpu_slots is not None and simulate_gpus is not None:
        raise click.UsageError("--cpu-slots and --simulate-gpus exclude each other: a worker offers one kind of device.")


def home_from(flag: str | None) -> Home:
    """The flag, else the environment, else the default."""
    return Home.from_env(os.environ, flag)
