"""One visit of a buyer to the pay form: from the tender to the outcome."""

import hashlib
import hmac
from typing import Literal, get_args

from workers.standin import methods
from workers.standin.records import Failure, Order, Payment
from workers.standin.world import Tender, World

Outcome = Literal["paid", "captured", "authorized", "failed", "created"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


def pay(
    world: World,
    order: Order,
    tender: Tender,
    *,
    outcome: Outcome = "paid",
    failure: Failure | None = None,
    force: bool = False,
) -> Payment:
    """
    Make one payment and take it to `outcome`.

    `paid` leaves the capture to the order's own setting; `captured` and `authorized`
    are as they say, whatever the setting.

    :raises ApiError: the order takes no further payment now (unless `force`).
    """
    payment = world.attempt(order, tender, force=force)
    if outcome == "created":
        world.leave(payment)
    elif outcome == "failed":
        world.fail(payment, failure or methods.DECLINED)
    else:
        authorize(world, payment, capture={"captured": True, "authorized": False}.get(outcome))
    return payment


def authorize(world: World, payment: Payment, *, capture: bool | None) -> None:
    """
    Authorise, now or late. `capture` of `None` leaves that to the order's setting.

    :raises IllegalMove: it is authorised or further.
    """
    world.authorize(payment)
    if capture is None:
        world.settle_as_ordered(payment)
    elif capture and payment.status == "authorized":
        world.capture(payment)


def signature(payment: Payment, *, key_secret: str) -> str:
    """What proves to the shop that this payment was made on this order."""
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
