"""
The health check of a process of the shop, for the stack and for containers:

    python -m workers.health web      # exit code 0: healthy, 1: not

Containers run this every few seconds, so it imports almost nothing: it takes 0.03 s of CPU time,
with an HTTP library or a database driver 0.2 s.

`worker`, `gateway` and `sweeper` answer at METRICS_PORT, from their heartbeats in the database
(shop/telemetry/exporter.py). All processes of a name share a heartbeat: if one of three workers
hangs, this check does not notice it.
"""

import os
import socket
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

# For each process: the variable with its port, and the path to request.
ADDRESSES = {
    "web": ("PORT", "/health/ready"),
    "flower": ("FLOWER_PORT", "{FLOWER_URL_PREFIX}/healthcheck"),
    "standin": ("STANDIN_PORT", "/_standin/health"),
}
HEARTBEATS = {
    name: ("METRICS_PORT", f"/health/{name}") for name in ("worker", "gateway", "sweeper")
}
TIMEOUT_SECONDS = 2


def is_known(name: str) -> bool:
    """Whether process `name` has its own HTTP port, in the stack too."""
    return name in ADDRESSES


def answers(name: str, environ: Mapping[str, str]) -> bool:
    """Whether process `name` on this machine answers 200."""
    variable, path = (ADDRESSES | HEARTBEATS)[name]
    prefix = environ.get("FLOWER_URL_PREFIX", "").strip("/")
    path = path.format(FLOWER_URL_PREFIX=f"/{prefix}" if prefix else "")
    request = f"GET {path} HTTP/1.0\r\nHost: {_host(environ)}\r\n\r\n"
    address = ("127.0.0.1", int(environ[variable]))
    try:
        with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as answer:
                return answer.readline(64).split()[1:2] == [b"200"]
    except OSError:
        return False


def _host(environ: Mapping[str, str]) -> str:
    return urlsplit(environ.get("PUBLIC_URL", "")).hostname or "127.0.0.1"


if __name__ == "__main__":
    sys.exit(not answers(sys.argv[1], os.environ))
