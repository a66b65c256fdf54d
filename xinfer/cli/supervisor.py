"""`xinfer supervisor`: the control process and the REST API of a cluster, under one launcher."""

from __future__ import annotations

import os
from pathlib import Path

import click

from xinfer.cli import addresses, flags
from xinfer.settings import ServerSettings


@click.command(help="The supervisor and the REST API of a cluster; workers join it.")
@flags.rest_flags()
@flags.process_flags()
@click.pass_context
def supervisor(
    ctx: click.Context,
    host: str,
    port: int,
    supervisor_host: str | None,
    supervisor_port: int,
    api_processes: int,
    home: str | None,
    cluster_token_file: Path | None,
    log_level: str,
) -> None:
    """Run until SIGTERM or Ctrl-C."""
    from xinfer.cli import greeting, roles
    from xinfer.processes import ports, token

    place = flags.home_from(home)
    actors = supervisor_host or addresses.actor_host(host)
    settings = ServerSettings(place, host, port, actors, supervisor_port, api_processes, log_level)
    env = roles.environment(place, token.resolve(os.environ, cluster_token_file, place, [actors]))
    with ports.listen(host, port) as rest:
        url = addresses.url_of(host, rest.getsockname()[1])
        every = [roles.control_role(settings, env), *roles.api_roles(settings, rest, env)]
        ctx.exit(roles.run(every, log_level, lambda _: greeting.supervisor(url, place, _warning(host, actors))))


def _warning(host: str, actors: str) -> str:
    from xinfer.processes.token import is_loopback

    if is_loopback(host) or not is_loopback(actors):
        return ""
    return f"REST listens on {host}, actors on {actors}: workers of other machines can join only with --supervisor-host ADDRESS."
