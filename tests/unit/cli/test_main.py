"""The group: help without imports, near names, errors as a line and an exit code, tracebacks only for --debug."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from tests.unit.cli.conftest import FakeServer, error, run
from xinfer import __version__
from xinfer.cli import failures
from xinfer.cli.main import COMMANDS, cli

SCRIPT = """
import sys
from xinfer.cli import main
{before}
sys.argv = ["xinfer", {arguments}]
try:
    main.main()
finally:
    print(sorted(m for m in sys.modules if m in {heavy!r}), file=sys.stderr)
"""
HEAVY = {"fastapi", "xoscar", "torch", "httpx", "pydantic", "rich", "uvicorn", "numpy"}


def start(arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = SCRIPT.format(arguments=arguments, before=before, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", ['"version"', '"--help"', '"--version"', '"serve", "--help"'])
def test_what_asks_no_server_imports_next_to_nothing(arguments: str) -> None:
    done = start(arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


def test_help_lists_every_command_under_its_section() -> None:
    text = run("--help").stdout
    for name, command in COMMANDS.items():
        assert (f"\n  {name} " in text) is not command.hidden, name
    assert text.index("Servers:") < text.index("Models:") < text.index("Inference:") < text.index("Cluster:")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_text_and_debug(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "--debug" in result.stdout


def test_a_misspelt_command_names_the_nearest() -> None:
    result = run("luanch")
    assert result.exit_code == 2
    assert "did you mean 'launch'?" in result.stderr


def test_version_flag() -> None:
    assert run("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        (httpx.ConnectError("refused"), 3, "xinfer serve"),
        (httpx.ReadTimeout("slow"), 1, ""),
        ((404, error("model_not_found", "No model 'x' is running.")), 4, "xinfer list"),
        ((503, error("supervisor_unreachable", "The supervisor is away.")), 3, "Inference goes on"),
        ((401, error("unauthorized", "A key is needed.")), 1, "XINFER_API_KEY"),
        ((500, error("internal_error", "It broke.")), 1, ""),
        ((400, error("invalid_request", "n must be 1.\nNot 2.", hint="try 1")), 1, "Hint: Try 1"),
    ],
)
def test_an_error_is_one_line_a_hint_and_an_exit_code(server: FakeServer, answer: object, code: int, hint: str) -> None:
    server.on("GET", "/v1/models", answer)
    result = run("list")
    assert result.exit_code == code
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert lines[0].startswith("Error: ")
    assert len(lines) == (2 if hint else 1)
    assert hint in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["nope"], "There is no command 'nope'.", "xinfer --help"),
        (["show"], "Missing argument 'UID'.", "xinfer show --help"),
        (["ps", "--nope"], "No such option '--nope'.", "xinfer ps --help"),
        (["launch"], "Name a model with -n NAME, or a folder with -mp DIR.", "xinfer launch --help"),
        (["launch", "-n", "m", "--file", "/nope"], "Invalid value for '--file': File '/nope' does not exist.", "xinfer launch --help"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_a_hint(server: FakeServer, arguments: list[str], message: str, hint: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {message}\nHint: `{hint}` shows what it takes.\n"


def test_no_command_is_a_request_for_help() -> None:
    result = run()
    assert result.exit_code == 2
    assert "Servers:" in result.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [("it broke", "It broke."), ("is it?", "Is it?"), ("two\n lines.", "Two lines."), ("run `xinfer ps`", "Run `xinfer ps`"), ("", "")],
)
def test_a_message_is_a_sentence(text: str, shown: str) -> None:
    assert failures.sentence(text[:1].upper() + text[1:]) == shown


def test_refusals_of_a_placement_are_listed_and_cut(server: FakeServer) -> None:
    refusals = [{"slot": f"10.0.0.2:1@{n}", "reason": "full"} for n in range(10)]
    server.on("GET", "/v1/models", (400, error("no_fit", "Nothing fits.", refusals=refusals)))
    lines = run("list").stderr.splitlines()
    assert lines[1:10] == [*(f"  10.0.0.2:1@{n}: full" for n in range(8)), "  and 2 more"]


@pytest.mark.parametrize("arguments", [["--debug", "list"], ["list", "--debug"]])
def test_debug_lets_the_traceback_through(server: FakeServer, arguments: list[str]) -> None:
    server.on("GET", "/v1/models", httpx.ConnectError("refused"))
    with pytest.raises(Exception, match="No xinfer server answers"):
        run(*arguments)


def test_an_interrupt_ends_with_130(server: FakeServer) -> None:
    server.on("GET", "/v1/models", KeyboardInterrupt())
    assert run("list").exit_code == 130


BROKEN = """
import click
from xinfer.cli.group import debug_option
@click.command(params=[debug_option()])
def broken():
    raise ValueError("two\\nlines")
main.broken = broken
main.COMMANDS["broken"] = main.Command("Models", "xinfer.cli.main:broken", "")
"""


def test_a_bug_is_one_line_and_its_traceback_only_with_debug() -> None:
    plain, debug = start('"broken"', BROKEN), start('"broken", "--debug"', BROKEN)
    assert plain.returncode == debug.returncode == 1
    assert "Error: ValueError: two lines" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


@pytest.mark.parametrize(("entry", "command"), [("supervisor_main", "supervisor"), ("worker_main", "worker"), ("local_main", "serve")])
def test_entry_points_are_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], entry: str, command: str) -> None:
    from xinfer.cli import main

    monkeypatch.setattr(sys, "argv", [f"xinfer-{command}", "--help"])
    with pytest.raises(SystemExit) as end:
        getattr(main, entry)()
    assert end.value.code == 0
    assert f"Usage: xinfer {command} " in capsys.readouterr().out


def test_there_is_no_command_that_does_not_work_yet() -> None:
    for name in cli.table:
        assert cli.get_command(None, name) is not None  # type: ignore[arg-type]
