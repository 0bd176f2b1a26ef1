"""A task that only reports that its queue is served."""

from __future__ import annotations

from django.utils import timezone

from shop.telemetry import heartbeats
from tasks.app import app
from tasks.notify import CANARY


@app.task(name=CANARY)
def canary(*, queue: str = "", **_later_arguments: object) -> str:
    """Write a heartbeat for `queue`: a worker took the message, and Postgres answered."""
    heartbeats.beat(heartbeats.CANARY + queue, now=timezone.now())
    return f"came through {queue}"
