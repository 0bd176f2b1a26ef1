"""The Celery app and its routes. A message only says "look": the rows say what is to be done."""

from __future__ import annotations

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections
from kombu import Queue

from tasks import transport
from tasks.registry import QUEUES, WORK

RESULT_LINE_CHARS = 4096  # the ids of a whole batch fit, so Flower's search finds each of them

app = Celery("pakka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_queues=[Queue(name) for name in QUEUES],
    task_default_queue="checkout",
    task_routes={work.task: {"queue": work.queue} for work in WORK},
    worker_consumer=f"{transport.__name__}:{transport.Consumer.__name__}",
    imports=("tasks.checkout", "tasks.payments", "tasks.canary", "tasks.signals"),
)
app.Task.resultrepr_maxsize = RESULT_LINE_CHARS


@task_prerun.connect
def _replace_broken_connections(**_signal: object) -> None:
    """Replace a database connection that broke since the last task, as Django does per request."""
    close_old_connections()
