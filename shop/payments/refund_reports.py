"""
What Razorpay says about refunds becomes rows, and the payments' own columns follow.

A webhook can be late or overtaken, so where two of them contradict each other (`processed` and
`failed` of one refund) Razorpay is asked: what a fetch says is so now. Money that went back in
refunds which nobody told us of (a payment says `amount_refunded`, no more) is a row too, until a
fetch tells which refunds those are: so nothing is given back a second time meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from django.db.models import Sum

from shop.money import format_amount
from shop.payments import cases
from shop.payments.cases import Case, CaseKind
from shop.payments.gateway import PaymentFact, RefundFact
from shop.payments.ledger import Payment, PaymentStatus
from shop.payments.refunds import (
    FORWARD,
    POLL_PENDING_AFTER,
    Refund,
    RefundReason,
    RefundStatus,
    is_key,
    open_failed_case,
)

# Razorpay's words for them.
STATUS_OF_REPORT = {
    "created": RefundStatus.PENDING,
    "pending": RefundStatus.PENDING,
    "processed": RefundStatus.PROCESSED,
    "failed": RefundStatus.FAILED,
}
FETCH = "fetch"  # how a report came that says what is so now
AT_RAZORPAY = (RefundStatus.PENDING, RefundStatus.PROCESSED)


def record(facts: Iterable[RefundFact], *, via: str, now: datetime) -> set[int]:
    """
    Write what `facts` say about refunds of payments that are ours. The ids of the orders concerned.

    Forward only, so repeats and shuffles do no harm. That one failed opens a case, also if it had
    been processed: its money is the shop's again. That one was processed which had failed is
    believed if it was fetched, and asked about if a webhook says so. A refund that we did not make
    is kept as made elsewhere; one with a key of ours that is another refund's opens a case. Call
    inside a transaction that holds the lock of the orders' jobs.
    """
    facts = list(facts)
    if not facts:
        return set()
    payments = _payments({fact.gateway_payment_id for fact in facts})
    changed = set()
    for fact in facts:  # refunds are rare: one at a time keeps this plain
        payment = payments.get(fact.gateway_payment_id)
        status = STATUS_OF_REPORT.get(fact.status)
        if payment and status and _record_one(payment, fact, status, via=via, now=now):
            changed.add(payment.gateway_order.order_id)
    return changed


def account_for(
    gateway_payment_ids: Collection[str], *, looked_at: Collection[PaymentFact] = (), now: datetime
) -> set[int]:
    """
    Keep a row for what went back of these payments in refunds that we do not know, so much and no
    more. It is due at once: its look fetches the payment and its refunds. The ids of the orders of
    which that changed. Call after `record`, under the same locks.

    `looked_at`: payments as just fetched. What they say of `amount_refunded` is so now, also if it
    is less than we knew.
    """
    changed = set()
    fetched = {fact.id: fact for fact in looked_at}
    for payment in _payments({*gateway_payment_ids, *fetched}).values():
        if fact := fetched.get(payment.gateway_payment_id):
            _went_back(payment, fact.amount_refunded_paise)
        if _keep_unlisted(payment, now=now):
            changed.add(payment.gateway_order.order_id)
    return changed


def _payments(gateway_payment_ids: Collection[str]) -> dict[str, Payment]:
    rows = Payment.objects.filter(gateway_payment_id__in=gateway_payment_ids)
    return {row.gateway_payment_id: row for row in rows.select_related("gateway_order")}


def _record_one(
    payment: Payment, fact: RefundFact, status: RefundStatus, *, via: str, now: datetime
) -> bool:
    refund = _find(payment, fact, now=now) or _new(payment, fact, now=now)
    if refund is None:
        return False
    old = RefundStatus(refund.status)
    if status is RefundStatus.FAILED:
        open_failed_case(refund, "Razorpay says that the refund failed", now=now)
    if via != FETCH and (old, status) == (RefundStatus.FAILED, RefundStatus.PROCESSED):
        Refund.objects.filter(pk=refund.pk).update(due_at=now)  # which of them is the last word?
        return False
    if status not in FORWARD[old]:
        return False
    refund.gateway_refund_id = fact.id
    refund.status = status
    refund.due_at = now + POLL_PENDING_AFTER if status is RefundStatus.PENDING else None
    refund.claim = None
    refund.updated_at = now
    if old in AT_RAZORPAY and status is RefundStatus.FAILED:
        # A webhook may be old: what is so now is asked.
        refund.due_at = None if via == FETCH else now
        _went_back(payment, payment.amount_refunded_paise - refund.amount_paise)
    if (old, status) == (RefundStatus.FAILED, RefundStatus.PROCESSED):
        failed = Case.objects.filter(kind=CaseKind.REFUND_FAILED, reference=refund.key)
        cases.close_by_itself(failed, because="Razorpay has processed it after all", now=now)
    refund.save()
    return True


def _find(payment: Payment, fact: RefundFact, *, now: datetime) -> Refund | None:
    """
    The row this report is about: by id, by our key, or the one by rule that it makes needless.

    Razorpay gives some money back of itself (a second payment of an order, say). That is the
    refund we wanted, whoever asked for it.
    """
    of_payment = Refund.objects.filter(payment=payment).select_related("payment__gateway_order")
    by_id = of_payment.filter(gateway_refund_id=fact.id).first()
    by_key = of_payment.filter(key=fact.receipt).first() if fact.receipt else None
    if by_key and by_key.gateway_refund_id is None and by_id:
        return _folded(by_key, by_id, now=now)
    if by_key and by_key.gateway_refund_id in {None, fact.id}:
        return by_key
    if by_id or by_key:
        return by_id
    return of_payment.filter(
        status=RefundStatus.DUE,
        reason__in=[RefundReason.LATE, RefundReason.SURPLUS],
        amount_paise=fact.amount_paise,
    ).first()


def _folded(ours: Refund, elsewhere: Refund, *, now: datetime) -> Refund:
    """`elsewhere` was told of without the key that says that it is `ours`: one row is left."""
    failed = Case.objects.filter(kind=CaseKind.REFUND_FAILED)
    if not failed.filter(reference=ours.key).exists():
        failed.filter(reference=elsewhere.key).update(reference=ours.key)
    twice = Case.objects.filter(kind=CaseKind.REFUND_TWICE, reference=elsewhere.key)
    cases.close_by_itself(twice, because="it is the one that the shop asked for", now=now)
    elsewhere.delete()
    ours.gateway_refund_id, ours.status = elsewhere.gateway_refund_id, elsewhere.status
    ours.due_at, ours.claim = elsewhere.due_at, None
    ours.save()
    return ours


def _new(payment: Payment, fact: RefundFact, *, now: datetime) -> Refund | None:
    """A refund that we did not ask for, not saved yet; None for one of nothing."""
    if fact.amount_paise == 0:
        return None
    receipt = fact.receipt or ""
    is_twice = payment.captured_at is not None and _is_above_what_we_asked(payment, fact)
    if is_twice:
        amount = format_amount(fact.amount_paise, payment.currency)
        text = f"{fact.id} gave {amount} back beside what the shop asked for: was it sent twice?"
        case = cases.Open(payment.gateway_order.order_id, CaseKind.REFUND_TWICE, fact.id, text)
        cases.open_cases([case], now=now)
    return Refund(
        payment=payment,
        amount_paise=fact.amount_paise,
        reason=RefundReason.TWICE if is_twice else RefundReason.ELSEWHERE,
        note=f"receipt {receipt}" if receipt else "",
        key=fact.id,
        status=RefundStatus.DUE,
        created_at=now,
    )


def _is_above_what_we_asked(payment: Payment, fact: RefundFact) -> bool:
    """
    Whether this refund, which is no row of ours, looks like one: it has a key of ours, or no
    receipt and the amount of one that we asked for and that Razorpay has.
    """
    if fact.receipt:
        return is_key(fact.receipt) or Refund.objects.filter(key=fact.receipt).exists()
    asked_for = Refund.objects.filter(payment=payment, status__in=AT_RAZORPAY)
    ours = asked_for.exclude(reason__in=[RefundReason.ELSEWHERE, RefundReason.TWICE])
    return ours.filter(amount_paise=fact.amount_paise).exists()


def _went_back(payment: Payment, paise: int) -> None:
    """So much of a captured payment went back: maybe less than we knew, when a refund failed."""
    if payment.captured_at is None:
        return  # it was never the shop's, and went back whole
    payment.amount_refunded_paise = max(0, paise)
    if payment.status in {PaymentStatus.CAPTURED, PaymentStatus.REFUNDED}:
        is_whole = payment.amount_refunded_paise >= payment.amount_paise
        payment.status = PaymentStatus.REFUNDED if is_whole else PaymentStatus.CAPTURED
    payment.save(update_fields=["amount_refunded_paise", "status"])


def _keep_unlisted(payment: Payment, *, now: datetime) -> bool:
    """Whether the row for refunds that we do not know had to be made, changed or dropped."""
    key = f"unlisted-{payment.pk}"
    of_payment = Refund.objects.filter(payment=payment)
    known = of_payment.filter(status__in=AT_RAZORPAY).exclude(key=key)
    known_paise = known.aggregate(paise=Sum("amount_paise"))["paise"] or 0
    paise = payment.amount_refunded_paise - known_paise if payment.captured_at else 0
    row = of_payment.filter(key=key).first()
    if (row.amount_paise if row else 0) == max(0, paise):
        return False
    if paise <= 0:
        of_payment.filter(key=key).delete()
        return True
    row = row or Refund(
        payment=payment,
        reason=RefundReason.ELSEWHERE,
        note="Razorpay says that so much went back; its refunds are being fetched",
        key=key,
        status=RefundStatus.PENDING,
        due_at=now,
        created_at=now,
    )
    row.amount_paise, row.updated_at = paise, now
    row.save()
    return True
