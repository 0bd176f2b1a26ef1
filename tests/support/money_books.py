"""
Compare the shop's rows about money with the stand-in's ledger, to the paisa.

Money captured by Razorpay = money kept by paid orders + money refunded + money in open cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import FINAL, OPEN, State
from shop.operations.audit_log import Action, AuditEntry
from shop.orders import Order, StockState
from shop.payments.cases import Case, CaseKind
from shop.payments.ledger import Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundReason, RefundStatus
from tests.support.standin import StandIn

BY_RULE = (RefundReason.LATE, RefundReason.SURPLUS)
MONEY = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED)


def compare(
    jobs: Sequence[CheckoutJob],
    standin: StandIn,
    disputes: Iterable[dict[str, Any]],
    *,
    stock: Mapping[int, tuple[int, int]],
    seeded_units: Mapping[int, int],
    captured_by_us: Collection[str] = (),
) -> None:
    """
    Compare both sides for `jobs`, none of which is open: all checkouts paid at this stand-in.

    `stock` is (on hand, held) of each variant, `seeded_units` the units there were at first.
    `captured_by_us` are ids of payments that the shop captured by a call.
    """
    moved = standin.ledger()
    for job in jobs:
        state = State(job.state)
        assert state in FINAL | {State.IN_REVIEW}, f"{job.pk} ended as {state}"
        assert job.transitions.filter(new=State.PAID).count() <= 1
    _compare_revisions(jobs)
    paid = [job.order for job in jobs if job.state == State.PAID]
    in_review = [job.order for job in jobs if job.state == State.IN_REVIEW]
    held = _units_of([order for order in in_review if order.stock_state == StockState.HELD])
    sold = _units_of(paid)
    expected = {variant: (n - sold[variant], held[variant]) for variant, n in seeded_units.items()}
    assert dict(stock) == expected
    paying = [_payment_of(order) for order in paid]
    orders = [job for job in jobs if job.order]
    in_cases = [payment for job in orders for payment in _payments_in_open_cases(job)]
    _compare_payments(moved["payments"], accounted_for=[*paying, *in_cases])
    _compare_refunds(jobs, paying, there=standin.refunds())
    _compare_captures(captured_by_us)
    _compare_disputes(disputes)
    totals = moved["totals"]
    kept_paise, in_cases_paise = (sum(map(_left_of, them)) for them in (paying, in_cases))
    assert totals["captured_paise"] == kept_paise + totals["refunded_paise"] + in_cases_paise


def no_open_checkout_of_a_bought_cart(jobs: Sequence[CheckoutJob]) -> None:
    """A cart revision that is paid has no open checkout beside it, unless that has money too."""
    paid = CheckoutJob.objects.filter(
        cart=OuterRef("cart"), cart_version=OuterRef("cart_version"), state=State.PAID
    )
    money = Payment.objects.filter(gateway_order__order=OuterRef("order"), status__in=MONEY)
    left = CheckoutJob.objects.filter(
        Exists(paid), ~Exists(money), pk__in=[job.pk for job in jobs], state__in=sorted(OPEN)
    )
    assert not left, f"open, and the cart is paid: {list(left)}"


def money_of(owner_id: int) -> bool:
    """Whether the owner has money, reported or signed for, that belongs to no paid order."""
    money = Payment.objects.filter(gateway_order__order=OuterRef("order"), status__in=MONEY)
    unpaid = CheckoutJob.objects.filter(owner_id=owner_id).exclude(state=State.PAID)
    return unpaid.filter(Exists(money) | Q(returned_at__isnull=False)).exists()


def _compare_revisions(jobs: Sequence[CheckoutJob]) -> None:
    """One cart revision gives one order, whoever owns its checkouts."""
    paid = Counter((job.cart_id, job.cart_version) for job in jobs if job.state == State.PAID)
    twice = {revision: count for revision, count in paid.items() if count > 1}
    assert not twice, f"paid orders of one cart revision (cart, version): {twice}"


def _compare_captures(captured_by_us: Collection[str]) -> None:
    """No rule refunds a payment that the shop captured: it should have left it to lapse."""
    accepted = AuditEntry.objects.filter(
        action=Action.ACCEPT_MONEY, checkout_id=OuterRef("payment__gateway_order__order__checkout")
    )
    wasted = Refund.objects.filter(
        ~Exists(accepted), payment__gateway_payment_id__in=captured_by_us, reason__in=BY_RULE
    )
    assert not wasted, f"captured by the shop and refunded: {list(wasted)}"


def _payment_of(order: Order) -> Payment:
    payment = Payment.objects.get(gateway_payment_id=order.paid_by)
    fits = (payment.amount_paise, payment.currency) == (order.amount_paise, order.currency)
    by_hand = AuditEntry.objects.filter(action=Action.ACCEPT_MONEY, checkout_id=order.checkout.pk)
    assert fits or by_hand, f"{payment} does not fit {order}"
    return payment


def _compare_payments(moved: dict[str, Any], *, accounted_for: list[Payment]) -> None:
    """The rest of each payment belongs to an order or a case; other payments have no rest."""
    rows = Payment.objects.filter(gateway_payment_id__in=moved)
    known = {payment.gateway_payment_id: payment for payment in rows}
    left = {payment.gateway_payment_id: _left_of(payment) for payment in accounted_for}
    for payment_id, payment in moved.items():
        gone_paise = payment["refunded_paise"] + payment["charged_back_paise"]
        assert gone_paise <= payment["captured_paise"]
        left_paise = payment["captured_paise"] - payment["refunded_paise"]
        assert left_paise == left.get(payment_id, 0), f"{payment_id} belongs to no order or case"
        if payment_id in known:
            sent_paise = payment["refunded_paise"] + payment["released_paise"]
            assert sent_paise == _sent_of(known[payment_id])


def _compare_refunds(
    jobs: Sequence[CheckoutJob], paying: list[Payment], *, there: list[dict[str, Any]]
) -> None:
    """Each refund of the stand-in is one row, and no rule refunded a payment that pays an order."""
    rows = Refund.objects.filter(payment__gateway_order__order__checkout__in=jobs)
    here = {
        row.gateway_refund_id: (row.payment.gateway_payment_id, row.amount_paise, row.status)
        for row in rows.select_related("payment")
        if row.gateway_refund_id
    }
    known = set(Payment.objects.values_list("gateway_payment_id", flat=True))
    assert here == {
        refund["id"]: (refund["payment_id"], refund["amount"], refund["status"])
        for refund in there
        if refund["payment_id"] in known
    }
    # A refund sent although another had replaced it has its own row, and a case.
    twice = set(rows.filter(reason=RefundReason.TWICE).values_list("gateway_refund_id", flat=True))
    asked_for = {
        refund["id"]: refund["receipt"]
        for refund in there
        if refund["receipt"] and refund["id"] not in twice
    }
    rows_of_ours = rows.filter(gateway_refund_id__in=asked_for)
    assert dict(rows_of_ours.values_list("gateway_refund_id", "key")) == asked_for
    assert not rows.filter(gateway_refund_id=None).exclude(status=RefundStatus.FAILED)
    given_back = rows.filter(payment__in=paying, reason__in=BY_RULE)
    assert not given_back.exclude(
        status=RefundStatus.FAILED
    )  # staff may accept money whose refund failed


def _compare_disputes(disputes: Iterable[dict[str, Any]]) -> None:
    for dispute in disputes:
        if Payment.objects.filter(gateway_payment_id=dispute["payment_id"]).exists():
            case = Case.objects.get(kind=CaseKind.DISPUTE, reference=dispute["id"])
            assert case.stage == dispute["status"]


def _units_of(orders: Sequence[Order]) -> Counter[int]:
    """Units of each variant."""
    units: Counter[int] = Counter()
    for order in orders:
        for line in order.lines.all():
            units[line.variant_id] += line.units
    return units


def _sent_of(payment: Payment) -> int:
    """Paise that the shop has recorded as refunded."""
    done = payment.refunds.filter(status=RefundStatus.PROCESSED)
    return sum(refund.amount_paise for refund in done)


def _left_of(payment: Payment) -> int:
    return payment.amount_paise - _sent_of(payment)


def _payments_in_open_cases(job: CheckoutJob) -> QuerySet[Payment]:
    """Captured payments that do not pay the order and that an open case is about."""
    cases = Case.objects.filter(order=job.order, closed_at=None)
    captured = Payment.objects.filter(
        gateway_order__order=job.order, status=PaymentStatus.CAPTURED
    ).exclude(gateway_payment_id=job.order.paid_by)
    if job.state == State.IN_REVIEW and cases.exists():
        return captured
    failed = cases.filter(kind=CaseKind.REFUND_FAILED).values("reference")
    return captured.filter(refunds__key__in=failed).distinct()
