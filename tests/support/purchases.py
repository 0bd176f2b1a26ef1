"""Money and staff actions for tests of one buyer's checkouts beside each other."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shop.accounts import User
from shop.catalogue import Variant
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import Terms
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import books
from shop.operations.audit_log import ActionRequest
from shop.orders import Order
from shop.payments import polling
from shop.payments.gateway import Gateway
from shop.payments.ledger import GatewayOrder
from tests.support.events import deliver
from tests.support.shop import (
    ADDRESS,
    make_checkout,
    make_payable,
    post_checkout,
    reload,
    run,
    run_remote,
)
from tests.support.standin import StandIn

OTHER_TERMS = Terms("razorpay", "INR", ADDRESS | {"line1": "13 MG Road"}, ADDRESS)


def order_id(job: CheckoutJob) -> str:
    row = GatewayOrder.objects.get(order=job.order, is_duplicate=False)
    return str(row.gateway_order_id)


def report(
    job: CheckoutJob, standin: StandIn, *, now: datetime, status: str = "captured", **changes: Any
) -> None:
    """A webhook about a new payment comes in, with `changes` to the payment's entity."""
    entity = {"status": status, "captured": status == "captured"} | changes
    deliver(standin.pay(order_id(job), outcome=status), now=now, **entity)


def settle(*, now: datetime) -> None:
    run(ReconcileWebhook(), now=now)


def pay(
    job: CheckoutJob, standin: StandIn, *, now: datetime, status: str = "captured", **changes: Any
) -> None:
    """As `report`; the webhook is handled, too."""
    report(job, standin, now=now, status=status, **changes)
    settle(now=now)


def authorise(job: CheckoutJob, gateway: Gateway, standin: StandIn, *, now: datetime) -> None:
    """Authorise a payment; the shop learns of it by polling."""
    standin.pay(order_id(job), outcome="authorized")
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def cancel(job: CheckoutJob, *, now: datetime) -> None:
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)


def again(buyer: User, gateway: Gateway, *, now: datetime) -> CheckoutJob:
    """The buyer posts the cart once more and gets as far as the payment form."""
    return make_payable(post_checkout(buyer, now=now), gateway, now=now)


def another_checkout(buyer: User, mug: Variant, gateway: Gateway, *, now: datetime) -> CheckoutJob:
    """Another checkout of the same, as if the POST had not been refused."""
    other = make_checkout(mug, now=now)
    CheckoutJob.objects.filter(pk=other.pk).update(owner=buyer)
    job = make_payable(reload(other), gateway, now=now)
    Order.objects.filter(pk=job.order_id).update(owner=buyer)
    return reload(job)


def action_request(buyer: User, *, now: datetime) -> ActionRequest:
    return ActionRequest(by_id=buyer.pk, reason="as the buyer asked", now=now)


def states() -> list[str]:
    return list(CheckoutJob.objects.order_by("created_at").values_list("state", flat=True))


def assert_books_agree() -> None:
    assert not list(books.differences())
