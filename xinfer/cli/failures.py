"""What a failure looks like: one line, a hint, an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from xinfer.errors import ConfigError, NotFound, SupervisorUnreachable, Unreachable, XinferError

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
NOT_FOUND = 4
INTERRUPTED = 130

HINTS = {  # by code, or by code and field
    "unreachable": "Start a server with `xinfer serve`, or name another with -e or XINFER_ENDPOINT.",
    "supervisor_unreachable": "Inference goes on meanwhile; try again when the supervisor is back.",
    "unauthorized XINFER_CLUSTER_TOKEN": "",
    "unauthorized": "Give a key with --api-key or XINFER_API_KEY.",
    "forbidden": "`xinfer key list`, with an admin's key, shows what each key may do.",
    "forbidden model_path": "",
    "key_not_found": "`xinfer key list` shows the keys.",
    "already_exists name": "`xinfer key list` shows the keys.",
    "model_not_found": "`xinfer list` shows what runs, `xinfer registrations` what can be launched by name.",
    "model_not_found model_name": "`xinfer registrations` lists the models that can be launched by name.",
    "model_not_found model_path": "The folder must be on the worker, with config.json, weights and a tokenizer.",
    "replica_not_found": "`xinfer ps` shows the replicas.",
    "worker_not_found": "`xinfer slots` shows the workers and their devices.",
    "invalid_placement replica": "",
    "invalid_placement": "`xinfer slots` shows the workers and their devices.",
    "no_fit": "`xinfer plan` with the same flags shows the reason for each slot.",
    "already_exists": "Choose another name with -u, or stop that one: xinfer stop NAME.",
    "model_loading": "`xinfer ps` shows how far it is.",
    "no_worker": "Add one with `xinfer worker -e ENDPOINT`.",
    "too_many_requests": "Try again in a moment.",
}


def exit_code(error: XinferError) -> int:
    """0 ok, 1 failed, 2 usage, 3 unreachable, 4 not found, 130 interrupted."""
    if isinstance(error, Unreachable | SupervisorUnreachable):
        return UNREACHABLE
    if isinstance(error, ConfigError):
        return USAGE
    return NOT_FOUND if isinstance(error, NotFound) else FAILED


def report(error: XinferError) -> None:
    """Print an error, the reasons it carries, and what to do."""
    say(error.message, hint_for(error), reasons(error.details.get("refusals")))


def hint_for(error: XinferError) -> str:
    """What would help."""
    given = error.details.get("hint")
    if given:
        return str(given)
    return HINTS.get(f"{error.code} {error.param}", HINTS.get(error.code, ""))


def reasons(refusals: Any, most: int = 8) -> list[str]:
    """``slot: reason`` lines of a refused placement, the first ``most`` of them."""
    if not isinstance(refusals, list):
        return []
    lines = [f"{item.get('slot', '?')}: {item.get('reason', '')}" for item in refusals if isinstance(item, dict)]
    return lines[:most] + ([f"and {len(lines) - most} more"] if len(lines) > most else [])


def say(message: str, hint: str = "", lines: Sequence[str] = ()) -> None:
    """An error on stderr; in colour on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    one_line = sentence(message)
    console.print(Text.assemble(("Error: ", "bold red"), one_line))
    for line in lines:
        console.print(Text.assemble("  ", line))
    if hint:
        console.print(Text.assemble(("Hint: ", "bold cyan"), sentence(hint[0].upper() + hint[1:])))


def sentence(text: str) -> str:
    """On one line and with a full stop, but not after what ends in a command."""
    line = " ".join(text.split())
    return line if not line or line[-1] in ".!?`" else f"{line}."
