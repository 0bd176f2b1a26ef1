"""
The Celery app, where its tasks go, and the doorbell.

A message only says "look": it may be lost, doubled or late. Rows say what is to be done.
"""

from __future__ import annotations

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections
from kombu import Queue

from tasks import transport

RESULT_LINE_CHARS = 4096  # room for the ids of a whole batch, so that Flower finds each of them

QUEUES = ("checkout", "gateway", "webhooks")

app = Celery("pakka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_queues=[Queue(name) for name in QUEUES],
    task_default_queue="checkout",
    task_routes={
        "checkout.create_razorpay_order": {"queue": "gateway"},
        "checkout.*": {"queue": "checkout"},
        "payments.reconcile_webhook": {"queue": "webhooks"},
        "payments.*": {"queue": "gateway"},
    },
    worker_consumer=f"{transport.__name__}:{transport.Consumer.__name__}",
    imports=("tasks.checkout", "tasks.payments", "tasks.canary", "tasks.signals"),
)
app.Task.resultrepr_maxsize = RESULT_LINE_CHARS


@task_prerun.connect
def _check_connection(**_signal: object) -> None:
    """As Django does before a request: a connection that broke since the last task is replaced."""
    close_old_connections()
