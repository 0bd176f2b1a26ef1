"""
Writes what Razorpay reports about refunds into rows, and adjusts the payments' own columns.

A webhook can be late or overtaken. Where two of them contradict each other (`processed` and
`failed` of one refund), the refund is polled: a fetch reports the present state.

A payment may report an `amount_refunded` that no known refund explains. The difference is kept as
an *unlisted* refund until a fetch lists the real ones, so that nothing is refunded twice.
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
    AUTOMATIC,
    FORWARD,
    POLL_PENDING_AFTER,
    Refund,
    RefundReason,
    RefundStatus,
    is_key,
    new_refund,
    open_failed_case,
)

FETCH = "fetch"  # the `via` of a report of the present state
AT_GATEWAY = (RefundStatus.PENDING, RefundStatus.PROCESSED)
REPORTED = {status.value: status for status in (*AT_GATEWAY, RefundStatus.FAILED)}


def record(facts: Iterable[RefundFact], *, via: str, now: datetime) -> set[int]:
    """
    Write what `facts` report about refunds of our payments. Returns the ids of their orders.

    Forward only, so repeats and reordering do no harm. A failure opens a case, also after
    `processed`: the money is back with the shop. `processed` after `failed` is believed if it was
    fetched, and polled if a webhook says so. A refund that we did not make is kept as made
    elsewhere; one that carries a key of ours for another refund opens a case. Call inside a
    transaction that holds the locks of the orders' jobs.
    """
    facts = list(facts)
    if not facts:
        return set()
    payments = _payments({fact.gateway_payment_id for fact in facts})
    changed = set()
    for fact in facts:  # one at a time: refunds are rare
        payment = payments.get(fact.gateway_payment_id)
        status = REPORTED.get(fact.status)
        if payment and status and _record_one(payment, fact, status, via=via, now=now):
            changed.add(payment.gateway_order.order_id)
    return changed


def account_for(
    gateway_payment_ids: Collection[str], *, looked_at: Collection[PaymentFact] = (), now: datetime
) -> set[int]:
    """
    Keep one unlisted refund per payment for the refunded amount that no known refund explains.

    It is due at once: its poll fetches the payment and its refunds. `looked_at`: payments that were
    just fetched; their `amount_refunded` holds even if it is less than we knew. Returns the ids of
    the orders for which something changed. Call after `record`, under the same locks.
    """
    changed = set()
    fetched = {fact.id: fact for fact in looked_at}
    for payment in _payments({*gateway_payment_ids, *fetched}).values():
        if fact := fetched.get(payment.gateway_payment_id):
            _set_refunded(payment, fact.amount_refunded_paise)
        if _keep_unlisted(payment, now=now):
            changed.add(payment.gateway_order.order_id)
    return changed


def _payments(gateway_payment_ids: Collection[str]) -> dict[str, Payment]:
    rows = Payment.objects.filter(gateway_payment_id__in=gateway_payment_ids)
    return {row.gateway_payment_id: row for row in rows.select_related("gateway_order")}


def _record_one(
    payment: Payment, fact: RefundFact, status: RefundStatus, *, via: str, now: datetime
) -> bool:
    refund = _find(payment, fact, now=now) or _made_elsewhere(payment, fact, now=now)
    if refund is None:
        return False
    old = RefundStatus(refund.status)
    if status is RefundStatus.FAILED:
        open_failed_case(refund, "Razorpay says that the refund failed", now=now)
    if via != FETCH and (old, status) == (RefundStatus.FAILED, RefundStatus.PROCESSED):
        Refund.objects.filter(pk=refund.pk).update(due_at=now)  # a poll decides
        return False
    if status not in FORWARD[old]:
        return False
    refund.gateway_refund_id = fact.id
    refund.status = status
    refund.due_at = now + POLL_PENDING_AFTER if status is RefundStatus.PENDING else None
    refund.claim = None
    refund.updated_at = now
    if old in AT_GATEWAY and status is RefundStatus.FAILED:
        # The webhook may be old: poll the refund.
        refund.due_at = None if via == FETCH else now
        _set_refunded(payment, payment.amount_refunded_paise - refund.amount_paise)
    if (old, status) == (RefundStatus.FAILED, RefundStatus.PROCESSED):
        failed = Case.objects.filter(kind=CaseKind.REFUND_FAILED, reference=refund.key)
        cases.close_by_itself(failed, because="Razorpay has processed it after all", now=now)
    refund.save()
    return True


def _find(payment: Payment, fact: RefundFact, *, now: datetime) -> Refund | None:
    """
    The row of this report: by id, by our key, or the automatic refund that it makes needless.

    Razorpay refunds some money by itself, for example the second payment of an order. That refund
    takes the place of ours.
    """
    of_payment = Refund.objects.filter(payment=payment).select_related("payment__gateway_order")
    by_id = of_payment.filter(gateway_refund_id=fact.id).first()
    by_key = of_payment.filter(key=fact.receipt).first() if fact.receipt else None
    if by_key and by_key.gateway_refund_id is None and by_id:
        return _merged(by_key, by_id, now=now)
    if by_key and by_key.gateway_refund_id in {None, fact.id}:
        return by_key
    if by_id or by_key:
        return by_id
    return of_payment.filter(
        status=RefundStatus.DUE, reason__in=AUTOMATIC, amount_paise=fact.amount_paise
    ).first()


def _merged(ours: Refund, elsewhere: Refund, *, now: datetime) -> Refund:
    """
    Merge `elsewhere` into `ours` and delete it: an earlier report of the same refund came without
    our key.
    """
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


def _made_elsewhere(payment: Payment, fact: RefundFact, *, now: datetime) -> Refund | None:
    """A refund that we did not request, not saved yet; None for an amount of 0."""
    if fact.amount_paise == 0:
        return None
    is_twice = payment.captured_at is not None and _resembles_ours(payment, fact)
    if is_twice:
        amount = format_amount(fact.amount_paise, payment.currency)
        text = f"{fact.id} gave {amount} back beside what the shop asked for: was it sent twice?"
        case = cases.Open(payment.gateway_order.order_id, CaseKind.REFUND_TWICE, fact.id, text)
        cases.open_cases([case], now=now)
    return new_refund(
        payment,
        amount_paise=fact.amount_paise,
        reason=RefundReason.TWICE if is_twice else RefundReason.ELSEWHERE,
        now=now,
        key=fact.id,
        note=f"receipt {fact.receipt}" if fact.receipt else "",
        due_at=None,
    )


def _resembles_ours(payment: Payment, fact: RefundFact) -> bool:
    """
    Whether this refund, which is no row of ours, looks like one: it carries a key of ours, or no
    receipt and the amount of one that Razorpay has from us.
    """
    if fact.receipt:
        return is_key(fact.receipt) or Refund.objects.filter(key=fact.receipt).exists()
    sent = Refund.objects.filter(payment=payment, status__in=AT_GATEWAY)
    ours = sent.exclude(reason__in=[RefundReason.ELSEWHERE, RefundReason.TWICE])
    return ours.filter(amount_paise=fact.amount_paise).exists()


def _set_refunded(payment: Payment, paise: int) -> None:
    """Set the refunded amount of a captured payment. It can shrink, when a refund failed."""
    if payment.captured_at is None:
        return  # a void authorisation: the money never came
    payment.amount_refunded_paise = max(0, paise)
    if payment.status in {PaymentStatus.CAPTURED, PaymentStatus.REFUNDED}:
        is_full = payment.amount_refunded_paise >= payment.amount_paise
        payment.status = PaymentStatus.REFUNDED if is_full else PaymentStatus.CAPTURED
    payment.save(update_fields=["amount_refunded_paise", "status"])


def _keep_unlisted(payment: Payment, *, now: datetime) -> bool:
    """Create, change or delete the payment's unlisted refund. False if it is right already."""
    key = f"unlisted-{payment.pk}"
    of_payment = Refund.objects.filter(payment=payment)
    known = of_payment.filter(status__in=AT_GATEWAY).exclude(key=key)
    known_paise = known.aggregate(paise=Sum("amount_paise"))["paise"] or 0
    paise = payment.amount_refunded_paise - known_paise if payment.captured_at else 0
    row = of_payment.filter(key=key).first()
    if (row.amount_paise if row else 0) == max(0, paise):
        return False
    if paise <= 0:
        of_payment.filter(key=key).delete()
        return True
    row = row or new_refund(
        payment,
        amount_paise=paise,
        reason=RefundReason.ELSEWHERE,
        now=now,
        key=key,
        note="Razorpay says that so much went back; its refunds are being fetched",
        status=RefundStatus.PENDING,
    )
    row.amount_paise, row.updated_at = paise, now
    row.save()
    return True
