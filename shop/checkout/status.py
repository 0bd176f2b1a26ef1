"""
The status resource: what the buyer is told, and when the storefront polls again.

It is built from one `Snapshot` and nothing else, so every process gives the same answer. Pure.
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
from shop.checkout.states import (
    BUYER_STATUS,
    FINAL,
    OPEN,
    STATES,
    STEP_OF,
    UNPAID_ENDS,
    State,
    Step,
)
from shop.money import format_amount, major_units, rupees
from shop.payments.refunds import RefundStatus

TOO_LATE = "Your payment came after this checkout had ended."
NOT_ACCEPTED = "We could not accept your payment for this order."
REFUND_NOT_SENT = (
    "{amount} could not be sent back to you. Your money is safe: we are looking after it and will"
    " write to you."
)
# Late money is served where the setting LATE_PAYMENT is `fulfil` and the units are free.
PAID_LATE_MESSAGE = (
    "Your payment arrived after {ended}; your order is confirmed. If you do not want it any more,"
    " write to us."
)
CANCELLED_BY_BUYER = "cancelled by the buyer"  # as a transition gives the reason
RETURNED = "We are confirming your payment with the bank. This can take a moment."

# Failures that a new checkout of the same cart may not meet.
RETRYABLE = frozenset({"gateway_unavailable", "internal_error", *holds.REFUSALS})

# After this time without a change, a checkout that awaits payment is polled less often.
PATIENT_AFTER = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class PollInterval:
    """How long the storefront waits before it polls again. `done`: it need not poll."""

    after_ms: int
    done: bool

    @property
    def retry_after_seconds(self) -> int:
        """For the `Retry-After` header, which has whole seconds."""
        return max(1, math.ceil(self.after_ms / 1000))


class Polled(Protocol):
    """What the poll interval depends on."""

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
    Short while a change is close, long while we wait for a person or a bank.

    A checkout takes milliseconds when nothing is wrong, so the first poll comes soon. Each later
    one waits about as long as the buyer has waited already.
    """
    state = State(job.state)
    if state in FINAL:
        return PollInterval(0, done=True)
    if state not in OPEN:
        return PollInterval(60_000, done=False)
    if state is State.AWAITING_PAYMENT:
        if job.returned_at is not None:
            return _growing(now - job.returned_at, first_ms=500, last_ms=10_000)
        waited = now - job.updated_at
        return PollInterval(3_000 if waited < PATIENT_AFTER else 10_000, done=False)
    return _growing(now - job.created_at, first_ms=100, last_ms=5_000)


def _growing(waited: timedelta, *, first_ms: int, last_ms: int) -> PollInterval:
    after_ms = min(max(first_ms, int(waited.total_seconds() * 1000)), last_ms)
    return PollInterval(after_ms, done=False)


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
    return STATES[state].message


def _about_refund(job: Snapshot, refund: dict[str, Any]) -> str:
    """A sentence on the refund, with its amount; empty in states that tell of something else."""
    failed = refund["status"] == RefundStatus.FAILED
    template = REFUND_NOT_SENT if failed else STATES[job.state].refund_message
    if not template:
        return ""
    why = TOO_LATE if _came_from(job, State.REFUNDING) in UNPAID_ENDS else NOT_ACCEPTED
    sentence = template.format(amount=" and ".join(_amounts(_shown(job))), why=why)
    paid = f"{STATES[job.state].message} " if job.state is State.PAID else ""
    return f"{paid}{sentence} Reference: {refund['reference']}."


def _paid_late_after(job: Snapshot) -> str | None:
    """How the checkout had ended before the money came that paid it; None if it came in time."""
    ended = _came_from(job, State.PAID) if job.state is State.PAID else None
    if ended is None or ended not in UNPAID_ENDS:
        return None
    if ended is State.CANCELLED and not _cancelled_by_buyer(job):
        ended = State.FAILED
    return STATES[ended].ended_because


def _cancelled_by_buyer(job: Snapshot) -> bool:
    return any(transition.because == CANCELLED_BY_BUYER for transition in job.transitions)


def _came_from(job: Snapshot, state: State) -> State | None:
    """
    The state before the last transition to `state`; None if there was none.

    Where a late authorisation had opened the checkout again, it is the end before that.
    """
    left = [State(transition.old) for transition in job.transitions if transition.new == state]
    if left[-1:] == [State.AWAITING_PAYMENT]:
        before = _came_from(job, State.AWAITING_PAYMENT)
        return before if before in UNPAID_ENDS else State.AWAITING_PAYMENT
    return left[-1] if left else None


def _shown(job: Snapshot) -> Sequence[RefundView]:
    """The refunds that the buyer is told of: those that failed, or else all."""
    failed = [refund for refund in job.refunds if refund.status == RefundStatus.FAILED]
    return failed or job.refunds


def _amounts(refunds: Sequence[RefundView]) -> list[str]:
    """The sum in each currency, as people write it."""
    sums: Counter[str] = Counter()
    for refund in refunds:
        sums[refund.currency] += refund.amount_paise
    return [format_amount(minor_units, currency) for currency, minor_units in sums.items()]


def _steps(job: Snapshot) -> list[dict[str, Any]]:
    """The timeline. A step is done when the checkout has reached the step's end, however late."""
    started_at: datetime | None = job.created_at
    steps = []
    for state, step in STEP_OF.items():
        ends_in = STATES[state].step_ends_in
        left = _leaving(job, state, ends_in)
        status = _step_status(job, step, left, ends_in) if started_at else "pending"
        steps.append(
            {
                "name": step,
                "status": status,
                "attempts": left.attempts if left else (job.attempts if started_at else 0),
                "started_at": started_at,
                "finished_at": left.at if left else None,
                "error": left.because if left and status == "failed" else None,
            }
        )
        started_at = left.at if left and status == "done" else None
    return steps


def _leaving(job: Snapshot, state: State, ends_in: State | None) -> TransitionView | None:
    """
    The transition that left `state`, best the one to `ends_in`. None while the checkout is in it,
    also if late money has opened it again.
    """
    if job.state == state:
        return None
    found = [each for each in job.transitions if each.old == state or each.new == ends_in]
    return next((each for each in found if each.new == ends_in), found[0] if found else None)


def _step_status(
    job: Snapshot, step: Step, left: TransitionView | None, ends_in: State | None
) -> str:
    if left is not None:
        return "done" if left.new == ends_in else "failed"
    if step is Step.RECONCILE_PAYMENT and job.returned_at is None:
        return "waiting"  # for the buyer
    return "waiting" if job.waiting_for else "running"


def _order(job: Snapshot) -> dict[str, str] | None:
    if job.order_number is None:
        return None
    return {"number": job.order_number, "url": f"/api/orders/{job.order_number}/"}


def _payment(job: Snapshot, *, key_id: str) -> dict[str, Any] | None:
    """What checkout.js needs to open the payment form; None until it can."""
    if job.gateway_order_id is None or job.expires_at is None:
        return None
    failed = job.failed_payment
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
    All that goes back to the buyer, as one sum in minor units of its currency, with the status of
    the refund that is furthest behind. If some refunds failed: only those.
    """
    refunds = _shown(job)
    if not refunds:
        return None
    unfinished = (refund for refund in refunds if refund.status != RefundStatus.PROCESSED)
    last = next(unfinished, refunds[-1])
    minor_units = sum(refund.amount_paise for refund in refunds if refund.currency == last.currency)
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
