"""The `xinfer` command and the entry points of its servers."""

from __future__ import annotations

import sys

from xinfer.cli.group import Command, LazyGroup

COMMANDS = {
    "serve": Command("Servers", "xinfer.cli.serve:serve", "Everything on this machine: supervisor, REST API and one worker."),
    "supervisor": Command("Servers", "xinfer.cli.supervisor:supervisor", "The supervisor and the REST API of a cluster."),
    "worker": Command("Servers", "xinfer.cli.worker:worker", "Offer this machine's devices to a cluster."),
    "launch": Command("Models", "xinfer.cli.launch:launch", "Launch a model and wait until it is ready."),
    "plan": Command("Models", "xinfer.cli.plan:plan", "Show where a launch would go, and why, without launching."),
    "list": Command("Models", "xinfer.cli.models:list_models", "List running models."),
    "ps": Command("Models", "xinfer.cli.models:ps", "List replicas: slot, device, phase, queue."),
    "show": Command("Models", "xinfer.cli.models:show", "Show one model and its replicas."),
    "launches": Command("Models", "xinfer.cli.launches:launches", "Show what was launched lately."),
    "logs": Command("Models", "xinfer.cli.logs:logs", "Show what a model's replicas wrote last."),
    "scale": Command("Models", "xinfer.cli.changes:scale", "Change how many replicas a model has."),
    "move": Command("Models", "xinfer.cli.changes:move", "Move a replica to another slot while it serves."),
    "stop": Command("Models", "xinfer.cli.models:stop", "Stop a model."),
    "terminate": Command("Models", "xinfer.cli.models:stop", "Stop a model.", hidden=True),
    "registrations": Command("Models", "xinfer.cli.models:registrations", "List the models that can be launched by name."),
    "rerank": Command("Inference", "xinfer.cli.infer:rerank", "Order documents by relevance to a query."),
    "embed": Command("Inference", "xinfer.cli.infer:embed", "Turn texts into vectors."),
    "chat": Command("Inference", "xinfer.cli.chat:chat", "Talk with a chat model."),
    "why": Command("Inference", "xinfer.cli.why:why", "Show where a request's time went."),
    "bench": Command("Inference", "xinfer.cli.bench:bench", "Put a load on any server and measure it."),
    "slots": Command("Cluster", "xinfer.cli.slots:slots", "Show workers, their devices and what runs on them."),
    "top": Command("Cluster", "xinfer.cli.top:top", "Watch how busy devices and replicas are."),
    "events": Command("Cluster", "xinfer.cli.events:events", "Show what happened, and what happens."),
    "drain": Command("Cluster", "xinfer.cli.drain:drain", "Empty a worker: its replicas move to others."),
    "upgrade": Command("Cluster", "xinfer.cli.upgrade:upgrade", "Let a worker take up new code while its replicas serve on."),
    "rebalance": Command("Cluster", "xinfer.cli.rebalance:rebalance", "Move replicas so that others find room."),
    "key": Command("Cluster", "xinfer.cli.keys:key", "Make, list and revoke API keys."),
    "version": Command("Cluster", "xinfer.cli.version:version", "Print the version."),
}

cli = LazyGroup(
    name="xinfer",
    help="Serve models on many GPUs and many machines.",
    commands=COMMANDS,
    epilog="\b\nStart with `xinfer serve`, then\n`xinfer launch -n ms-marco-MiniLM-L-12-v2 -r 2`.",
)


def main() -> None:
    """`xinfer`."""
    cli.main(prog_name="xinfer")


def supervisor_main() -> None:
    """`xinfer-supervisor` = `xinfer supervisor`."""
    cli.main(args=["supervisor", *sys.argv[1:]], prog_name="xinfer")


def worker_main() -> None:
    """`xinfer-worker` = `xinfer worker`."""
    cli.main(args=["worker", *sys.argv[1:]], prog_name="xinfer")


def local_main() -> None:
    """`xinfer-local` = `xinfer serve`."""
    cli.main(args=["serve", *sys.argv[1:]], prog_name="xinfer")
