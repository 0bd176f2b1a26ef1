"""Incoming payments and refunds as Celery tasks: each is one call into the shop."""

from __future__ import annotations

from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.resolve_orders import ResolveOrders
from shop.checkout.steps.send_refunds import SendRefunds
from tasks import run
from tasks.app import app
from tasks.registry import (
    CAPTURE,
    CHECK_PAYMENTS,
    RECONCILE_WEBHOOK,
    RESOLVE_ORDERS,
    SEND_REFUNDS,
)


@app.task(name=RECONCILE_WEBHOOK)
def reconcile_webhook(*, event_id: str = "", **_later_arguments: object) -> str:
    return run.local(RECONCILE_WEBHOOK, ReconcileWebhook(), event_id=event_id)


@app.task(name=RESOLVE_ORDERS)
def resolve_orders(*, event_id: str = "", **_later_arguments: object) -> str:
    return run.remote(RESOLVE_ORDERS, ResolveOrders(), event_id=event_id)


@app.task(name=CHECK_PAYMENTS)
def check_payments(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return run.remote(CHECK_PAYMENTS, CheckPayments(), checkout_id=checkout_id)


@app.task(name=CAPTURE)
def capture(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return run.remote(CAPTURE, CapturePayments(), checkout_id=checkout_id)


@app.task(name=SEND_REFUNDS)
def send_refunds(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return run.remote(SEND_REFUNDS, SendRefunds(), checkout_id=checkout_id)
