"""
The Celery app, where its tasks go, and the doorbell.

A message only says "look": it may be lost, doubled or late. Rows say what is to be done.
"""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections
from kombu import Queue
from kombu.exceptions import OperationalError as BrokerAway

from shop import redis_client
from shop.redis_client import RedisAway
from tasks import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

# A flag that outlives its ring, because the message was lost, keeps others from ringing for this
# long at most. Also the longest a ring waits in a queue before a second one may join it.
RING_SECONDS = 5

RESULT_LINE_CHARS = 4096  # room for the ids of a whole batch, so that Flower finds each of them

app = Celery("pakka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_queues=(Queue("checkout"), Queue("gateway"), Queue("webhooks")),
    task_default_queue="checkout",
    task_routes={
        "checkout.create_razorpay_order": {"queue": "gateway"},
        "checkout.*": {"queue": "checkout"},
        "payments.reconcile_webhook": {"queue": "webhooks"},
        "payments.*": {"queue": "gateway"},
    },
    worker_consumer=f"{broker.__name__}:{broker.Consumer.__name__}",
    imports=("tasks.checkout", "tasks.payments"),
)
app.Task.resultrepr_maxsize = RESULT_LINE_CHARS


@task_prerun.connect
def _check_connection(**_signal: object) -> None:
    """As Django does before a request: a connection that broke since the last task is replaced."""
    close_old_connections()


def ring(task: str, **ids: str) -> None:
    """
    Tell a worker that rows await `task`. Call after the commit that made them due.

    Not sent while an earlier ring of this task is unanswered: whoever answers that takes all that
    is due. A lost ring is late, never fatal: the sweeper finds the rows by their `due_at`. A dead
    broker costs one caller a fifth of a second every five seconds.
    """
    try:
        unanswered = not redis_client.call(
            lambda it: it.set(_flag(task), 1, nx=True, ex=RING_SECONDS)
        )
    except RedisAway:
        return
    if unanswered:
        return
    try:
        app.send_task(task, kwargs=ids)
    except BrokerAway as error:
        redis_client.avoid(error)


def answer(task: str) -> None:
    """
    Say that we look now. Call before looking, so that a ring that comes while we work is sent.
    """
    try:
        redis_client.call(lambda it: it.delete(_flag(task)))
    except RedisAway:
        return  # the flag ends by itself


def _flag(task: str) -> str:
    return f"ring:{task}"
