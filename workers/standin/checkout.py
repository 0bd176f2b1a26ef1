"""A payment through the pay form: from the request to its outcome."""

import hashlib
import hmac
from typing import Literal, get_args

from workers.standin import methods
from workers.standin.account import Account, PaymentRequest
from workers.standin.records import Failure, Order, Payment

Outcome = Literal["paid", "captured", "authorized", "failed", "created"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


def pay(
    account: Account,
    order: Order,
    payment_request: PaymentRequest,
    *,
    outcome: Outcome = "paid",
    failure: Failure | None = None,
    force: bool = False,
) -> Payment:
    """
    Make one payment and take it to `outcome`.

    `paid` captures if the order's or the account's setting says so. `captured` and `authorized`
    ignore that setting.

    :raises ApiError: the order takes no further payment now (unless `force`).
    """
    payment = account.attempt(order, payment_request, force=force)
    if outcome == "created":
        account.wait_for_bank(payment)
    elif outcome == "failed":
        account.fail(payment, failure or methods.DECLINED)
    else:
        authorize(account, payment, capture={"captured": True, "authorized": False}.get(outcome))
    return payment


def authorize(account: Account, payment: Payment, *, capture: bool | None) -> None:
    """
    Authorise a created or failed payment. `capture` of None: as the order's setting says.

    :raises InvalidTransition: it is authorised or further.
    """
    account.authorize(payment)
    if capture is None:
        account.capture_if_automatic(payment)
    elif capture and payment.status == "authorized":
        account.capture(payment)


def signature(payment: Payment, *, key_secret: str) -> str:
    """The signature that proves to the shop that this payment belongs to this order."""
    message = f"{payment.order.id}|{payment.id}"
    return hmac.new(key_secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def handler_fields(payment: Payment, *, key_secret: str) -> dict[str, str]:
    """The three fields that checkout.js hands to the page."""
    return {
        "razorpay_payment_id": payment.id,
        "razorpay_order_id": payment.order.id,
        "razorpay_signature": signature(payment, key_secret=key_secret),
    }


def failure_fields(payment: Payment) -> dict[str, object]:
    """The `error` that checkout.js hands to `payment.failed`."""
    failure = payment.failure or methods.DECLINED
    return {
        "code": failure.code,
        "description": failure.description,
        "source": failure.source,
        "step": failure.step,
        "reason": failure.reason,
        "metadata": {"payment_id": payment.id, "order_id": payment.order.id},
    }
