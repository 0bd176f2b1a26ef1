"""
What is seen of tasks from outside: logs with their ids, counts and times. Celery's own signals, so
that no task has to think of it.
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

_began: ContextVar[float] = ContextVar("began")  # on the performance counter


@setup_logging.connect
def _leave_logging_alone(**_signal: object) -> None:
    """Django has set it up. That somebody listens here keeps Celery from adding its own."""


def _say_as_json(message: str, _stream: object = None) -> None:
    """Celery's last words, of a signal handler: written at once, as a line of the log."""
    line = {"event": message, "level": "info", "logger": "celery.apps.worker"}
    with suppress(OSError):
        os.write(sys.stdout.fileno(), orjson.dumps(line) + b"\n")


@worker_init.connect
def _show_metrics(sender: Any, **_signal: object) -> None:
    WORKER_STARTS.labels(sender.hostname.partition("@")[0]).inc()
    FAILURES.labels("internal_error")  # from nothing to one is no increase, from zero to one is
    exporter.serve()
    worker_program.safe_say = _say_as_json  # type: ignore[attr-defined]


@worker_ready.connect
def _keep_what_was_imported(**_signal: object) -> None:
    """The garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@task_prerun.connect
def _begin(task: Task, task_id: str, kwargs: dict[str, Any], **_signal: object) -> None:
    request_id = getattr(task.request, "request_id", None)
    ids = {name: str(value) for name, value in kwargs.items() if name.endswith("_id")}
    logs.begin(task=task.name, task_id=task_id, request_id=str(request_id or ""), **ids)
    _began.set(time.perf_counter())


@task_postrun.connect
def _end(task: Task, state: str, retval: object, **_signal: object) -> None:
    seconds = time.perf_counter() - _began.get()
    outcome = "ok" if state == "SUCCESS" else "failed"
    TASKS.labels(task.name, outcome).observe(seconds)
    if logger.isEnabledFor(logging.INFO):
        fields = {"outcome": outcome, "duration_ms": round(seconds * 1000, 1)}
        if outcome == "ok":
            fields["result"] = str(retval)
        logger.info("task", extra=fields)
    logs.end()
