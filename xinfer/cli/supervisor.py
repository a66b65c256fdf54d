"""`xinfer supervisor`: the control process and the REST API of a cluster, under one launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from xinfer.cli import addresses, flags


@click.command(help="The supervisor and the REST API of a cluster; workers join it.")
@flags.rest_flags()
@flags.process_flags()
@click.pass_context
def supervisor(ctx: click.Context, /, home: str | None, cluster_token_file: Path | None, log_level: str, **rest: Any) -> None:
    """Run until SIGTERM or Ctrl-C."""
    from xinfer.cli import greeting, roles
    from xinfer.processes import ports, token

    place = flags.home_from(home)
    actors = rest["supervisor_host"] or addresses.actor_host(rest["host"])
    settings = flags.server_settings(place, actors, log_level, rest)
    env = roles.environment(place, token.resolve(os.environ, cluster_token_file, place, [actors]))
    with ports.listen(settings.host, settings.port) as door:
        url = addresses.url_of(settings.host, door.getsockname()[1], secure=settings.tls is not None)
        every = [roles.control_role(settings, env), *roles.api_roles(settings, door, env)]
        ctx.exit(roles.run(every, log_level, lambda _: greeting.supervisor(url, place, _warning(settings.host, actors))))


def _warning(host: str, actors: str) -> str:
    from xinfer.processes.token import is_loopback

    if is_loopback(host) or not is_loopback(actors):
        return ""
    return f"REST listens on {host}, actors on {actors}: workers of other machines can join only with --supervisor-host ADDRESS."
