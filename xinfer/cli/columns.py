"""The columns of every listing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from xinfer.cli.output import Column, Row, flat, gibibytes


def moment(seconds: float) -> str:
    """Unix seconds as date and time here."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def second(seconds: float) -> str:
    """Unix seconds as the time of day here."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _device(row: Row) -> str:
    """The device as the replica reports it; empty before it has loaded."""
    names = [str(device.get("name", "")) for device in row.get("devices") or ([row["device"]] if row.get("device") else [])]
    return ", ".join(names)


def _phase(row: Row) -> Any:
    return row.get("phase") or str(row.get("status", "")).lower()


REPLICAS = (
    Column("replica", lambda r: r["replica_model_uid"]),
    Column("slot", lambda r: r.get("slot")),
    Column("device", _device, drop=2),
    Column("phase", _phase, styled=True),
    Column("engine", lambda r: r.get("engine"), drop=6),
    Column("dtype", lambda r: r.get("dtype"), drop=8),
    Column("memory", lambda r: r.get("used_bytes") or r.get("reserved_bytes"), gibibytes, right=True, drop=7),
    Column("queue", lambda r: r.get("queue"), right=True, drop=3),
    Column("in_flight", lambda r: r.get("in_flight"), right=True, drop=5),
    Column("restarts", lambda r: r.get("restarts"), right=True, drop=4),
    Column("pid", lambda r: r.get("pid"), right=True, drop=1),
)
STARTED = tuple(column for column in REPLICAS if column.header not in ("queue", "in_flight", "restarts"))
"""Of a launch that has just ended."""

MODELS = (
    Column("model", lambda r: r["id"]),
    Column("name", lambda r: r.get("model_name"), drop=2),
    Column("type", lambda r: r.get("model_type")),
    Column("engine", lambda r: r.get("model_engine"), drop=3),
    Column("dtype", lambda r: r.get("dtype"), drop=4),
    Column("ready", lambda r: f"{r.get('ready_replicas', 0)}/{r.get('replica', 0)}", right=True),
    Column("status", lambda r: str(r.get("status", "")).lower(), styled=True),
)

DEVICES = (
    Column("slot", lambda r: r["slot"]),
    Column("device", lambda r: r.get("name"), drop=3),
    Column("worker", lambda r: r.get("state"), styled=True, drop=1),
    Column("host", lambda r: r.get("host"), drop=6),
    Column("total", lambda r: r.get("total_bytes"), gibibytes, right=True, drop=5),
    Column("reserved", lambda r: r.get("reserved_bytes"), gibibytes, right=True, drop=4),
    Column("free", lambda r: r.get("free_bytes"), gibibytes, right=True),
    Column(
        "replicas",
        lambda r: [f"{it['replica_model_uid']} ({it['phase']})" for it in r["replicas"]] or None,
        lambda v: "\n".join(map(flat, v)),
        text="fold",
        enough=44,
    ),
)


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


TOP = (
    Column("slot", lambda r: r["slot"]),
    Column("device", lambda r: r.get("name"), drop=6),
    Column("used", lambda r: r.get("utilization"), _percent, right=True, drop=3),
    Column("free", lambda r: r.get("free_bytes"), gibibytes, right=True, drop=5),
    Column("replica", lambda r: r.get("replica")),
    Column("phase", lambda r: r.get("phase"), styled=True, drop=2),
    Column("queue", lambda r: r.get("queue"), right=True),
    Column("docs/s", lambda r: r.get("items"), _rate, right=True),
    Column("tokens/s", lambda r: r.get("tokens"), _rate, right=True, drop=7),
    Column("busy", lambda r: r.get("busy"), _percent, right=True),
    Column("p50", lambda r: r.get("p50"), _milliseconds, right=True, drop=4),
    Column("p95", lambda r: r.get("p95"), _milliseconds, right=True, drop=1),
)

EVENTS = (
    Column("at", lambda r: f"{r['at']:.3f}", lambda v: second(float(v))),
    Column("level", lambda r: r["level"], styled=True, drop=2),
    Column("id", lambda r: r["id"], drop=1),
    Column("event", lambda r: r["text"], text="fold"),
)


def _what(row: Row) -> Any:
    asked = row["request"]
    return asked.get("model_name") or asked.get("model_path")


def _places(row: Row) -> Any:
    """What the launch said of its replicas' devices; empty = where there was room."""
    asked = row["request"]
    indices = asked.get("gpu_idx")
    listed = indices if isinstance(indices, list) else [] if indices is None else [indices]
    return asked.get("slots") or [f"{asked.get('worker_ip') or ''}@{index}" for index in listed] or asked.get("worker_ip")


