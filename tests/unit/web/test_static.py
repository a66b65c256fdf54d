"""Pages and assets as a browser gets them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from xinfer.api import errors
from xinfer.web.static import NONCE, PAGES, pages


def client(dist: Path) -> httpx.AsyncClient:
    app = FastAPI(redirect_slashes=False)
    app.include_router(pages(dist))
    app.state.methods = errors.Methods(app.routes)
    errors.install(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    built = tmp_path / "dist"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text(f'<meta name="csp-nonce" content="{NONCE}"><script type="module" src="/assets/a-1.js"></script>')
    (built / "assets" / "a-1.js").write_text("1")
    (tmp_path / "secret.txt").write_text("s")
    return built


async def test_each_copy_of_a_page_has_a_nonce_of_its_own_and_is_asked_for_anew(dist: Path) -> None:
    async with client(dist) as http:
        seen = set()
        for path in ("/", "/launch", "/launches/a/b", "/models/a%2Fb", "/logs"):
            reply = await http.get(path)
            assert reply.status_code == 200, path
            assert reply.headers["cache-control"] == "no-cache"
            (nonce,) = re.findall('content="([^"]+)"', reply.text)
            policy = reply.headers["content-security-policy"]
            assert f"style-src 'self' 'nonce-{nonce}'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy, "nothing from another host"
            seen.add(nonce)
        assert len(seen) == 5
        assert NONCE not in "".join(seen)


async def test_assets_never_change_and_nothing_else_is_given_away(dist: Path) -> None:
    async with client(dist) as http:
        found = await http.get("/assets/a-1.js")
        assert (found.text, found.headers["content-type"].partition(";")[0]) == ("1", "text/javascript")
        assert "immutable" in found.headers["cache-control"]
        for path in (
            "/assets/b.js",
            "/assets/../index.html",
            "/assets/%2e%2e/index.html",
            "/assets/..%2f..%2fsecret.txt",
            "/assets/",
            "/assets/a%5cb",
        ):
            reply = await http.get(path)
            assert reply.status_code == 404, path
            assert "error" in reply.json()


async def test_what_is_no_page_stays_a_json_404(dist: Path) -> None:
    async with client(dist) as http:
        for path in ("/v1/nothing", "/launch/x", "/index.html", "/model", "/favicon.ico"):
            reply = await http.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found"), path
        assert (await http.post("/launch")).status_code == 405


async def test_without_built_pages_one_says_what_is_missing(tmp_path: Path) -> None:
    async with client(tmp_path / "none") as http:
        for path in ("/", "/launch"):
            reply = await http.get(path)
            assert reply.status_code == 200
            assert "scripts/pages" in reply.text
            assert "/docs" in reply.text
        assert (await http.get("/assets/a-1.js")).status_code == 404


def test_the_gate_and_the_router_name_the_same_pages() -> None:
    from xinfer.api.gate import is_page

    assert all(is_page(path.replace("{rest:path}", "x")) for path in PAGES)
    assert not any(is_page(path) for path in ("/v1/models", "/model", "/launchesx", "/metrics", "/status"))
