"""The steps of a checkout as Celery tasks: a call into the shop each, and a ring for the next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from shop.checkout.outcomes import RunReport
from shop.checkout.states import STATES, State
from shop.checkout.steps import runner
from shop.checkout.steps.create_order import CREATE_ORDER as CREATE_ORDER_STEP
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.validate_cart import VALIDATE_CART as VALIDATE_CART_STEP
from shop.payments.razorpay.client import RazorpayGateway
from shop.telemetry.instruments import BATCHES
from tasks.app import app
from tasks.notify import begin_run, notify, set_batch_delay

VALIDATE_CART = "checkout.validate_cart"
CREATE_ORDER = "checkout.create_order"
CREATE_RAZORPAY_ORDER = "checkout.create_razorpay_order"

COALESCED = "left to a run that is about to look"

# The task that handles a checkout in this state.
NEXT_TASK: dict[State, str] = {state: info.task for state, info in STATES.items() if info.task}


@app.task(name=VALIDATE_CART)
def validate_cart(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return local(VALIDATE_CART, VALIDATE_CART_STEP, checkout_id=checkout_id)


@app.task(name=CREATE_ORDER)
def create_order(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return local(CREATE_ORDER, CREATE_ORDER_STEP, checkout_id=checkout_id)


@app.task(name=CREATE_RAZORPAY_ORDER)
def create_razorpay_order(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return remote(CREATE_RAZORPAY_ORDER, CreateRazorpayOrder(), checkout_id=checkout_id)


def local(task: str, step: runner.LocalStep[Any], **ids: str) -> str:
    if not begin_run(task):
        return COALESCED
    report = runner.run_local(step, now=timezone.now(), on_full_batch=_notify_again(task, ids))
    set_batch_delay(task, rows=report.rows, limit=settings.BATCH_SIZE)
    return _notify_next(task, report)


def remote(task: str, step: runner.RemoteStep[Any, Any], **ids: str) -> str:
    if not begin_run(task):
        return COALESCED
    report = runner.run_remote(
        step,
        gateway=gateway(),
        threads=_threads(),
        clock=timezone.now,
        on_full_batch=_notify_again(task, ids),
    )
    set_batch_delay(task, rows=report.rows, limit=settings.GATEWAY_BATCH_SIZE)
    return _notify_next(task, report)


def _notify_again(task: str, ids: dict[str, str]) -> Callable[[], None]:
    return lambda: notify(task, **ids)


def _notify_next(task: str, report: RunReport) -> str:
    BATCHES.labels(task).observe(report.rows)
    for state, job_id in report.entered.items():
        if state in NEXT_TASK:
            notify(NEXT_TASK[state], checkout_id=str(job_id))
    return report.summary()


@cache
def gateway() -> RazorpayGateway:
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
    """For gateway calls only: they never touch the database."""
    return _Threads(settings.GATEWAY_CONCURRENCY, thread_name_prefix="gateway")


class _Threads(ThreadPoolExecutor):
    """What they write to the log carries the ids of whoever asked them."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(copy_context().run, call, *args, **kwargs)
