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
@click.option("-H", "--host", metavar="ADDR", help="Address of the actors.  [default: the one that reaches the supervisor]")
@flags.device_flags()
@flags.process_flags()
@click.pass_context
def worker(
    ctx: click.Context,
    endpoint: str,
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
    from xinfer.processes import token

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
    )
    env = roles.environment(place, token.resolve(os.environ, cluster_token_file, place, [settings.host]))
    role = roles.worker_role(settings, env)
    ctx.exit(roles.run([role], log_level, lambda announced: greeting.worker(endpoint, place, announced[roles.WORKER])))
