"""
What people may do by hand to a checkout, its money and its messages. One function each.

Each runs in a transaction of its own, leaves one entry in the trail or changes nothing, and takes
an `Instruction`: carried out once, however often it comes. Locks: the job first, as everywhere.
Nothing here is sent to Razorpay; rows are made due, and whoever rings makes it quick.
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

ONLY_AUTHORISED = "Its payment is only authorised so far. Capture it first, or let it lapse."


def retry(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Have a checkout that is on its way looked at now, its attempts counted anew.

    :raises Refused: it is not on its way, or a worker is at it this very moment.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job = jobs.lock_one(job_id)
        state = State(job.state)
        if not_retryable := STATES[state].not_retryable:
            raise ActionRefused(not_retryable.format(code=job.error_code))
        if job.claim and job.due_at and job.due_at > by.now:
            raise ActionRefused("A worker is at it this very moment. Look again in a minute.")
        jobs.make_due(job, now=by.now)
        return _note(by, Action.RETRY, job, f"{state} is due now, after {job.attempts} attempts")


def poll(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Have Razorpay asked what became of the money, on the order and its twins.

    :raises Refused: there is no Razorpay order to ask about.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job = jobs.lock_one(job_id)
        rows = ledger.GatewayOrder.objects.filter(order_id=job.order_id or 0)
        known = [row.gateway_order_id for row in rows if row.gateway_order_id]
        if job.order_id is None or not known:
            raise ActionRefused("It has no order at Razorpay yet: there is nothing to ask about.")
        polling.poll_now([job.order_id], now=by.now)
        return _note(by, Action.POLL, job, f"Razorpay is asked about {', '.join(known)}")


def cancel(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    End an unpaid checkout and release its units.

    :raises Refused: money is on its way, or it is past cancelling.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job = jobs.lock_one(job_id)
        state = State(job.state)
        if purchase.with_money([job], now=by.now):
            raise ActionRefused("Money is on its way or in: it cannot be cancelled any more.")
        if state not in OPEN:
            raise ActionRefused(f"It is {state}: that cannot be cancelled.")
        jobs.apply([(job, Advance(State.CANCELLED, "cancelled by the shop"))], now=by.now)
        return _note(by, Action.CANCEL, job, f"cancelled while {state}, units released")


def capture(payment_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Have an authorised payment captured now.

    :raises Refused: it is not authorised, or its checkout has ended: captured money of that would
        only be given back.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        payment = Payment.objects.select_for_update(no_key=True).get(pk=payment_id)
        if payment.status != PaymentStatus.AUTHORIZED:
            raise ActionRefused(f"It is {payment.status}: there is nothing to capture.")
        order_id = payment.gateway_order.order_id
        state = State(CheckoutJob.objects.get(order_id=order_id).state)
        if state not in CAPTURABLE:
            raise ActionRefused(
                f"Its checkout is {state}: captured, the money would only be given back."
                " Not captured, it goes back by itself, free of charge."
            )
        ledger.retry_capture(payment, at=by.now)
        return audit_log.record(
            by,
            Action.CAPTURE,
            subject=f"payment {payment.gateway_payment_id}",
            outcome=f"{_amount(payment)} is captured now",
            checkout_id=_checkout_of(order_id),
        )


# --- money back ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refunded:
    refund: Refund
    entry: AuditEntry


def refund(order: Order, *, amount_paise: int | None, by: ActionRequest) -> Refunded:
    """
    Give money of a paid order back; None: all that is left. The admin and the API come here. The
    refund's key is the instruction's.

    :raises RefundRefused: the order is not paid, or less is left than asked for.
    """
    with transaction.atomic():
        jobs.lock(order_ids=[order.pk])  # of two repeats the second then sees the first's entry
        audit_log.refuse_repeat(by)
        wanted = refunds.create_by_staff(
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
            outcome=_goes_back([wanted]),
            checkout_id=_checkout_of(order.pk),
        )
    return Refunded(wanted, entry)


def resend(refund_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Send a failed refund again, as a new one, and close the case it had opened.

    :raises Refused: its checkout waits for a decision about all of its money.
    :raises RefundRefused: it has not failed, or less is left than it was.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        failed = Refund.objects.select_related("payment__gateway_order").get(pk=refund_id)
        order_id = failed.payment.gateway_order.order_id
        for job in jobs.lock(order_ids=[order_id]):
            if job.state == State.IN_REVIEW:
                raise ActionRefused(
                    "Its checkout waits for a decision. Give all of its money back there, or"
                    " accept what is left."
                )
        anew = refunds.retry_failed(failed, note=by.reason, by_id=by.by_id, now=by.now)
        _close(Case.objects.filter(kind=CaseKind.REFUND_FAILED, reference=failed.key), by)
        return audit_log.record(
            by,
            Action.RESEND,
            subject=f"refund {failed.key}",
            outcome=_goes_back([anew]),
            checkout_id=_checkout_of(order_id),
        )


# --- decisions -----------------------------------------------------------------------------------


def accept_money(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Take the money of a checkout in review as it is: the order is paid, its units sold, its cases
    closed. All that is left of captured money beside that payment goes back.

    Competing checkouts of the buyer (`purchase`) that are open and without money are cancelled.

    :raises Refused: no whole captured payment, the units cannot be had any more, or the buyer has
        bought the same in another checkout, or is about to.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job, order, beside = _in_review(job_id)
        money = _captured(order)
        left_paise = refunds.refundable_paise(money)
        whole = [it for it in money if left_paise[it.pk] == it.amount_paise]
        if not whole:
            raise ActionRefused(_why_no_money(order, money))
        _make_room(job, order, beside, by=by)
        taken = min(whole, key=lambda it: it.amount_paise != order.amount_paise)
        surplus = [it for it in money if it != taken]
        settle.serve(job, taken, surplus, because="accepted by the shop", now=by.now)
        # A payment has one refund by rule. Where that has failed, it takes one of ours.
        refunds.refund_all(surplus, note=by.reason, by_id=by.by_id, now=by.now)
        closed = _close(_cases_of(order), by)
        return _note(
            by,
            Action.ACCEPT_MONEY,
            job,
            f"paid by {taken.gateway_payment_id}: {_amount(taken)} for"
            f" {_amount(order)}; cases closed: {closed}",
        )


def give_back(job_id: uuid.UUID, *, by: ActionRequest) -> AuditEntry:
    """
    Send back all captured money of a checkout in review, and close its cases. Its units are
    released. If all of it has gone back without that, or none ever came, this ends the checkout.

    :raises Refused: nothing is left to send, but money of it is authorised or still going back.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        job, order, _ = _in_review(job_id)
        sent = refunds.refund_all(_captured(order), note=by.reason, by_id=by.by_id, now=by.now)
        if sent:
            move, outcome = Advance(State.REFUNDING, "given back by the shop"), _goes_back(sent)
        else:
            _refuse_unless_gone(order)
            to, outcome = State.REFUNDED, "all of its money had gone back before"
            if not _has_come(order):
                to, outcome = State.CANCELLED, "no payment of it came to anything"
            move = Advance(to, f"ended by the shop: {outcome}")
        jobs.apply([(job, move)], now=by.now)
        closed = _close(_cases_of(order), by)
        return _note(by, Action.GIVE_BACK, job, f"{outcome}; cases closed: {closed}")