LAUNCHES = (
    Column("at", lambda r: f"{r['at']:.3f}", lambda v: moment(float(v))),
    Column("model", lambda r: r["model_uid"]),
    Column("what", _what, drop=1, text="fold"),
    Column("type", lambda r: r["request"].get("model_type"), drop=3),
    Column("engine", lambda r: r["request"].get("model_engine"), drop=4),
    Column("replicas", lambda r: r["request"].get("replica"), right=True),
    Column("places", _places, drop=2, text="fold"),
    Column("id", lambda r: r["id"], right=True, drop=5),
)

WAITING = (
    Column("replica", lambda r: r["replica_model_uid"]),
    Column("model", lambda r: r.get("model_uid"), drop=1),
    Column("phase", lambda r: r.get("phase"), styled=True),
)

PLANNED = (
    Column("replica", lambda r: r["ordinal"], right=True),
    Column("slot", lambda r: r["slot"]),
    Column("device", lambda r: r.get("device_names"), drop=3),
    Column("reserve", lambda r: r.get("reserved_bytes"), gibibytes, right=True, drop=1),
    Column("free_after", lambda r: r.get("free_after_bytes"), gibibytes, right=True, drop=2),
    Column("why", lambda r: r.get("why"), text="fold"),
)

MOVES = (
    Column("replica", lambda r: r["replica_model_uid"]),
    Column("slot", lambda r: r["slot"]),
    Column("to", lambda r: r["to_slot"]),
    Column("memory", lambda r: r.get("reserved_bytes"), gibibytes, right=True, drop=1),
    Column("why", lambda r: r.get("why"), text="fold"),
)

REFUSED = (
    Column("slot", lambda r: r["slot"]),
    Column("refused because", lambda r: r.get("reason"), text="fold"),
    Column("what would help", lambda r: r.get("hint"), drop=1, text="fold"),
)


def _engines(row: Row) -> list[str]:
    return sorted({engine for variant in row.get("model_specs") or () for engine in variant.get("engines") or ()})


FAMILIES = (
    Column("name", lambda r: r["model_name"]),
    Column("type", lambda r: r.get("model_type")),
    Column("engines", _engines, drop=2),
    Column("max_tokens", lambda r: r.get("max_tokens"), right=True, drop=3),
    Column("languages", lambda r: r.get("language"), drop=4),
    Column("description", lambda r: r.get("model_description"), drop=1, text="crop"),
)


def _score(value: float) -> str:
    """Four places; scores near zero keep two figures, so that their order can be seen."""
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


SCORES = (
    Column("score", lambda r: r["relevance_score"], _score, right=True),
    Column("index", lambda r: r["index"], right=True),
    Column("document", lambda r: r["text"], text="crop"),
)

VECTORS = (
    Column("index", lambda r: r["index"], right=True),
    Column("dimensions", lambda r: len(r["embedding"]), right=True),
    Column(
        "vector", lambda r: r["embedding"], lambda v: ", ".join(f"{x:+.4f}" for x in v[:5]) + (", …" if len(v) > 5 else ""), text="crop"
    ),
)

KEYS = (
    Column("key", lambda r: r["name"]),
    Column("id", lambda r: r["id"], drop=2),
    Column("may", lambda r: ["everything"] if r["admin"] else r["allow"], ", ".join, text="fold"),
    Column("state", lambda r: r["state"], styled=True),
    Column("created", lambda r: r["created_at"], moment, drop=1),
    Column("expires", lambda r: r.get("expires_at"), moment),
)
