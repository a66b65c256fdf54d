"""`xinfer serve`: supervisor, REST API and one worker on this machine, under one launcher."""

from __future__ import annotations

import os
from pathlib import Path

import click

from xinfer.cli import addresses, flags
from xinfer.settings import ServerSettings, SimulatedGpus, WorkerSettings


@click.command(help="Everything on this machine: supervisor, REST API and one worker.")
@flags.rest_flags()
@flags.device_flags()
@flags.process_flags()
@click.pass_context
def serve(
    ctx: click.Context,
    host: str,
    port: int,
    supervisor_host: str | None,
    supervisor_port: int,
    api_processes: int,
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
    from xinfer.processes import ports, token

    place = flags.home_from(home)
    # On one machine actors stay on loopback, wherever REST listens, unless other workers are to join.
    actors = supervisor_host or addresses.LOOPBACK
    server = ServerSettings(place, host, port, actors, supervisor_port, api_processes, log_level)
    worker = WorkerSettings(
        place,
        host=actors,
        port=worker_port,
        port_range=port_range,
        cpu_slots=cpu_slots or 0,
        simulate_gpus=simulate_gpus,
        simulate_workers=simulate_workers,
        log_level=log_level,
    )
    env = roles.environment(place, token.resolve(os.environ, cluster_token_file, place, [actors]))
    with ports.listen(host, port) as rest:
        url = addresses.url_of(host, rest.getsockname()[1])
        # Stopped in reverse order: REST first, which answers what it has taken while the replicas are still there.
        every = [roles.control_role(server, env), roles.worker_role(worker, env), *roles.api_roles(server, rest, env)]
        ctx.exit(roles.run(every, log_level, lambda announced: greeting.serve(url, place, announced[roles.WORKER])))
