"""Whether a model hub can be reached from here, asked before a launch decides which files to use."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from xinfer.sources.hub import hubs_offline

CONNECT = 2.0
MODELSCOPE = "www.modelscope.cn"
"""As in the client's constants, which cannot be imported here: they bring torch."""
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def hub_in_reach(env: Mapping[str, str], connects: Callable[[str, int], bool] | None = None) -> bool:
    """True if some hub accepts a connection, or if a proxy stands between (it cannot be judged then). Blocks up to 2 s a hub."""
    if hubs_offline(env):
        return False
    if any(env.get(name) for name in _PROXIES):
        return True
    return any((connects or _connects)(host, port) for host, port in _endpoints(env))


def _endpoints(env: Mapping[str, str]) -> list[tuple[str, int]]:
    from huggingface_hub import constants

    urls = [env.get("HF_ENDPOINT") or str(constants.ENDPOINT)]
    if importlib.util.find_spec("modelscope") is not None:
        urls.append(f"https://{env.get('MODELSCOPE_DOMAIN') or MODELSCOPE}")
    parts = [urlsplit(url) for url in urls]
    return [(p.hostname, p.port or (80 if p.scheme == "http" else 443)) for p in parts if p.hostname]


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=CONNECT).close()
    except OSError:
        return False
    return True
