"""Describe the machine of a run: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis

from workers.stack.services import Services

QUIET_LOAD = 0.5
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def load_average() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def describe(services: Services, *, load_at_start: float) -> dict[str, Any]:
    with psycopg.connect(services.superuser_url) as database:
        settings = {
            name: database.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in ("server_version", *SETTINGS)
        }
    with Redis.from_url(services.redis_url) as redis:
        info = redis.info("server")
    redis_version = info.get("valkey_version") or info["redis_version"]
    shown = {name: row[0] if row else "" for name, row in settings.items()}
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "postgres": shown.pop("server_version"),
        "redis": f"{info.get('server_name', 'redis')} {redis_version}",
        **{name: version(name) for name in ("Django", "celery", "granian")},
        "postgres_settings": shown,
        "load_at_start": load_at_start,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
