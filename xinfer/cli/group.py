"""A command group that imports a command only when it runs, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from types import TracebackType
from typing import Any

import click

from xinfer.cli import failures
from xinfer.errors import XinferError


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives.

    Attributes:
        section: heading in ``xinfer --help``.
        target: ``module:attribute`` of the click command.
        summary: one line for ``xinfer --help``, so that help imports nothing.
    """

    section: str
    target: str
    summary: str
    hidden: bool = False


class LazyGroup(click.Group):
    """`xinfer`: subcommands by name, errors as one line and a hint.

    Args:
        commands: by name, in the order of the help text.
    """

    def __init__(self, *, name: str, help: str, epilog: str, commands: Mapping[str, Command]) -> None:
        super().__init__(name=name, help=help, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]})
        self.table = commands
        self.params.append(debug_option())
        self.params.append(version_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All visible names, in order."""
        return [name for name, command in self.table.items() if not command.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for one that does not exist."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.table, n=1)
            ctx.fail(f"There is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections of ``--help``."""
        visible = [(name, command) for name, command in self.table.items() if not command.hidden]
        for section, entries in groupby(visible, key=lambda pair: pair[1].section):
            with formatter.section(section):
                formatter.write_dl([(name, command.summary) for name, command in entries])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes one line, a hint and an exit code."""
        try:
            return super().invoke(ctx)
        except XinferError as error:
            if is_debugging(ctx):
                raise
            failures.report(error)
            ctx.exit(failures.exit_code(error))
        except KeyboardInterrupt:
            if is_debugging(ctx):
                raise
            ctx.exit(failures.INTERRUPTED)

    def main(  # type: ignore[override]  # click overloads it on standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """As click's; a wrong command line and a bug print one line too, the latter its traceback only with ``--debug``."""
        sys.excepthook = _last_words
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else self.name
            failures.say(error.format_message(), f"`{command} --help` shows what it takes.")
            sys.exit(error.exit_code)
        except click.ClickException as error:
            failures.say(error.format_message())
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(failures.INTERRUPTED)
        sys.exit(code if isinstance(code, int) else failures.OK)


def is_debugging(ctx: click.Context | None = None) -> bool:
    """Whether ``--debug`` was given, before or after the command's name."""
    ctx = ctx or click.get_current_context(silent=True)
    return bool(ctx and ctx.meta.get("xinfer.debug"))


def debug_option() -> click.Option:
    """``--debug``, on the group and on every command."""

    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta["xinfer.debug"] = True
            sys.excepthook = sys.__excepthook__

    return click.Option(["--debug"], is_flag=True, expose_value=False, is_eager=True, callback=remember, help="Show tracebacks of errors.")


def version_option() -> click.Option:
    """``--version``, as the command `version` prints it."""

    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            from xinfer import __version__

            click.echo(__version__)
            ctx.exit()

    return click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=show, help="Print the version.")


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    failures.say(f"{kind.__name__}: {error}", "This is a bug in xinfer; run the command again with --debug for the traceback.")
