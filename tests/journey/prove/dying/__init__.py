"""
Processes of the shop that die, as by kill -9, at a boundary of their work that has a name.

The processes are the product's own; around its functions are put here, from outside, looks into a
directory: a process that reaches the boundary `create_razorpay_order:called` while a file of that
name lies there takes the file away and kills itself. Without files they are ordinary processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

DIRECTORY = "PROVE_DIRECTORY"  # the environment variable that names the directory
CLOCK = "clock"  # the file with the seconds by which the clock of these processes is wrong
DEATHS = "deaths"  # the file with a line for each death

LOCAL_STEPS = ("validate_cart", "create_order", "reconcile_webhook")
LOCAL_POINTS = ("answered", "locked", "carried", "committed", "rung")
REMOTE_STEPS = ("create_razorpay_order", "check_payments", "capture", "send_refunds")
REMOTE_POINTS = ("answered", "claimed", "calling", "called", "recorded", "committed", "rung")
EXPIRY_POINTS = ("locked", "carried", "committed")
WEB_POINTS = ("committing", "committed", "accepted", "received", "ringing", "rung")
SWEEPER_POINTS = ("ringing", "rung")

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
    """Die here if that was ordered. Of several processes that come by, one takes the order."""
    with suppress(FileNotFoundError):
        (directory() / boundary).unlink()
        with (directory() / DEATHS).open("a") as deaths:
            deaths.write(f"{boundary}\n")
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


class DyingStep:
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

    def carry(self, items: Sequence[Any], **when: Any) -> Any:
        report = self._step.carry(items, **when)
        reach(f"{self._step.name}:carried")
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


def mortal_steps() -> None:
    """Put boundaries around the steps. Call before the first task runs."""
    from shop.checkout import runner

    def dying(run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def called(step: Any, **rest: Any) -> Any:
            report = run(DyingStep(step), **rest)
            if report.counts:
                reach(f"{step.name}:committed")
            return report

        return called

    runner.run_local = dying(runner.run_local)
    runner.run_remote = dying(runner.run_remote)


def mortal_tasks() -> None:
    """Boundaries around what a task does beside its step: answer its ring, ring for the next."""
    from tasks import checkout, payments

    answer = checkout.answer

    def answered(task: str) -> bool:
        is_ours = answer(task)
        reach(f"{task.partition('.')[2]}:answered")
        return is_ours

    def dying(carry: Callable[..., str]) -> Callable[..., str]:
        @wraps(carry)
        def called(task: str, step: Any, **ids: str) -> str:
            line = carry(task, step, **ids)
            if line not in {"nothing due", checkout.LEFT}:
                reach(f"{step.name}:rung")
            return line

        return called

    checkout.answer = answered
    # Each of the modules has taken the names for its own by now: the admin imports them.
    checkout.local = payments.local = dying(checkout.local)
    checkout.remote = payments.remote = dying(checkout.remote)


def mortal_commits() -> None:
    """Boundaries before and after every commit of a transaction, and around every ring."""
    from django.db.backends.base.base import BaseDatabaseWrapper

    app = import_module("tasks.app")  # `tasks.app` by its name is the Celery app in that module
    BaseDatabaseWrapper.commit = around(  # type: ignore[method-assign]
        BaseDatabaseWrapper.commit, "web:committing", "web:committed"
    )
    app.ring = around(app.ring, "web:ringing", "web:rung")


def mortal_receipts() -> None:
    """Boundaries where a checkout or a webhook is in the database and nobody has been told."""
    from shop.checkout import accept
    from shop.payments import inbox

    accept.accept = after(accept.accept, "web:accepted")
    inbox.receive = after(inbox.receive, "web:received")


def wrong_clock() -> None:
    """Let the shop's code in this process read a clock that is wrong by what the file says."""
    from django.utils import timezone

    true_now = timezone.now

    def now() -> datetime:
        with suppress(FileNotFoundError, ValueError):
            return true_now() + timedelta(seconds=float((directory() / CLOCK).read_text()))
        return true_now()

    timezone.now = now
