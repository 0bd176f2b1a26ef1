"""
The sweeper: finds by `due_at` what no message announced, and rings for it.

A plain process on Postgres, so that the net does not hang from the rope. Run as many copies as you
like: they ring for the same rows, and whoever answers second finds nothing due.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

import django

django.setup()

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django.utils import timezone

from shop.checkout import jobs
from shop.checkout.steps import base, create_razorpay_order, runner
from shop.checkout.steps.expire import EXPIRE
from shop.db import errors
from shop.operations import retention
from shop.payments import inbox, ledger, polling, refunds, webhook_health
from shop.telemetry import exporter, heartbeats
from tasks.app import QUEUES
from tasks.checkout import NEXT_TASK
from tasks.notify import notify_overdue, send_canary
from tasks.payments import (
    CAPTURE,
    CHECK_PAYMENTS,
    RECONCILE_WEBHOOK,
    RESOLVE_ORDERS,
    SEND_REFUNDS,
)
from workers import stop_signals

logger = logging.getLogger("workers.sweeper")

OVERDUE_AFTER = timedelta(seconds=1)  # what is due for less has most likely just been rung for
# After a flash sale thousands of checkouts end unpaid together, and each is looked at twice. Beyond
# so many batches in a sweep the rest of the net has its turn first.
EXPIRY_BATCHES = 10


Notifications = list[tuple[str, dict[str, str]]]  # tasks to notify, each with its ids


def end_unpaid(*, now: datetime) -> Notifications:
    """End what nobody paid in time."""
    return _run_full_batches(EXPIRE, now=now)


def give_up(*, now: datetime) -> Notifications:
    """End what nobody could pay in time."""
    return _run_full_batches(create_razorpay_order.GIVE_UP, now=now)


def _run_full_batches(step: base.JobStep, *, now: datetime) -> Notifications:
    for _ in range(EXPIRY_BATCHES):
        is_full = threading.Event()
        runner.run_local(step, now=now, on_full_batch=is_full.set)
        if not is_full.is_set():
            break
    return []


def overdue_checkouts(*, now: datetime) -> Notifications:
    found = jobs.overdue(list(NEXT_TASK), before=now - OVERDUE_AFTER)
    return [(NEXT_TASK[state], {"checkout_id": str(job_id)}) for state, job_id in found.items()]


def overdue_webhooks(*, now: datetime) -> Notifications:
    event_id = inbox.overdue(before=now - OVERDUE_AFTER)
    return [(RECONCILE_WEBHOOK, {"event_id": event_id})] if event_id else []


def unknown_orders(*, now: datetime) -> Notifications:
    event_id = inbox.overdue_unresolved(before=now - OVERDUE_AFTER)
    return [(RESOLVE_ORDERS, {"event_id": event_id})] if event_id else []


def overdue_polls(*, now: datetime) -> Notifications:
    return _of_checkout(CHECK_PAYMENTS, polling.overdue(before=now - OVERDUE_AFTER))


def overdue_captures(*, now: datetime) -> Notifications:
    return _of_checkout(CAPTURE, ledger.overdue_capture(before=now - OVERDUE_AFTER))


def overdue_refunds(*, now: datetime) -> Notifications:
    return _of_checkout(SEND_REFUNDS, refunds.overdue(before=now - OVERDUE_AFTER))


def _of_checkout(task: str, checkout_id: str | None) -> Notifications:
    return [(task, {"checkout_id": checkout_id})] if checkout_id else []


# What is looked over in a sweep. One part that fails keeps no other from running.
PARTS: tuple[Callable[..., Notifications], ...] = (
    end_unpaid,
    give_up,
    overdue_checkouts,
    overdue_webhooks,
    unknown_orders,
    overdue_polls,
    overdue_captures,
    overdue_refunds,
)


def sweep(*, now: datetime) -> list[str]:
    """
    Look over everything once. Returns the tasks that were notified. A repeat does no harm.

    :raises ExceptionGroup: some parts failed, after all others have run.
    :raises OperationalError, InterfaceError: the database is away.
    """
    notified: list[str] = []
    failures: list[Exception] = []
    for part in PARTS:
        try:
            for task, ids in part(now=now):
                notify_overdue(task, **ids)
                notified.append(task)
        except Exception as error:  # whatever it is, the other parts do not depend on it
            if errors.is_unavailable(error):
                raise
            failures.append(error)
    if failures:
        raise ExceptionGroup("parts of the sweep failed", failures)
    return notified


def listen(*, now: datetime) -> bool:
    """Raise the alarm if webhooks have stopped coming. True if they have."""
    heard = webhook_health.webhook_health(now=now)
    if heard.is_silent:
        logger.error(
            "webhooks are silent: %s payments found by asking, no event since %s;"
            " look at the endpoint in Razorpay's dashboard",
            heard.captured_by_fetch,
            heard.last_event_at,
        )
    return heard.is_silent


def send_canaries(*, now: datetime) -> None:
    """Have a task go through every queue: that somebody works is seen by what gets done."""
    for queue in QUEUES:
        send_canary(queue)


# What is done beside sweeping, and how often. One that raises has its turn again a period later.
PERIODIC_JOBS: tuple[tuple[timedelta, Callable[..., object]], ...] = (
    (timedelta(minutes=1), listen),
    (timedelta(seconds=settings.CANARY_SECONDS), send_canaries),
    (timedelta(minutes=1), retention.prune_some),
)


def _do(work: Callable[..., object], *, now: datetime) -> None:
    """Do it, or log why not. :raises OperationalError, InterfaceError: the database is away."""
    try:
        work(now=now)
    except Exception as error:  # what comes next does not depend on it
        if errors.is_unavailable(error):
            raise
        logger.exception("%s failed", getattr(work, "__name__", work))


def sweep_and_beat(*, now: datetime) -> None:
    """A sweep of which a part fails is no sign of life: an alert names the log."""
    sweep(now=now)
    heartbeats.beat(heartbeats.SWEEPER, now=now)


class Schedule:
    """Whose turn it is among the chores; at first everybody's."""

    def __init__(self) -> None:
        self._next_at: dict[int, datetime] = {}

    def work(self, *, now: datetime) -> None:
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
            logger.warning("the database is away: %s", error)
        except Exception:  # the net must not tear over one row
            logger.exception("sweep raised")
    logger.info("stopped")


if __name__ == "__main__":
    main()
