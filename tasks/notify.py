"""
Notify workers that rows are due. Notifications of a task are coalesced:

1. `notify` sets a flag of the task in Redis, and sends a message only if the flag was not set.
2. The run that this message starts clears the flag (`begin_run`) before it looks for due rows. So
   rows that fall due later are announced by a message of their own, and no notification is lost.
3. Runs of a task in one process start a short delay apart (`tasks.batch_delay`). While one run
   waits for its start, the flag stays set and other messages have nothing to do.

A message may be lost, duplicated or late: the sweeper finds overdue rows without it.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from kombu.exceptions import OperationalError as BrokerUnavailable

from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.telemetry import logs
from tasks.app import app
from tasks.batch_delay import BatchDelay
from tasks.registry import WORK

logger = logging.getLogger(__name__)

CANARY = "workers.canary"

# If a message is lost, its flag suppresses others for this long. A message that waits in its queue
# for longer may be joined by a second one.
PENDING_SECONDS = 5

_broker_avoided_until = 0.0  # by this process, on the monotonic clock
_batch_delays = {work.task: BatchDelay(row_weight=work.row_weight) for work in WORK}


def notify(task: str, **ids: str) -> None:
    """
    Notify a worker that rows are due for `task`. Call after the commit that made them due.

    Sends nothing while an earlier notification of the task is pending: its run takes all due rows.
    An unavailable broker or Redis costs the caller a fifth of a second, once in five seconds. The
    message's headers carry the id of the current request into the task.
    """
    if _set_pending(task, seconds=PENDING_SECONDS):
        _send(task, ids, flag=task)


def notify_overdue(task: str, **ids: str) -> None:
    """
    Notify a worker of rows that should have been processed by now. For the sweeper.

    Uses a flag of its own, because the flag of a lost message would suppress this one. Several
    sweepers send one message.
    """
    if _set_pending(_overdue(task), seconds=PENDING_SECONDS):
        _send(task, ids, flag=_overdue(task))


def send_canary(queue: str) -> None:
    """
    Send a task through `queue` that only writes a heartbeat.

    Several sweepers send one. The message expires after `CANARY_SECONDS`, so canaries do not pile
    up while no worker takes from the queue.
    """
    seconds = settings.CANARY_SECONDS
    flag = f"{CANARY}.{queue}"
    if _set_pending(flag, seconds=max(1, seconds // 2)):
        _send(CANARY, {"queue": queue}, flag=flag, queue=queue, expires=seconds)


def begin_run(task: str) -> bool:
    """
    Begin a run of `task`: wait for the batch delay, then clear the pending flag.

    Call before looking for due rows. Returns False if another run of this process waits already:
    that one takes all due rows, so this one has nothing to do.
    """
    if not _batch_delays[task].wait():
        return False
    # After the wait, not before: messages that came while we waited left their flag to this run,
    # and from here on no run waits that could take over a later one.
    _clear_pending(task, _overdue(task))
    return True


def set_batch_delay(task: str, *, rows: int, limit: int) -> None:
    """Set the delay until the next run of `task` in this process; see `BatchDelay.set`."""
    _batch_delays[task].set(rows=rows, limit=limit)


def _set_pending(flag: str, *, seconds: int) -> bool:
    """Set the flag. False if it was set, or if Redis or the broker is unavailable: do not send."""
    if time.monotonic() < _broker_avoided_until:
        return False
    try:
        is_new = redis_client.call(lambda client: client.set(_key(flag), 1, nx=True, ex=seconds))
    except RedisUnavailable:
        return False
    return bool(is_new)


def _clear_pending(*flags: str) -> None:
    with suppress(RedisUnavailable):  # the flags expire
        redis_client.call(lambda client: client.delete(*map(_key, flags)))


def _send(task: str, ids: dict[str, str], *, flag: str, **options: Any) -> None:
    """
    Send the message. If the broker is unavailable, avoid it for `REDIS_AVOIDED_SECONDS` and clear
    `flag`, which would suppress the notifications of other processes.

    The broker may be another server than Redis, so Redis itself is not avoided: throttles use it.
    """
    global _broker_avoided_until  # noqa: PLW0603 - of this process
    headers = {"request_id": logs.current_request_id()}
    try:
        # Given here, because Celery would compute them for every message: the arguments as Flower
        # shows them, and the declaration of the queue, which the worker has declared.
        app.send_task(
            task,
            kwargs=ids,
            headers=headers,
            argsrepr="()",
            kwargsrepr=repr(ids),
            declare=[],
            **options,
        )
    except BrokerUnavailable as error:
        _broker_avoided_until = time.monotonic() + settings.REDIS_AVOIDED_SECONDS
        logger.warning("the broker is unavailable: %r", error)
        _clear_pending(flag)


def _overdue(task: str) -> str:
    return f"{task}.overdue"


def _key(flag: str) -> str:
    return f"pending:{flag}"
