"""Exit status 0 if this container serves: `rest PORT` asks /healthz on loopback, `actor PORT` connects to the container's own address."""

from __future__ import annotations

import socket
import sys
import urllib.request


def main(kind: str, port: int) -> None:
    """Raises OSError where nobody answers within 3 s."""
    if kind == "rest":
        # No proxy of the environment lies between a container and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"http://127.0.0.1:{port}/healthz", timeout=3).close()
    else:
        socket.create_connection((socket.gethostbyname(socket.gethostname()), port), timeout=3).close()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except OSError as error:
        sys.exit(f"{' '.join(sys.argv[1:])}: {error}")
