"""
Notify workers that rows are due, and coalesce notifications.

A message only says "look": it may be lost, doubled or late. Rows say what is to be done.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from contextlib import suppress
from threading import Lock
from typing import Any

from django.conf import settings
from kombu.exceptions import OperationalError as BrokerUnavailable

from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.telemetry import logs
from tasks.app import app

logger = logging.getLogger(__name__)

# A flag that outlives its ring, because the message was lost, keeps others from ringing for this
# long at most. Also the longest a ring waits in a queue before a second one may join it.
PENDING_SECONDS = 5
_broker_avoided_until = 0.0  # by this process, on the monotonic clock


# Runs of a task, in one process, begin so far apart: each finds what came meanwhile, and a checkout
# costs less the more of them there are. One that is alone does not wait. Who found company will
# find more of it: that waits longer, as far as buyers do not notice.
BATCH_DELAY_SECONDS = 0.05
BATCH_DELAY_SECONDS_PER_ROW = 0.015
MAX_BATCH_DELAY_SECONDS = 0.15
_batch_delays: dict[str, float] = {}  # of each task, in seconds, as its last run has set it
_began: dict[str, float] = {}  # the last run of each task, on the monotonic clock
_waiting: defaultdict[str, Lock] = defaultdict(Lock)  # held by the run that waits for its time
CANARY = "workers.canary"


def notify(task: str, **ids: str) -> None:
    """
    Tell a worker that rows await `task`. Call after the commit that made them due.

    Not sent while an earlier ring of this task is unanswered: whoever answers that takes all that
    is due. A lost ring is late, never fatal: the sweeper finds the rows by their `due_at`. A dead
    broker costs one caller a fifth of a second every five seconds; so does a dead Redis. The id of
    the request that we work for goes along in the message's headers.
    """
    if _set_pending(task, seconds=PENDING_SECONDS):
        _send(task, ids, flag=task)


def notify_overdue(task: str, **ids: str) -> None:
    """
    As `ring`, for rows that should have been taken already. They have a flag of their own: the flag
    of a lost ring would silence this one for as long as it lives. Several sweepers send one.
    """
    if _set_pending(_overdue(task), seconds=PENDING_SECONDS):
        _send(task, ids, flag=_overdue(task))


def send_canary(queue: str) -> None:
    """
    Send a task that does nothing through this queue: whether it comes to its end, its row says.

    Sweepers that do so at once send one. Worth nothing after `CANARY_SECONDS`: canaries do not
    pile up before a worker that is away.
    """
    seconds = settings.CANARY_SECONDS
    flag = f"{CANARY}.{queue}"
    if _set_pending(flag, seconds=max(1, seconds // 2)):
        _send(CANARY, {"queue": queue}, flag=flag, queue=queue, expires=seconds)


def _set_pending(name: str, *, seconds: int) -> bool:
    """Whether we are to send: nobody has a moment ago, and neither Redis nor the broker is away."""
    if time.monotonic() < _broker_avoided_until:
        return False
    try:
        raised = redis_client.call(lambda it: it.set(_flag(name), 1, nx=True, ex=seconds))
    except RedisUnavailable:
        return False
    return bool(raised)


def _send(task: str, ids: dict[str, str], *, flag: str, **options: Any) -> None:
    """
    Send, or leave the broker alone for `REDIS_AVOIDED_SECONDS`. It may be another server than
    Redis, which throttles go on asking; and its `flag` is lowered, or nobody else would ring.
    """
    global _broker_avoided_until  # noqa: PLW0603 - of this process
    headers = {"request_id": logs.current_request_id()}
    try:
        # What Celery would find out for each message stands still: how the arguments look in
        # Flower, and that the queue, which its worker declares, is there.
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
        logger.warning("the broker is away: %r", error)
        _clear_pending(flag)


def begin_run(task: str) -> bool:
    """
    Say that we look now. Call before looking, so that a ring that comes while we work is sent.

    Waits until the pace of this task (`keep_pace`) has passed since its last run began: what comes
    meanwhile is not rung for, and shares the cost of this run. False while another run of it waits
    here: that one will look, and find our rows too, so this one has nothing to do.
    """
    waiting = _waiting[task]
    if not waiting.acquire(blocking=False):
        return False
    try:
        pace_seconds = _batch_delays.get(task, BATCH_DELAY_SECONDS)
        wait_seconds = _began.get(task, -pace_seconds) + pace_seconds - time.monotonic()
        if wait_seconds > 0:
            time.sleep(wait_seconds)
        _began[task] = time.monotonic()
    finally:
        waiting.release()
    # Only now: a run that came while we waited has left its flag to us, and one that rings from
    # here on finds nobody waiting.
    _clear_pending(task, _overdue(task))
    return True


def set_batch_delay(task: str, *, rows: int, limit: int) -> None:
    """
    Set when the next run of this task may begin, from the `rows` that this one found. Who found
    `limit`, as many as one may take, has left some: then at once.
    """
    neighbours = max(0, rows - 1)
    seconds = min(
        BATCH_DELAY_SECONDS + BATCH_DELAY_SECONDS_PER_ROW * neighbours, MAX_BATCH_DELAY_SECONDS
    )
    _batch_delays[task] = seconds if rows < limit else 0.0


def _clear_pending(*names: str) -> None:
    with suppress(RedisUnavailable):  # they end by themselves
        redis_client.call(lambda it: it.delete(*map(_flag, names)))


def _overdue(task: str) -> str:
    return f"{task}.overdue"


def _flag(name: str) -> str:
    return f"ring:{name}"
