"""`xinfer list`, `ps`, `show`, `stop`, `registrations`."""

from __future__ import annotations

from typing import Any

import click

from xinfer.cli import columns, connect, options, output

TYPES = ("rerank", "embedding", "LLM")
NOTHING_RUNS = "No model is running; `xinfer registrations` shows what can be launched by name."


@click.command(name="list", help="List running models.")
@options.connected()
@options.reading()
def list_models(endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """One row per model."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        found = server.models()
    output.write(form, columns.MODELS, found, identity=lambda row: row["id"], empty=NOTHING_RUNS)


@click.command(help="List replicas: slot, device, phase, queue.")
@click.argument("uid", required=False)
@options.connected()
@options.reading()
def ps(uid: str | None, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """Of one model, or of all."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        known = [server.model(uid)] if uid else server.models()
        found = server.replicas(uid) if uid else server.all_replicas(known)
    output.write(form, columns.REPLICAS, found, identity=lambda row: row["replica_model_uid"], empty="" if known else NOTHING_RUNS)
    if form in (output.Form.TABLE, output.Form.TSV):
        for model in known:
            if words := scaling(model):
                output.note(f"{model['id']}: {words}")


@click.command(help="Show one model and its replicas.")
@click.argument("uid")
@options.connected()
@options.reading()
def show(uid: str, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """Facts first, then a row per replica."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        model, replicas = server.model(uid), server.replicas(uid)
    if form is output.Form.JSON:
        output.write_json({**model, "replicas": replicas})
    elif form is output.Form.IDS:
        click.echo(model["id"])
    elif form is output.Form.TSV:
        output.write(form, columns.REPLICAS, replicas, identity=lambda row: row["replica_model_uid"])
    else:
        output.write_facts(facts(model))
        output.write_table(columns.REPLICAS, replicas)
        for reason in dict.fromkeys(str(replica["error_message"]) for replica in replicas if replica.get("error_message")):
            output.note(f"Reported: {reason}")


def scaling(model: dict[str, Any]) -> str:
    """What a person wants to know of a model whose replicas the load decides on; "" of others."""
    least, most = model.get("min_replica", 0), model.get("max_replica", 0)
    if least == most:
        return ""
    now = "asleep until a request comes" if model.get("status") == "ASLEEP" else f"wants {model['wanted_replica']}"
    idle = f", asleep after {model['idle_seconds']:g} s without a request" if model.get("idle_seconds") else ""
    why = f" ({model['scaling_why']})" if model.get("scaling_why") else ""
    return f"{least} to {most} by load{idle}; {now}{why}"


def facts(model: dict[str, Any]) -> dict[str, str]:
    """What a person wants to know of a model."""
    return {
        "model": model["id"],
        "name": model["model_name"],
        "type": model["model_type"],
        "status": f"{str(model['status']).lower()}, {model['ready_replicas']} of {model['replica']} replicas ready",
        **({"scaling": scaling(model)} if scaling(model) else {}),
        "engine": f"{model['model_engine']}, {model['dtype']}"
        + (f" ({model['dtype_why']})" if model.get("dtype_why") else "")
        + (f", {model['quantization']}" if model.get("quantization") not in ("", "none", None) else ""),
        **({"packages": ", ".join(model["packages"])} if model.get("packages") else {}),
        "max tokens": str(model["max_tokens"]),
        **({"dimensions": str(model["dimensions"])} if model.get("dimensions") else {}),
        **({"languages": output.flat(model["model_lang"])} if model.get("model_lang") else {}),
        **({"about": model["model_description"]} if model.get("model_description") else {}),
    }


def _stop(uids: tuple[str, ...], drain: bool, endpoint: str, api_key: str | None) -> None:
    with connect.open_server(endpoint, api_key) as server:
        for uid in uids:
            server.stop(uid, drain)
            output.note(f"{uid} is stopped.")


@click.command(help="Stop models. New requests are refused; what was accepted before is answered first.")
@click.argument("uid", nargs=-1)
@click.option("-u", "--model-uid", multiple=True, metavar="UID", help="As Xinference spells it.")
@click.option("--force", "--no-drain", "force", is_flag=True, help="At once: what is queued or running fails.")
@options.connected()
def stop(uid: tuple[str, ...], model_uid: tuple[str, ...], force: bool, endpoint: str, api_key: str | None) -> None:
    """Every replica of each."""
    if not uid + model_uid:
        raise click.UsageError("Name a model: xinfer stop UID.")
    _stop(uid + model_uid, not force, endpoint, api_key)


@click.command(help="List the models that can be launched by name.")
@click.option("-t", "--model-type", type=click.Choice(TYPES, case_sensitive=False), help="Only this type.")
@options.connected()
@options.reading()
def registrations(model_type: str | None, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """One row per family."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        found = [entry for kind in ([model_type] if model_type else TYPES) for entry in server.registrations(kind)]
    output.write(form, columns.FAMILIES, found, identity=lambda row: row["model_name"], empty="No model of that type is registered.")
