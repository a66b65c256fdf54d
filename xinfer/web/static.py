"""Serves the built pages, which are public; the data behind them asks for a key like any other client's.

Assets carry a hash in their name and never change. index.html names them and is asked for anew each time; each copy has a nonce of
its own, the only style tags that the content security policy lets in.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response

from xinfer.errors import NotFound

DIST = Path(str(files("xinfer.web"))) / "dist"
PAGES = ("/launch", "/launches/{rest:path}", "/models/{rest:path}", "/playground", "/logs", "/login")
"""Addresses that the pages' own router knows beside ``/``."""
NONCE = "__NONCE__"
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}

_ABSENT = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>xinfer</title><h1>xinfer</h1>
<p>This server was installed without the web pages, so it has its API only: <a href="/docs">/docs</a> describes it.</p>
<p>In a checkout, <code>scripts/pages</code> builds them; it needs Node.js 20 or newer and npm.</p></html>"""


def policy(nonce: str) -> str:
    """The content security policy of a page: nothing from elsewhere, no inline script, style tags by nonce."""
    return (
        f"default-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def pages(dist: Path = DIST) -> APIRouter:
    """Routes of the pages and their assets; of one page that says what is missing where they were not built."""
    router = APIRouter(include_in_schema=False)

    async def page(rest: str = "") -> Response:
        template = _template(dist)
        nonce = secrets.token_urlsafe(16)
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy(nonce),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return HTMLResponse(_ABSENT if template is None else template.replace(NONCE, nonce), headers=headers)

    async def asset(name: str) -> Response:
        """Only what lies flat in the folder of assets."""
        found = dist / "assets" / name
        if "/" in name or "\\" in name or not found.is_file():
            raise NotFound(f"There is no asset {name[:200]}.")
        return FileResponse(found, headers=FOREVER | {"X-Content-Type-Options": "nosniff"})

    for path in ("/", *PAGES):
        router.add_api_route(path, page, methods=["GET"])
    router.add_api_route("/assets/{name:path}", asset, methods=["GET"])
    return router


@cache
def _template(dist: Path) -> str | None:
    """index.html as it was built, read once; None if it was not."""
    try:
        return (dist / "index.html").read_text()
    except FileNotFoundError:
        return None
