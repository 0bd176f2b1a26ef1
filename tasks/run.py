"""Run a step over its due rows for a task, and notify the next task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from shop.checkout.outcomes import RunReport
from shop.checkout.steps import runner
from shop.payments.razorpay.client import RazorpayGateway
from shop.telemetry.instruments import BATCHES
from tasks.notify import begin_run, notify, set_batch_delay
from tasks.registry import NEXT_TASK

COALESCED = "coalesced with a run that is about to start"


def local(task: str, step: runner.LocalStep[Any], **ids: str) -> str:
    """Run a local step once. Returns the task's result, one line; a repeat finds nothing due."""

    def run(on_full_batch: Callable[[], None]) -> RunReport:
        return runner.run_local(step, now=timezone.now(), on_full_batch=on_full_batch)

    return _run(task, run, batch_size=settings.BATCH_SIZE, ids=ids)


def remote(task: str, step: runner.RemoteStep[Any, Any], **ids: str) -> str:
    """As `local`, for a step that calls the gateway."""

    def run(on_full_batch: Callable[[], None]) -> RunReport:
        return runner.run_remote(
            step,
            gateway=gateway(),
            threads=_threads(),
            clock=timezone.now,
            on_full_batch=on_full_batch,
        )

    return _run(task, run, batch_size=settings.GATEWAY_BATCH_SIZE, ids=ids)


def _run(
    task: str,
    run: Callable[[Callable[[], None]], RunReport],
    *,
    batch_size: int,
    ids: dict[str, str],
) -> str:
    if not begin_run(task):
        return COALESCED
    report = run(lambda: notify(task, **ids))
    set_batch_delay(task, rows=report.rows, limit=batch_size)
    BATCHES.labels(task).observe(report.rows)
    for state, job_id in report.entered.items():
        if state in NEXT_TASK:
            notify(NEXT_TASK[state], checkout_id=str(job_id))
    return report.summary()


@cache
def gateway() -> RazorpayGateway:
    """The gateway of this process, with the credentials of the settings."""
    return RazorpayGateway(
        key_id=settings.RAZORPAY_KEY_ID,
        key_secret=settings.RAZORPAY_KEY_SECRET,
        base_url=settings.RAZORPAY_BASE_URL,
        timeout_seconds=settings.GATEWAY_TIMEOUT_SECONDS,
        connections=settings.GATEWAY_CONCURRENCY,
        capture=settings.RAZORPAY_CAPTURE,
    )


@cache
def _threads() -> ThreadPoolExecutor:
    """For gateway calls only: they never use the database."""
    return _Threads(settings.GATEWAY_CONCURRENCY, thread_name_prefix="gateway")


class _Threads(ThreadPoolExecutor):
    """Threads whose log lines carry the ids of the task that submitted the call."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(copy_context().run, call, *args, **kwargs)
