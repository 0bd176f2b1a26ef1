"""A task that does nothing but come to its end."""

from __future__ import annotations

from django.utils import timezone

from shop.telemetry import heartbeats
from tasks.app import app
from tasks.notify import CANARY


@app.task(name=CANARY)
def canary(*, queue: str = "", **_later_arguments: object) -> str:
    """It must have been taken from its queue, have run, and have reached Postgres."""
    heartbeats.beat(heartbeats.CANARY + queue, now=timezone.now())
    return f"came through {queue}"
