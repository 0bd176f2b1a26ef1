"""The benchmark's gateway in its own process, so that its CPU time is not the shop's."""

from __future__ import annotations

import json
import os
import random
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Self

from shop.addresses import REPOSITORY
from tests.bench.wire import ask, encode
from workers.stack.environment import FREE_PORTS, is_free
from workers.stack.process import Process

START_SECONDS = 20


class GatewayProcess:
    def __init__(self, log_dir: Path) -> None:
        self.port = free_port()
        self.webhook_secret = secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self.port}"
        log_dir.mkdir(parents=True, exist_ok=True)
        self._process = Process(
            "gateway",
            f"exec {shlex.quote(sys.executable)} -m tests.bench.gateway {self.port}",
            environment={**os.environ, "BENCH_WEBHOOK_SECRET": self.webhook_secret},
            root=REPOSITORY,
            log=log_dir / "bench-gateway.log",
        )

    def __enter__(self) -> Self:
        self._process.start()
        deadline = time.monotonic() + START_SECONDS
        while is_free(self.port):
            if not self._process.is_running or time.monotonic() > deadline:
                raise RuntimeError(f"no gateway:\n{self._process.last_lines()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()

    def set_up(self, *, shop_port: int, delay_ms: int) -> None:
        """Set the shop that receives webhooks, and the delay of Razorpay's routes."""
        self._ask("setup", shop_port=shop_port, delay_ms=delay_ms)

    def burst(self, order_ids: list[str], *, connections: int) -> dict[str, Any]:
        """Capture a payment for each order; send webhooks as fast as the shop takes them."""
        return self._ask("burst", order_ids=order_ids, connections=connections)

    def _ask(self, what: str, **body: object) -> Any:
        reply = ask(self.port, encode("POST", f"/bench/{what}", body=json.dumps(body).encode()))
        if reply.status != 200:
            raise RuntimeError(f"the gateway's {what}: {reply.body.decode()}")
        return reply.json()


def free_port() -> int:
    return next(port for port in random.sample(FREE_PORTS, 100) if is_free(port))
