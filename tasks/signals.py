"""
Logs and metrics of every task, from Celery's signals: tasks themselves contain no such code.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import orjson
from celery import Task
from celery.apps import worker as worker_program
from celery.signals import setup_logging, task_postrun, task_prerun, worker_init, worker_ready

from shop.telemetry import exporter, logs
from shop.telemetry.instruments import FAILURES, TASKS, WORKER_STARTS

logger = logging.getLogger("tasks")

_started: ContextVar[float] = ContextVar("started")  # on the performance counter


@setup_logging.connect
def _keep_django_logging(**_signal: object) -> None:
    """Keep Celery from configuring logging: it does not if this signal has a receiver."""


def _write_json(message: str, _stream: object = None) -> None:
    """Write a message of Celery's signal handlers to the log at once, as a line of JSON."""
    line = {"event": message, "level": "info", "logger": "celery.apps.worker"}
    with suppress(OSError):
        os.write(sys.stdout.fileno(), orjson.dumps(line) + b"\n")


@worker_init.connect
def _start_metrics(sender: Any, **_signal: object) -> None:
    WORKER_STARTS.labels(sender.hostname.partition("@")[0]).inc()
    FAILURES.labels("internal_error")  # exists with 0, so that Prometheus sees the first increase
    exporter.serve()
    worker_program.safe_say = _write_json  # type: ignore[attr-defined]


@worker_ready.connect
def _freeze_garbage_collector(**_signal: object) -> None:
    """Exempt everything that was imported from garbage collection, to save CPU time."""
    gc.collect()
    gc.freeze()


@task_prerun.connect
def _begin(task: Task, task_id: str, kwargs: dict[str, Any], **_signal: object) -> None:
    request_id = getattr(task.request, "request_id", None)
    ids = {name: str(value) for name, value in kwargs.items() if name.endswith("_id")}
    logs.begin(task=task.name, task_id=task_id, request_id=str(request_id or ""), **ids)
    _started.set(time.perf_counter())


@task_postrun.connect
def _end(task: Task, state: str, retval: object, **_signal: object) -> None:
    seconds = time.perf_counter() - _started.get()
    outcome = "ok" if state == "SUCCESS" else "failed"
    TASKS.labels(task.name, outcome).observe(seconds)
    if logger.isEnabledFor(logging.INFO):
        fields = {"outcome": outcome, "duration_ms": round(seconds * 1000, 1)}
        if outcome == "ok":
            fields["result"] = str(retval)
        logger.info("task", extra=fields)
    logs.end()