def close_case(case_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Close a case that was dealt with elsewhere: a dispute, a refund paid by hand.

    :raises Refused: it is closed, or its checkout waits for a decision, which closes it too.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        case = Case.objects.select_related("order").get(pk=case_id)
        waiting = [
            job for job in jobs.lock(order_ids=[case.order_id]) if job.state == State.IN_REVIEW
        ]
        if waiting and case.kind in DECIDED_IN_REVIEW:
            raise ActionRefused(
                "Its checkout waits for a decision: accept its money, or give it back."
            )
        if not _close(Case.objects.filter(pk=case.pk), by):
            raise ActionRefused("It is closed already.")
        return audit_log.record(
            by,
            Action.CLOSE_CASE,
            subject=f"{case.kind} {case.reference}",
            outcome=f"closed: {case.text}",
            checkout_id=_checkout_of(case.order_id),
        )


def replay(event_id: int, *, by: ActionRequest) -> AuditEntry:
    """
    Have a webhook handled once more, whether it was handled or given up. Handling is idempotent.

    :raises Refused: it waits to be handled as it is, or is too old to be kept in full.
    """
    with transaction.atomic():
        audit_log.refuse_repeat(by)
        event = inbox.lock_one(event_id)
        if event.due_at is not None:
            raise ActionRefused("It waits to be handled as it is.")
        if not event.body:
            raise ActionRefused("Its bytes are not kept any more. Ask Razorpay about its checkout.")
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
    """The checkout, its order, and what it may compete with, all checkouts locked."""
    order_id = CheckoutJob.objects.values_list("order_id", flat=True).get(pk=job_id)
    locked = purchase.lock_with_competing([order_id] if order_id is not None else [])
    job = next((job for job in locked if job.pk == job_id), None) or jobs.lock_one(job_id)
    if job.state != State.IN_REVIEW or job.order_id is None:
        raise ActionRefused(f"It is {job.state}: only a checkout in review waits for a decision.")
    return job, Order.objects.get(pk=job.order_id), locked


def _make_room(
    job: CheckoutJob, order: Order, beside: Sequence[CheckoutJob], *, by: ActionRequest
) -> None:
    """
    Have the units of a checkout in review held, and let it be the buyer's only purchase of them.

    :raises Refused: others have the units, or the buyer has bought the same, or is about to.
    """
    if purchase.bought_since([job]):
        raise ActionRefused(
            "The buyer has bought the same in another checkout. Give the money back."
        )
    competing = [it for it in beside if State(it.state) in OPEN and purchase.compete(job, it)]
    if purchase.with_money(competing, now=by.now):
        raise ActionRefused(
            "The buyer pays for the same in another checkout. Wait for that payment."
        )
    holding = [order.pk, *(order_id for it in competing for order_id in it.holding_order_ids)]
    stock.lock(stock.units_of(holding))  # all at once, in variant order
    purchase.cancel_competing(competing, now=by.now)
    # Asked again now: what was closed may have held units of this very order.
    if not stock.hold_again(order.pk):
        raise ActionRefused("Its units were sold to others meanwhile. Give the money back.")


def _captured(order: Order) -> list[Payment]:
    """Its captured payments, on aliases too, the earliest first."""
    rows = Payment.objects.filter(gateway_order__order=order, status=PaymentStatus.CAPTURED)
    return list(rows.select_related("gateway_order").order_by("id"))


def _has_come(order: Order) -> bool:
    """Whether money of it was ever captured, be it gone back since."""
    payments = Payment.objects.filter(gateway_order__order=order, captured_at__isnull=False)
    return payments.exists()


def _why_no_money(order: Order, money: Sequence[Payment]) -> str:
    if money:
        return "Money of it is going back or has gone: what is left is no whole payment."
    if ledger.has_money(order.pk):
        return ONLY_AUTHORISED
    return "All of its money has gone back. Give it back, and the checkout ends."


def _refuse_unless_gone(order: Order) -> None:
    """
    For an order of whose captured money nothing is left. A payment goes forward only, so that all
    that put it in review has gone back, once nothing is on its way.

    :raises Refused: a payment is authorised, or Razorpay has not said of every refund how it ended.
    """
    payments = Payment.objects.filter(gateway_order__order=order)
    if payments.filter(status=PaymentStatus.AUTHORIZED).exists():
        raise ActionRefused(ONLY_AUTHORISED)
    on_its_way = {RefundStatus.DUE, RefundStatus.PENDING}
    if any(refund.status in on_its_way for refund in refunds.of_orders([order.pk])[order.pk]):
        raise ActionRefused(
            "Its money is still going back. Wait until Razorpay says that it has gone."
        )


def _cases_of(order: Order) -> QuerySet[Case]:
    """Of those that the decision closes: a dispute, say, is the bank's to decide."""
    return Case.objects.filter(order=order, kind__in=DECIDED_IN_REVIEW)


def _close(found: QuerySet[Case], by: ActionRequest) -> int:
    return cases.close(found, because=by.reason.strip(), by_id=by.by_id, now=by.now)


def _goes_back(sent: Sequence[Refund]) -> str:
    parts = [f"{_amount(it)} of {it.payment.gateway_payment_id}" for it in sent]
    return f"{', '.join(parts)} goes back"


def _amount(it: Order | Payment | Refund) -> str:
    return format_amount(it.amount_paise, it.currency)


def _checkout_of(order_id: int) -> uuid.UUID | None:
    return CheckoutJob.objects.filter(order_id=order_id).values_list("pk", flat=True).first()


def _note(by: ActionRequest, action: Action, job: CheckoutJob, outcome: str) -> AuditEntry:
    return audit_log.record(
        by, action, subject=f"checkout {job.pk}", outcome=outcome, checkout_id=job.pk
    )
