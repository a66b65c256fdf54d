"""The REST API for people: one page made of the OpenAPI document. It loads nothing from elsewhere, so it works without the internet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { white-space: pre-wrap; margin: .5rem 0 }
details { border: 1px solid #8884; border-radius: 6px; margin: .4rem 0; padding: .4rem .8rem }
summary { cursor: pointer } summary b { display: inline-block; min-width: 4.5rem }
table { border-collapse: collapse; margin: .5rem 0 } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
h2 { margin-top: 2rem; text-transform: capitalize }
"""


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Every operation with its fields."""
    return HTMLResponse(page(request.app.openapi()))


def page(document: Mapping[str, Any]) -> str:
    """The OpenAPI document as HTML."""
    info, schemas = document["info"], document["components"]["schemas"]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method.upper(), path, operation))
    bodies = [f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in by_tag.items()]
    objects = [
        f'<details id="{escape(name)}"><summary><b>{escape(name)}</b></summary>{_schema(it)}</details>' for name, it in schemas.items()
    ]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    about = "".join(f"<p>{_code(part)}</p>" for part in info["description"].split("\n\n"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>{about}"
        f'<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>{"".join(bodies)}<h2>Objects</h2>{"".join(objects)}</body></html>'
    )


def _code(text: str) -> str:
    """Escaped, with what stands in backquotes as code."""
    parts = escape(text.replace("``", "`"), quote=False).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    lines = [f"<p>{_code(operation.get('description', ''))}</p>"]
    if parameters := operation.get("parameters"):
        rows = [(p["name"], p["in"], _type(p["schema"]), p.get("description", "")) for p in parameters]
        lines.append(_table(rows))
    if content := operation.get("requestBody", {}).get("content"):
        lines.append(f"<p>Body: {_type(next(iter(content.values()))['schema'])}</p>")
    lines.append(f"<p>Answer: {', '.join(_answers(operation['responses'].get('200', {})))}</p>")
    head = f"<summary><b>{method}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}</summary>"
    return f"<details>{head}{''.join(lines)}</details>"


def _answers(reply: Mapping[str, Any]) -> Iterator[str]:
    for kind, content in reply.get("content", {}).items():
        yield f"{_type(content.get('schema', {}))} ({escape(kind)})"


def _schema(schema: Mapping[str, Any]) -> str:
    about = f"<pre>{escape(schema['description'])}</pre>" if schema.get("description") else ""
    required = schema.get("required", ())
    rows = [
        (name, "required" if name in required else "", _type(field), _default(field))
        for name, field in schema.get("properties", {}).items()
    ]
    return about + (_table(rows) if rows else "")


def _default(field: Mapping[str, Any]) -> str:
    return f"default {field['default']}" if field.get("default") not in (None, "", [], {}) else ""


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    """Rows of name, place, type (HTML already) and remark."""
    cells = [f"<tr><td><code>{escape(n)}</code></td><td>{escape(p)}</td><td>{t}</td><td>{escape(r)}</td></tr>" for n, p, t, r in rows]
    return f"<table>{''.join(cells)}</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """A type in words, linked where it is an object of its own."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(member) for member in schema[union]))
    if "enum" in schema or "const" in schema:
        return " | ".join(escape(repr(value)) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "any")))
