"""
The status resource: what the buyer is told, and when to ask again.

Built from one snapshot of the rows and nothing else, so every process tells the same story. Pure:
touches no database.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from shop.checkout import holds
from shop.checkout.snapshots import RefundView, Snapshot, TransitionView
from shop.checkout.states import BUYER_STATUS, FINAL, STEP_OF, UNPAID_ENDS, State, Step
from shop.money import format_amount, major_units, rupees
from shop.payments.refunds import RefundStatus

MESSAGES: dict[State, str] = {
    State.QUEUED: "We have your order and are checking your cart.",
    State.VALIDATED: "We are setting your items aside.",
    State.ORDERED: "Your items are set aside. We are preparing the payment.",
    State.AWAITING_PAYMENT: "Your items are set aside. You can pay now.",
    State.PAID: "Paid. Thank you for your order!",
    State.CANCELLED: "This checkout was cancelled. Nothing was charged.",
    State.EXPIRED: (
        "The time to pay ran out and your items are free again. If you did pay after all, your"
        " money is safe: we will notice, and deliver or refund."
    ),
    State.REFUNDING: "Your money is on its way back to you.",
    State.REFUNDED: "Your money was refunded.",
    State.IN_REVIEW: (
        "Your payment reached us, but something about it does not fit. Your money is safe: we are"
        " looking into it and will write to you."
    ),
}
# Where the refund is known: how much, and a reference to ask the bank about.
REFUND_MESSAGES: dict[State, str] = {
    State.REFUNDING: "{why} {amount} is on its way back to you.",
    State.REFUNDED: "{amount} was sent back to you. Banks take up to seven working days.",
}
TOO_LATE = "Your payment came after this checkout had ended."
NOT_ACCEPTED = "We could not accept your payment for this order."
REFUND_NOT_SENT = (
    "{amount} could not be sent back to you. Your money is safe: we are looking after it and will"
    " write to you."
)
# Paid although it had ended: the setting LATE_PAYMENT is `fulfil`, and the units were free.
PAID_LATE: dict[State, str] = {
    State.CANCELLED: "you cancelled",
    State.EXPIRED: "the time to pay had run out",
    State.FAILED: "this checkout had ended",
}
PAID_LATE_MESSAGE = (
    "Your payment arrived after {ended}; your order is confirmed. If you do not want it any more,"
    " write to us."
)
CANCELLED_BY_BUYER = "cancelled by the buyer"  # why a move says that it was made
RETURNED = "We are confirming your payment with the bank. This can take a moment."

# Which failures another try of the same cart can cure.
RETRYABLE = frozenset({"gateway_unavailable", "internal_error", *holds.REFUSALS})

# A form that has been open this long without news is asked about less often.
PATIENT_AFTER = timedelta(minutes=2)

# The steps in the order in which the buyer goes through them, and the move that ends each.
TIMELINE: tuple[tuple[Step, State, State], ...] = (
    (Step.VALIDATE_CART, State.QUEUED, State.VALIDATED),
    (Step.CREATE_ORDER, State.VALIDATED, State.ORDERED),
    (Step.CREATE_RAZORPAY_ORDER, State.ORDERED, State.AWAITING_PAYMENT),
    (Step.RECONCILE_PAYMENT, State.AWAITING_PAYMENT, State.PAID),
)


@dataclass(frozen=True, slots=True)
class PollInterval:
    """When the storefront should ask again. `done`: it need not."""

    after_ms: int
    done: bool

    @property
    def retry_after_seconds(self) -> int:
        """For the header of that name, which knows only whole seconds."""
        return max(1, math.ceil(self.after_ms / 1000))


class Polled(Protocol):
    """What the pace depends on."""

    @property
    def state(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def returned_at(self) -> datetime | None: ...


def poll_interval(job: Polled, *, now: datetime) -> PollInterval:
    """
    Often while something is about to happen, seldom while we wait for a person or a bank.

    A checkout moves in milliseconds when nothing is wrong, so the first look comes soon; after
    that, each look waits about as long as the buyer has waited already.
    """
    state = State(job.state)
    if state in FINAL:
        return PollInterval(0, done=True)
    if state in {State.REFUNDING, State.IN_REVIEW}:
        return PollInterval(60_000, done=False)
    if state is State.AWAITING_PAYMENT:
        if job.returned_at is not None:
            return PollInterval(
                _growing(now - job.returned_at, first_ms=500, last_ms=10_000), done=False
            )
        waited = now - job.updated_at
        return PollInterval(3_000 if waited < PATIENT_AFTER else 10_000, done=False)
    return PollInterval(_growing(now - job.created_at, first_ms=100, last_ms=5_000), done=False)


def _growing(waited: timedelta, *, first_ms: int, last_ms: int) -> int:
    return min(max(first_ms, int(waited.total_seconds() * 1000)), last_ms)


def resource(job: Snapshot, *, key_id: str, now: datetime) -> dict[str, Any]:
    """The whole status of one checkout. Times are datetimes, amounts in rupees and in paise."""
    after = poll_interval(job, now=now)
    refund = _refund(job)
    return {
        "id": str(job.id),
        "status": BUYER_STATUS[job.state],
        "step": STEP_OF.get(job.state),
        "message": _message(job, refund),
        "version": job.version,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "cart_id": job.cart_id,
        "items_count": job.items_count,
        "amount": rupees(job.amount_paise),
        "amount_paise": job.amount_paise,
        "currency": job.currency,
        "steps": _steps(job),
        "order": _order(job),
        "payment": _payment(job, key_id=key_id),
        "paid_late": _paid_late_after(job) is not None,
        "refund": refund,
        "error": _error(job),
        "poll": {"after_ms": after.after_ms, "done": after.done},
        "links": links(job.id),
    }


def links(job_id: uuid.UUID) -> dict[str, str]:
    here = f"/api/checkouts/{job_id}/"
    return {"self": here, "confirm": f"{here}confirm/", "cancel": f"{here}cancel/"}


def _message(job: Snapshot, refund: dict[str, Any] | None) -> str:
    state = job.state
    if state is State.FAILED:
        return job.error_message
    if refund and (sentence := _about_refund(job, refund)):
        return sentence
    if ended := _paid_late_after(job):
        return PAID_LATE_MESSAGE.format(ended=ended)
    if job.waiting_for:
        return job.waiting_for
    if state is State.AWAITING_PAYMENT and job.returned_at is not None:
        return RETURNED
    return MESSAGES[state]


def _about_refund(job: Snapshot, refund: dict[str, Any]) -> str:
    """Empty where the refund is not what the buyer of a checkout in this state has to know."""
    failed = refund["status"] == RefundStatus.FAILED
    template = REFUND_NOT_SENT if failed else REFUND_MESSAGES.get(job.state, "")
    if not template:
        return ""
    why = TOO_LATE if _came_from(job, State.REFUNDING) in UNPAID_ENDS else NOT_ACCEPTED
    sentence = template.format(amount=" and ".join(_amounts(_shown(job))), why=why)
    paid = f"{MESSAGES[job.state]} " if job.state is State.PAID else ""
    return f"{paid}{sentence} Reference: {refund['reference']}."


def _paid_late_after(job: Snapshot) -> str | None:
    """What had happened when the money came that paid it; None if it came in time."""
    ended = _came_from(job, State.PAID) if job.state is State.PAID else None
    if ended not in PAID_LATE:
        return None
    if ended is State.CANCELLED and all(it.because != CANCELLED_BY_BUYER for it in job.transitions):
        return PAID_LATE[State.FAILED]
    return PAID_LATE[ended]


def _came_from(job: Snapshot, state: State) -> State | None:
    """
    The state that was left for `state` when it was last entered; None: it never was. An end that
    late money had opened again is where it came from.
    """
    left = [State(move.old) for move in job.transitions if move.new == state]
    if left[-1:] == [State.AWAITING_PAYMENT]:
        before = _came_from(job, State.AWAITING_PAYMENT)
        return before if before in UNPAID_ENDS else State.AWAITING_PAYMENT
    return left[-1] if left else None


def _shown(job: Snapshot) -> Sequence[RefundView]:
    """The refunds that the buyer is told of: those that failed, or else all."""
    return [it for it in job.sent_back if it.status == RefundStatus.FAILED] or job.sent_back


def _amounts(sent: Sequence[RefundView]) -> list[str]:
    """The sum in each currency, as people write it."""
    sums: Counter[str] = Counter()
    for refund in sent:
        sums[refund.currency] += refund.amount_paise
    return [format_amount(minor_units, currency) for currency, minor_units in sums.items()]


def _steps(job: Snapshot) -> list[dict[str, Any]]:
    """Each step as the moves tell it: what was left by moving on is done, also if it came late."""
    started_at: datetime | None = job.created_at
    steps = []
    for step, at, onward in TIMELINE:
        # A checkout that was opened again is at this step once more, whatever it left it for.
        left = [move for move in job.transitions if move.old == at or move.new == onward]
        left = left if job.state != at else []
        move = next((move for move in left if move.new == onward), left[0] if left else None)
        status = _step_status(job, step, move, onward) if started_at else "pending"
        steps.append(
            {
                "name": step,
                "status": status,
                "attempts": move.attempts if move else (job.attempts if started_at else 0),
                "started_at": started_at,
                "finished_at": move.at if move else None,
                "error": move.because if move and status == "failed" else None,
            }
        )
        started_at = move.at if move and status == "done" else None
    return steps


def _step_status(job: Snapshot, step: Step, move: TransitionView | None, onward: State) -> str:
    if move is not None:
        return "done" if move.new == onward else "failed"
    if step is Step.RECONCILE_PAYMENT and job.returned_at is None:
        return "waiting"  # for the buyer
    return "waiting" if job.waiting_for else "running"


def _order(job: Snapshot) -> dict[str, str] | None:
    if job.order_number is None:
        return None
    return {"number": job.order_number, "url": f"/api/orders/{job.order_number}/"}


def _payment(job: Snapshot, *, key_id: str) -> dict[str, Any] | None:
    """What checkout.js needs to open; there only once it can be opened."""
    if job.gateway_order_id is None or job.expires_at is None:
        return None
    failed = job.failed_try
    return {
        "provider": "razorpay",
        "key_id": key_id,
        "razorpay_order_id": job.gateway_order_id,
        "amount": job.gateway_amount_paise,  # as checkout.js wants it: in paise
        "amount_paise": job.gateway_amount_paise,
        "currency": job.currency,
        "prefill": {
            "name": job.buyer_name,
            "email": job.buyer_email,
            "contact": job.buyer_phone,
        },
        "expires_at": job.expires_at,
        "last_error": failed
        and {
            "code": failed.code,
            "message": failed.message or "The payment did not go through.",
        },
    }


def _refund(job: Snapshot) -> dict[str, Any] | None:
    """
    All that goes back to the buyer, as one sum in minor units of its currency; `status` is that of
    what lags behind most. If some of it failed: only that.
    """
    sent = _shown(job)
    if not sent:
        return None
    last = next((it for it in sent if it.status != RefundStatus.PROCESSED), sent[-1])
    minor_units = sum(it.amount_paise for it in sent if it.currency == last.currency)
    is_final = last.status in {RefundStatus.PROCESSED, RefundStatus.FAILED}
    return {
        "status": last.status if is_final else "pending",
        "amount": float(major_units(minor_units, last.currency)),
        "amount_paise": minor_units,
        "currency": last.currency,
        "reference": last.reference,
        "updated_at": last.updated_at,
    }


def _error(job: Snapshot) -> dict[str, Any] | None:
    if job.state is not State.FAILED:
        return None
    return {
        "code": job.error_code,
        "message": job.error_message,
        "retryable": job.error_code in RETRYABLE,
        "details": job.error_details,
    }
