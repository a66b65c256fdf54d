"""`xinfer serve`: supervisor, REST API and one worker on this machine, under one launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from xinfer.cli import addresses, flags
from xinfer.settings import SimulatedGpus, WorkerSettings


@click.command(help="Everything on this machine: supervisor, REST API and one worker.")
@flags.rest_flags()
@flags.device_flags()
@flags.process_flags()
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    worker_port: int,
    port_range: tuple[int, int] | None,
    cpu_slots: int | None,
    simulate_gpus: SimulatedGpus | None,
    simulate_workers: int,
    home: str | None,
    cluster_token_file: Path | None,
    log_level: str,
    **rest: Any,
) -> None:
    """Run until SIGTERM or Ctrl-C."""
    flags.exclude(cpu_slots, simulate_gpus)
    from xinfer.cli import greeting, roles
    from xinfer.processes import ports, token

    place = flags.home_from(home)
    # On one machine actors stay on loopback, wherever REST listens, unless other workers are to join.
    actors = rest["supervisor_host"] or addresses.LOOPBACK
    server = flags.server_settings(place, actors, log_level, rest)
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
    with ports.listen(server.host, server.port) as door:
        url = addresses.url_of(server.host, door.getsockname()[1], secure=server.tls is not None)
        # Stopped in reverse order: REST first, which answers what it has taken while the replicas are still there.
        every = [roles.control_role(server, env), roles.worker_role(worker, env), *roles.api_roles(server, door, env)]
        ctx.exit(roles.run(every, log_level, lambda announced: greeting.serve(url, place, announced[roles.WORKER])))
