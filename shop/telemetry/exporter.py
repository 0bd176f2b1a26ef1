"""
The HTTP server on METRICS_PORT, for processes that are no web server: workers and the sweeper.

    GET /metrics          the counts of the processes on this machine
    GET /health/worker    200 while the heartbeats of that process are fresh, else 503

It needs no password, so the port must not be reachable from outside the private network.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shop.telemetry import heartbeats, metric_files

HEALTH = "/health/"


class Counted(Collector):
    """The counts of all processes on this machine."""

    def collect(self) -> Iterable[Metric]:
        return metric_files.read(Path(settings.METRICS_DIR))


def serve() -> WSGIServer | None:
    """Serve METRICS_PORT in a daemon thread. None, and no server, if METRICS_PORT is 0."""
    if not settings.METRICS_PORT:
        return None
    host = os.environ.get("HOST", "127.0.0.1")
    server = make_server(host, settings.METRICS_PORT, application(), _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="metrics port", daemon=True).start()
    return server


def application() -> Callable[..., Iterable[bytes]]:
    registry = CollectorRegistry()
    registry.register(Counted())
    show_metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(HEALTH):
            return show_metrics(environ, start_response)
        is_fresh = _is_fresh(path.removeprefix(HEALTH))
        status = "200 OK" if is_fresh else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain")])
        return [b"ok\n" if is_fresh else b"silent\n"]

    return answer


def _is_fresh(process: str) -> bool:
    try:
        return heartbeats.are_fresh(process, now=timezone.now())
    except Error:
        return False
    finally:
        connection.close()  # each request has a thread of its own


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Do not log requests: probes come every few seconds."""
