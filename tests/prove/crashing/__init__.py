"""
Processes of the shop that kill themselves, as by kill -9, at a named boundary of their work.

They run the shop's own code. This package wraps its functions from outside: a process that reaches
the boundary `create_razorpay_order:called` while a file of that name is in a directory removes the
file and kills itself. Without files they are ordinary processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

DIRECTORY = "PROVE_DIRECTORY"  # the environment variable that names the directory
CLOCK = "clock"  # the file with the seconds by which their clock is wrong
CRASHES = "crashes"  # the file with a line for each crash

LOCAL_STEPS = ("validate_cart", "create_order", "reconcile_webhook")
LOCAL_POINTS = ("begun", "locked", "processed", "committed", "notified")
REMOTE_STEPS = ("create_razorpay_order", "check_payments", "capture", "send_refunds")
REMOTE_POINTS = ("begun", "claimed", "calling", "called", "recorded", "committed", "notified")
EXPIRY_POINTS = ("locked", "processed", "committed")
WEB_POINTS = ("committing", "committed", "accepted", "received", "notifying", "notified")
SWEEPER_POINTS = ("notifying", "notified")

BOUNDARIES: tuple[str, ...] = (
    *(f"web:{point}" for point in WEB_POINTS),
    *(f"{step}:{point}" for step in LOCAL_STEPS for point in LOCAL_POINTS),
    *(f"{step}:{point}" for step in REMOTE_STEPS for point in REMOTE_POINTS),
    *(f"expire:{point}" for point in EXPIRY_POINTS),
    *(f"sweeper:{point}" for point in SWEEPER_POINTS),
)


def directory() -> Path:
    return Path(os.environ[DIRECTORY])


def reach(boundary: str) -> None:
    """Crash here if that was requested. One process takes the request."""
    with suppress(FileNotFoundError):
        (directory() / boundary).unlink()
        with (directory() / CRASHES).open("a") as crashes:
            crashes.write(f"{boundary}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def after(function: Callable[..., Result], boundary: str) -> Callable[..., Result]:
    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Result:
        result = function(*args, **kwargs)
        reach(boundary)
        return result

    return called


def around(function: Callable[..., Result], before_it: str, after_it: str) -> Callable[..., Result]:
    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Result:
        reach(before_it)
        result = function(*args, **kwargs)
        reach(after_it)
        return result

    return called


class CrashingStep:
    """A step of the shop with a boundary before and after each of its phases."""

    def __init__(self, step: Any) -> None:
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def lock_due(self, **bounds: Any) -> list[Any]:
        due = self._step.lock_due(**bounds)
        if due:
            reach(f"{self._step.name}:locked")
        return due

    def process(self, items: Sequence[Any], **when: Any) -> Any:
        report = self._step.process(items, **when)
        reach(f"{self._step.name}:processed")
        return report

    def claim(self, **bounds: Any) -> list[Any]:
        works = self._step.claim(**bounds)
        if works:
            reach(f"{self._step.name}:claimed")
        return works

    def call(self, gateway: Any, work: Any) -> Any:
        reach(f"{self._step.name}:calling")
        answer = self._step.call(gateway, work)
        reach(f"{self._step.name}:called")
        return answer

    def record(self, answers: Sequence[Any], **when: Any) -> Any:
        report = self._step.record(answers, **when)
        reach(f"{self._step.name}:recorded")
        return report


def crash_in_steps() -> None:
    """Put boundaries around the steps. Call before the first task runs."""
    from shop.checkout.steps import runner

    def crashing(run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def called(step: Any, **rest: Any) -> Any:
            report = run(CrashingStep(step), **rest)
            if report.rows:
                reach(f"{step.name}:committed")
            return report

        return called

    runner.run_local = crashing(runner.run_local)
    runner.run_remote = crashing(runner.run_remote)


def crash_in_tasks() -> None:
    """Put boundaries after the begin of a run and after the notification of the next task."""
    from tasks import run as runs

    begin_run = runs.begin_run

    def begun(task: str) -> bool:
        is_ours = begin_run(task)
        reach(f"{task.partition('.')[2]}:begun")
        return is_ours

    def crashing(run: Callable[..., str]) -> Callable[..., str]:
        @wraps(run)
        def called(task: str, step: Any, **ids: str) -> str:
            line = run(task, step, **ids)
            if line not in {"nothing due", runs.COALESCED}:
                reach(f"{step.name}:notified")
            return line

        return called

    runs.begin_run = begun
    runs.local = crashing(runs.local)
    runs.remote = crashing(runs.remote)


def crash_at_commits() -> None:
    """Put boundaries before and after each commit and each notification."""
    from django.db.backends.base.base import BaseDatabaseWrapper

    from tasks import notify

    BaseDatabaseWrapper.commit = around(  # type: ignore[method-assign]
        BaseDatabaseWrapper.commit, "web:committing", "web:committed"
    )
    notify.notify = around(notify.notify, "web:notifying", "web:notified")


def crash_after_receipts() -> None:
    """Put boundaries after a checkout or webhook is stored and before its notification."""
    from shop.checkout import start
    from shop.payments import inbox

    start.start = after(start.start, "web:accepted")
    inbox.receive = after(inbox.receive, "web:received")


def wrong_clock() -> None:
    """Let the shop's code in this process read a clock that is wrong by the seconds of a file."""
    from django.utils import timezone

    true_now = timezone.now

    def now() -> datetime:
        with suppress(FileNotFoundError, ValueError):
            return true_now() + timedelta(seconds=float((directory() / CLOCK).read_text()))
        return true_now()

    timezone.now = now
