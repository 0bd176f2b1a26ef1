"""
The sweeper notifies workers of overdue rows, ends unpaid checkouts, and runs periodic jobs.

It finds by `due_at` the rows whose message was lost. It is a plain process on Postgres, so that it
works while Celery does not. Several may run: they notify about the same rows, and a second run of a
task finds nothing due.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

import django

django.setup()

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django.utils import timezone

from shop.checkout.steps import base, create_razorpay_order, runner
from shop.checkout.steps.expire import EXPIRE
from shop.db import errors
from shop.operations import retention
from shop.payments import webhook_health
from shop.telemetry import exporter, heartbeats
from tasks.notify import notify_overdue, send_canary
from tasks.registry import QUEUES, WORK, Work
from workers import stop_signals

logger = logging.getLogger("workers.sweeper")

OVERDUE_AFTER = timedelta(seconds=1)  # rows due for less have most likely just been announced
# After a flash sale thousands of checkouts expire together, and each is handled twice. After this
# many batches the rest of the sweep comes first.
EXPIRY_BATCHES = 10


def end_unpaid(step: base.JobStep, *, now: datetime) -> list[str]:
    """Run `step` over its due checkouts, `EXPIRY_BATCHES` batches at most. Notifies no task."""
    for _ in range(EXPIRY_BATCHES):
        is_full = threading.Event()
        runner.run_local(step, now=now, on_full_batch=is_full.set)
        if not is_full.is_set():
            break
    return []


def announce(work: Work, *, now: datetime) -> list[str]:
    """Notify the task of `work` if one of its rows is overdue. Returns the task, if so."""
    ids = work.overdue(before=now - OVERDUE_AFTER)
    if ids is None:
        return []
    notify_overdue(work.task, **ids)
    return [work.task]


# The parts of a sweep by name. If one fails, the others still run.
PARTS: dict[str, Callable[..., list[str]]] = {
    "expire": partial(end_unpaid, EXPIRE),
    "give_up": partial(end_unpaid, create_razorpay_order.GIVE_UP),
    **{work.task: partial(announce, work) for work in WORK},
}


def sweep(*, now: datetime) -> list[str]:
    """
    Run every part once. Returns the tasks that were notified. A repeat is harmless.

    :raises ExceptionGroup: some parts failed, after all others have run.
    :raises OperationalError, InterfaceError: the database is unavailable.
    """
    notified: list[str] = []
    failures: list[Exception] = []
    for name, part in PARTS.items():
        try:
            notified += part(now=now)
        except Exception as error:  # whatever it is, the other parts do not depend on it
            if errors.is_unavailable(error):
                raise
            error.add_note(f"in the part {name} of the sweep")
            failures.append(error)
    if failures:
        raise ExceptionGroup("parts of the sweep failed", failures)
    return notified


def check_webhooks(*, now: datetime) -> bool:
    """Log an error if webhooks have stopped coming. True if they have."""
    health = webhook_health.webhook_health(now=now)
    if health.are_missing:
        logger.error(
            "no webhooks: %s payments were found by polling, no event since %s;"
            " look at the endpoint in Razorpay's dashboard",
            health.captured_by_fetch,
            health.last_event_at,
        )
    return health.are_missing


def send_canaries(*, now: datetime) -> None:
    """Send a canary through every queue: its heartbeat shows that the queue is served."""
    for queue in QUEUES:
        send_canary(queue)


# Jobs beside the sweep, each with its period. A job that raises runs again a period later.
PERIODIC_JOBS: tuple[tuple[timedelta, Callable[..., object]], ...] = (
    (timedelta(minutes=1), check_webhooks),
    (timedelta(seconds=settings.CANARY_SECONDS), send_canaries),
    (timedelta(minutes=1), retention.prune_some),
)


def _do(work: Callable[..., object], *, now: datetime) -> None:
    """Call `work` and log what it raises. :raises OperationalError, InterfaceError: no database."""
    try:
        work(now=now)
    except Exception as error:  # the next one does not depend on it
        if errors.is_unavailable(error):
            raise
        logger.exception("%s failed", getattr(work, "__name__", work))


def sweep_and_beat(*, now: datetime) -> None:
    """Sweep, and write a heartbeat if no part failed: without one, an alert fires."""
    sweep(now=now)
    heartbeats.beat(heartbeats.SWEEPER, now=now)


class Schedule:
    """When each periodic job runs next. At first all of them are due."""

    def __init__(self) -> None:
        self._next_at: dict[int, datetime] = {}

    def work(self, *, now: datetime) -> None:
        """Run the jobs that are due."""
        for place, (period, job) in enumerate(PERIODIC_JOBS):
            if now >= self._next_at.get(place, now):
                self._next_at[place] = now + period
                _do(job, now=now)


def main() -> None:
    stop = threading.Event()
    stop_signals.set_on_signals(stop)
    logger.info("sweeping every %s s", settings.SWEEP_SECONDS)
    exporter.serve()
    schedule = Schedule()
    while not stop.wait(settings.SWEEP_SECONDS):
        now = timezone.now()
        try:
            close_old_connections()
            _do(sweep_and_beat, now=now)
            schedule.work(now=now)
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database is unavailable: %s", error)
        except Exception:  # one bad row must not end the sweeper
            logger.exception("sweep raised")
    logger.info("stopped")


if __name__ == "__main__":
    main()
