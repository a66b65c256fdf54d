"""`xinfer worker`: offers this machine's devices to a cluster, under a launcher of its own."""

from __future__ import annotations

import os
from pathlib import Path

import click

from xinfer.cli import addresses, flags
from xinfer.settings import SimulatedGpus, WorkerSettings


@click.command(help="Offer this machine's devices to a cluster.")
@click.option(
    "-e",
    "--endpoint",
    envvar="XINFER_ENDPOINT",
    show_envvar=True,
    metavar="URL",
    default="http://127.0.0.1:9997",
    show_default=True,
    help="The supervisor.",
)
@click.option(
    "--ca-file",
    type=flags.FILE,
    envvar="XINFER_CA_FILE",
    show_envvar=True,
    metavar="FILE",
    help="Authority of an https supervisor's certificate.  [default: those that the system trusts]",
)
@click.option("-H", "--host", metavar="ADDR", help="Address of the actors.  [default: the one that reaches the supervisor]")
@flags.device_flags()
@flags.process_flags()
@click.pass_context
def worker(
    ctx: click.Context,
    endpoint: str,
    ca_file: Path | None,
    host: str | None,
    worker_port: int,
    port_range: tuple[int, int] | None,
    cpu_slots: int | None,
    simulate_gpus: SimulatedGpus | None,
    simulate_workers: int,
    home: str | None,
    cluster_token_file: Path | None,
    log_level: str,
) -> None:
    """Run until SIGTERM or Ctrl-C."""
    flags.exclude(cpu_slots, simulate_gpus)
    from xinfer.cli import greeting, roles
    from xinfer.processes import tls, token

    if endpoint.lower().startswith("https:"):
        tls.trusting(ca_file)  # said here, not every second by the worker
    place = flags.home_from(home)
    settings = WorkerSettings(
        place,
        endpoint=endpoint,
        host=host or addresses.route_to(endpoint),
        port=worker_port,
        port_range=port_range,
        cpu_slots=cpu_slots or 0,
        simulate_gpus=simulate_gpus,
        simulate_workers=simulate_workers,
        log_level=log_level,
        ca_file=None if ca_file is None else ca_file.absolute(),
    )
    env = roles.environment(place, token.resolve(os.environ, cluster_token_file, place, [settings.host]))
    role = roles.worker_role(settings, env)
    ctx.exit(roles.run([role], log_level, lambda announced: greeting.worker(endpoint, place, announced[roles.WORKER])))
