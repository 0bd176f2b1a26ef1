"""The steps of a checkout as Celery tasks: a call into the shop each, and a ring for the next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from shop.checkout import runner, steps
from shop.checkout.jobs import Report
from shop.checkout.payable import CreateRazorpayOrder
from shop.checkout.states import State
from shop.instruments import BATCHES
from shop.payments.razorpay import RazorpayGateway
from tasks.app import answer, app, keep_pace, ring

VALIDATE_CART = "checkout.validate_cart"
CREATE_ORDER = "checkout.create_order"
CREATE_RAZORPAY_ORDER = "checkout.create_razorpay_order"

LEFT = "left to a run that is about to look"

# Who looks at a checkout that has entered a state.
RINGS: dict[State, str] = {
    State.QUEUED: VALIDATE_CART,
    State.VALIDATED: CREATE_ORDER,
    State.ORDERED: CREATE_RAZORPAY_ORDER,
}


@app.task(name=VALIDATE_CART)
def validate_cart(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return local(VALIDATE_CART, steps.VALIDATE_CART, checkout_id=checkout_id)


@app.task(name=CREATE_ORDER)
def create_order(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return local(CREATE_ORDER, steps.CREATE_ORDER, checkout_id=checkout_id)


@app.task(name=CREATE_RAZORPAY_ORDER)
def create_razorpay_order(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return remote(CREATE_RAZORPAY_ORDER, CreateRazorpayOrder(), checkout_id=checkout_id)


def local(task: str, step: runner.LocalStep[Any], **ids: str) -> str:
    if not answer(task):
        return LEFT
    report = runner.run_local(step, now=timezone.now(), ask_for_help=_ring_again(task, ids))
    keep_pace(task, rows=report.counts.total(), limit=settings.BATCH_SIZE)
    return _ring_onward(task, report)


def remote(task: str, step: runner.RemoteStep[Any, Any], **ids: str) -> str:
    if not answer(task):
        return LEFT
    report = runner.run_remote(
        step,
        gateway=gateway(),
        threads=_threads(),
        clock=timezone.now,
        ask_for_help=_ring_again(task, ids),
    )
    keep_pace(task, rows=report.counts.total(), limit=settings.GATEWAY_BATCH_SIZE)
    return _ring_onward(task, report)


def _ring_again(task: str, ids: dict[str, str]) -> Callable[[], None]:
    return lambda: ring(task, **ids)


def _ring_onward(task: str, report: Report) -> str:
    BATCHES.labels(task).observe(report.counts.total())
    for state, job_id in report.entered.items():
        if state in RINGS:
            ring(RINGS[state], checkout_id=str(job_id))
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
