"""
Staff actions: what staff may do to a checkout, its money and its webhooks. One function each.

Each action runs in a transaction of its own and takes an `ActionRequest`, which is carried out once
however often it is sent. It adds one entry to the audit log, or raises and changes nothing. It
locks the job first, as all code does. No action calls Razorpay: actions make rows due, and
`tasks.staff_actions.notify_for` wakes the worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet

from shop import stock
from shop.checkout import jobs, purchase, settle
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance
from shop.checkout.states import CAPTURABLE, OPEN, STATES, State
from shop.money import format_amount
from shop.operations import audit_log
from shop.operations.audit_log import Action, ActionRefused, ActionRequest, AuditEntry
from shop.orders import Order
from shop.payments import cases, inbox, ledger, polling, refunds
from shop.payments.cases import DECIDED_IN_REVIEW, Case, CaseKind
from shop.payments.ledger import Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundStatus

ONLY_AUTHORISED = "A payment is only authorised. Capture it first, or wait until it lapses."
NEEDS_DECISION = "Its checkout is in review. There, accept the money or refund everything."


def retry(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Make the next step of a checkout due now and reset its attempts.

    :raises ActionRefused: the checkout waits for the buyer or has ended, or a worker processes it.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job = jobs.lock_one(job_id)
        state = State(job.state)
        if not_retryable := STATES[state].not_retryable:
            raise ActionRefused(not_retryable.format(code=job.error_code))
        if job.claim and job.due_at and job.due_at > by.now:
            raise ActionRefused("A worker is processing this checkout. Look again in a minute.")
        jobs.make_due(job, now=by.now)
        return _record(
            by, Action.RETRY, job, f"due now in state {state}, after {job.attempts} attempts"
        )


def poll(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Make the poll of a checkout's Razorpay orders, duplicates included, due now.

    :raises ActionRefused: the checkout has no Razorpay order.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job = jobs.lock_one(job_id)
        rows = ledger.GatewayOrder.objects.filter(order_id=job.order_id or 0)
        known = [row.gateway_order_id for row in rows if row.gateway_order_id]
        if job.order_id is None or not known:
            raise ActionRefused(
                "This checkout has no Razorpay order yet. There is nothing to ask about."
            )
        polling.poll_now([job.order_id], now=by.now)
        return _record(by, Action.POLL, job, f"Razorpay will be asked about {', '.join(known)}")


def cancel(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Cancel an unpaid checkout and release its units.

    :raises ActionRefused: the checkout is not open, or a payment is in progress.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job = jobs.lock_one(job_id)
        state = State(job.state)
        if purchase.with_money([job], now=by.now):
            raise ActionRefused(
                "A payment is in progress or received. It cannot be cancelled any more."
            )
        if state not in OPEN:
            raise ActionRefused(f"A checkout that is {state} cannot be cancelled.")
        jobs.apply([(job, Advance(State.CANCELLED, "cancelled by the shop"))], now=by.now)
        return _record(by, Action.CANCEL, job, f"cancelled while {state}, units released")


def capture(payment_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Make the capture of an authorised payment due now.

    :raises ActionRefused: the payment is not authorised, or its checkout has ended and would refund
        the money.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        payment = Payment.objects.select_for_update(no_key=True).get(pk=payment_id)
        if payment.status != PaymentStatus.AUTHORIZED:
            raise ActionRefused(
                f"This payment is {payment.status}. Only an authorised one can be captured."
            )
        order_id = payment.gateway_order.order_id
        state = State(CheckoutJob.objects.get(order_id=order_id).state)
        if state not in CAPTURABLE:
            raise ActionRefused(
                f"Its checkout is {state}, so captured money would be refunded. If you do nothing,"
                " the bank releases the money to the buyer, without a fee."
            )
        ledger.retry_capture(payment, at=by.now)
        return audit_log.record(
            by,
            Action.CAPTURE,
            subject=f"payment {payment.gateway_payment_id}",
            outcome=f"capture of {_amount(payment)} is due now",
            checkout_id=_checkout_of(order_id),
        )


# --- refunds -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refunded:
    refund: Refund
    entry: AuditEntry


def refund(order: Order, *, amount_paise: int | None, by: ActionRequest) -> Refunded:
    """
    Refund `amount_paise` of a paid order; None means everything that is left.

    The admin and the API call this. The refund gets the key of the request.

    :raises RefundRefused: the order is not paid, or less is left than `amount_paise`.
    """
    with transaction.atomic():
        jobs.lock(order_ids=[order.pk])  # the second of two repeats waits here
        audit_log.refuse_repeat(by)
        created = refunds.create_by_staff(
            order,
            amount_paise=amount_paise,
            note=by.reason[:300],
            by_id=by.by_id,
            now=by.now,
            key=by.key.hex,
        )
        entry = audit_log.record(
            by,
            Action.REFUND,
            subject=f"order {order.number}",
            outcome=_refunding([created]),
            checkout_id=_checkout_of(order.pk),
        )
    return Refunded(created, entry)


def resend_refund(refund_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Replace a failed refund by a new one of the same amount, and close the case of the failure.

    :raises ActionRefused: its checkout is in review: the decision covers all of its money.
    :raises RefundRefused: the refund has not failed, or less than its amount is left.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        failed = Refund.objects.select_related("payment__gateway_order").get(pk=refund_id)
        order_id = failed.payment.gateway_order.order_id
        for job in jobs.lock(order_ids=[order_id]):
            if job.state == State.IN_REVIEW:
                raise ActionRefused(NEEDS_DECISION)
        replacement = refunds.retry_failed(failed, note=by.reason, by_id=by.by_id, now=by.now)
        _close(Case.objects.filter(kind=CaseKind.REFUND_FAILED, reference=failed.key), by)
        return audit_log.record(
            by,
            Action.RESEND,
            subject=f"refund {failed.key}",
            outcome=_refunding([replacement]),
            checkout_id=_checkout_of(order_id),
        )


# --- decisions -----------------------------------------------------------------------------------


def accept_money(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Accept a captured payment of a checkout in review, whatever its amount: the order becomes paid,
    its units are sold, its cases are closed. Its other captured payments are refunded.

    Cancels competing checkouts of the buyer (`purchase`) that are open and have no money.

    :raises ActionRefused: no captured payment is whole, the units are sold out, or the buyer has
        bought or is paying for the same in another checkout.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job, order, others = _in_review(job_id)
        money = _captured(order)
        left_paise = refunds.refundable_paise(money)
        whole = [payment for payment in money if left_paise[payment.pk] == payment.amount_paise]
        if not whole:
            raise ActionRefused(_why_nothing_to_accept(order, money))
        _hold_units_alone(job, order, others, by=by)
        accepted = min(whole, key=lambda payment: payment.amount_paise != order.amount_paise)
        surplus = [payment for payment in money if payment != accepted]
        settle.serve(job, accepted, surplus, because="accepted by the shop", now=by.now)
        # `serve` makes one refund a payment. Where that one has failed, this makes another.
        refunds.refund_all(surplus, note=by.reason, by_id=by.by_id, now=by.now)
        closed = _close(_cases_of(order), by)
        return _record(
            by,
            Action.ACCEPT_MONEY,
            job,
            f"paid by {accepted.gateway_payment_id}: {_amount(accepted)} for"
            f" {_amount(order)}; cases closed: {closed}",
        )


def refund_all(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Refund all captured money of a checkout in review, release its units and close its cases.

    If nothing is left to refund, this only ends the checkout: as refunded if a payment was ever
    captured, else as cancelled.

    :raises ActionRefused: nothing is left to refund, but a payment is authorised or a refund is not
        confirmed yet.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job, order, _ = _in_review(job_id)
        sent = refunds.refund_all(_captured(order), note=by.reason, by_id=by.by_id, now=by.now)
        if sent:
            advance, outcome = Advance(State.REFUNDING, "refunded by the shop"), _refunding(sent)
        else:
            _refuse_while_money_remains(order)
            new_state, outcome = State.REFUNDED, "all money was refunded before"
            if not _was_ever_captured(order):
                new_state, outcome = State.CANCELLED, "no payment was captured"
            advance = Advance(new_state, f"ended by the shop: {outcome}")
        jobs.apply([(job, advance)], now=by.now)
        closed = _close(_cases_of(order), by)
        return _record(by, Action.REFUND_ALL, job, f"{outcome}; cases closed: {closed}")


def close_case(case_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Close a case that was resolved elsewhere, such as a dispute or a bank transfer to the buyer.

    :raises ActionRefused: the case is closed, or its checkout is in review: the decision closes it.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        case = Case.objects.select_related("order").get(pk=case_id)
        in_review = [
            job for job in jobs.lock(order_ids=[case.order_id]) if job.state == State.IN_REVIEW
        ]
        if in_review and case.kind in DECIDED_IN_REVIEW:
            raise ActionRefused(NEEDS_DECISION)
        if not _close(Case.objects.filter(pk=case.pk), by):
            raise ActionRefused("This case is closed already.")
        return audit_log.record(
            by,
            Action.CLOSE_CASE,
            subject=f"{case.kind} {case.reference}",
            outcome=f"closed: {case.text}",
            checkout_id=_checkout_of(case.order_id),
        )


def replay_webhook(event_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Make a webhook due again, whether it was handled or given up. Handling is idempotent.

    :raises ActionRefused: the webhook is due already, or retention has deleted its body.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        event = inbox.lock_one(event_id)
        if event.due_at is not None:
            raise ActionRefused("This webhook is not handled yet. A worker will do it by itself.")
        if not event.body:
            raise ActionRefused(
                "The body of this webhook was deleted because of its age. Ask Razorpay about its"
                " checkout instead."
            )
        inbox.replay(event, now=by.now)
        rows = ledger.find([event.gateway_order_id] if event.gateway_order_id else [])
        row = rows.get(event.gateway_order_id)
        return audit_log.record(
            by,
            Action.REPLAY,
            subject=f"event {event.gateway_event_id}",
            outcome=f"due now, after {event.attempts} attempts",
            checkout_id=_checkout_of(row.order_id) if row else None,
        )


# --- parts ---------------------------------------------------------------------------------------


def _in_review(job_id: uuid.UUID) -> tuple[CheckoutJob, Order, list[CheckoutJob]]:
    """The checkout, its order, and the checkouts that may compete with it; all checkouts locked."""
    order_id = CheckoutJob.objects.values_list("order_id", flat=True).get(pk=job_id)
    locked = purchase.lock_with_competing([order_id] if order_id is not None else [])
    job = next((job for job in locked if job.pk == job_id), None) or jobs.lock_one(job_id)
    if job.state != State.IN_REVIEW or job.order_id is None:
        raise ActionRefused(f"This checkout is {job.state}. Only one in review needs a decision.")
    return job, Order.objects.get(pk=job.order_id), locked


def _hold_units_alone(
    job: CheckoutJob, order: Order, others: Sequence[CheckoutJob], *, by: ActionRequest
) -> None:
    """
    Hold the units of a checkout in review, and cancel competing checkouts of the buyer.

    :raises ActionRefused: the units are sold out, or the buyer has bought or is paying for the same
        in another checkout.
    """
    if purchase.bought_since([job]):
        raise ActionRefused(
            "The buyer has bought the same in another checkout. Refund everything here."
        )
    competing = [
        other for other in others if State(other.state) in OPEN and purchase.compete(job, other)
    ]
    if purchase.with_money(competing, now=by.now):
        raise ActionRefused(
            "The buyer is paying for the same in another checkout. Wait for that payment."
        )
    holding = [order.pk, *(held for other in competing for held in other.holding_order_ids)]
    stock.lock(stock.units_of(holding))  # all at once, in variant order
    purchase.cancel_competing(competing, now=by.now)
    # Only now: a cancelled checkout may have held the units of this order.
    if not stock.hold_again(order.pk):
        raise ActionRefused("Its units were sold to other buyers. Refund everything.")


def _captured(order: Order) -> list[Payment]:
    """The captured payments of an order, on duplicate Razorpay orders too; the earliest first."""
    rows = Payment.objects.filter(gateway_order__order=order, status=PaymentStatus.CAPTURED)
    return list(rows.select_related("gateway_order").order_by("id"))


def _was_ever_captured(order: Order) -> bool:
    """Whether a payment was ever captured; it may have been refunded since."""
    payments = Payment.objects.filter(gateway_order__order=order, captured_at__isnull=False)
    return payments.exists()


def _why_nothing_to_accept(order: Order, money: Sequence[Payment]) -> str:
    if money:
        return "A refund takes part of this money. No whole payment is left to accept."
    if ledger.has_money(order.pk):
        return ONLY_AUTHORISED
    return "All of the money was refunded before. Choose to refund everything: that ends it."


def _refuse_while_money_remains(order: Order) -> None:
    """
    Call when no captured money of the order is left to refund. A payment never moves backwards, so
    the review is over once no payment is authorised and no refund is pending.

    :raises ActionRefused: a payment is authorised, or Razorpay has not confirmed a refund.
    """
    payments = Payment.objects.filter(gateway_order__order=order)
    if payments.filter(status=PaymentStatus.AUTHORIZED).exists():
        raise ActionRefused(ONLY_AUTHORISED)
    unconfirmed = {RefundStatus.DUE, RefundStatus.PENDING}
    if any(refund.status in unconfirmed for refund in refunds.of_orders([order.pk])[order.pk]):
        raise ActionRefused(
            "Razorpay has not confirmed a refund of this checkout yet. Wait until it has."
        )


def _cases_of(order: Order) -> QuerySet[Case]:
    """The cases that the decision closes. A dispute is not one: the bank decides it."""
    return Case.objects.filter(order=order, kind__in=DECIDED_IN_REVIEW)


def _close(found: QuerySet[Case], by: ActionRequest) -> int:
    return cases.close(found, because=by.reason.strip(), by_id=by.by_id, now=by.now)


def _refunding(sent: Sequence[Refund]) -> str:
    parts = [f"{_amount(refund)} of {refund.payment.gateway_payment_id}" for refund in sent]
    return f"refund of {', '.join(parts)}"


def _amount(row: Order | Payment | Refund) -> str:
    return format_amount(row.amount_paise, row.currency)


def _checkout_of(order_id: int) -> uuid.UUID | None:
    return CheckoutJob.objects.filter(order_id=order_id).values_list("pk", flat=True).first()


def _record(by: ActionRequest, action: Action, job: CheckoutJob, outcome: str) -> AuditEntry:
    return audit_log.record(
        by, action, subject=f"checkout {job.pk}", outcome=outcome, checkout_id=job.pk
    )
