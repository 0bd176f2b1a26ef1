"""
Settle: the one place where what we know about money becomes a move of the checkout.

Fed by webhooks, by our own questions and by the answers to captures and refunds alike. Locks, in
this order: the jobs of the orders in id order, stock rows in variant order, carts in id order. The
lock of the job keeps two reports about one order apart; whoever comes second finds everything
written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from shop import carts, stock
from shop.checkout import jobs
from shop.checkout.jobs import Advance, CheckoutJob, Ignore, Outcome, Report
from shop.checkout.states import State
from shop.orders import Order, OrderLine
from shop.payments import cases, ledger, reconcile, refunds
from shop.payments.cases import CaseKind
from shop.payments.gateway import DisputeFact, News
from shop.payments.ledger import Payment, Verdict
from shop.payments.refunds import Refund, RefundReason, RefundStatus

UNPAID_ENDS = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED})
GIVEN_BACK = frozenset({State.REFUNDING, State.REFUNDED})

# With automatic capture Razorpay does it; what is still only authorised after this time, we do.
CAPTURE_GRACE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the checkout does about its money: a move, and what is to be done about payments."""

    outcome: Outcome
    refund: tuple[refunds.Wanted, ...] = ()
    capture: tuple[Payment, ...] = ()
    case: cases.Open | None = None


def settle(news: News, *, via: str, now: datetime) -> Report:
    """
    Record `news` and let the checkouts it concerns follow. Call inside a transaction.

    News about orders that are not ours is passed over. Nothing changes on a repeat.
    """
    ours = ledger.find(fact.gateway_order_id for fact in news.payments)
    of_refunds = {fact.gateway_payment_id for fact in news.refunds}
    known = ledger.orders_of_payments(of_refunds)
    locked = jobs.lock(order_ids=[*known.values(), *(row.order_id for row in ours.values())])
    changed = ledger.record(news.payments, ours, via=via, now=now)
    changed |= refunds.record(news.refunds, now=now)
    _dispute(news.disputes, now=now)
    return _follow_money([job for job in locked if job.order_id in changed], now=now)


def _follow_money(concerned: Sequence[CheckoutJob], *, now: datetime) -> Report:
    if not concerned:
        return Report()
    orders = Order.objects.in_bulk([job.order_id for job in concerned])
    verdicts = ledger.verdicts(list(orders.values()))
    sent_back = refunds.of_orders(list(orders))
    decided = [
        (job, decide(job, order, verdicts[order.pk], sent_back[order.pk]))
        for job in concerned
        for order in [orders[_order_id(job)]]
    ]
    report = jobs.apply([(job, decision.outcome) for job, decision in decided], now=now)
    _deliver([(job, verdicts[_order_id(job)]) for job, it in decided if _pays(it)], now=now)
    refunds.want([wanted for _, decision in decided for wanted in decision.refund], now=now)
    _capture([payment for _, decision in decided for payment in decision.capture], now=now)
    cases.open_cases([it.case for _, it in decided if it.case], now=now)
    jobs.touch([job.pk for job, it in decided if isinstance(it.outcome, Ignore)], now=now)
    return report


def _order_id(job: CheckoutJob) -> int:
    assert job.order_id is not None
    return job.order_id


def _pays(decision: Decision) -> bool:
    return isinstance(decision.outcome, Advance) and decision.outcome.to is State.PAID


def decide(  # noqa: PLR0911 - one answer for each state of affairs
    job: CheckoutJob, order: Order, verdict: Verdict, sent_back: Sequence[Refund]
) -> Decision:
    """
    What `job` does about the money of its order. Holds units again, if late money can be served.

    Surplus money goes back, whatever else is decided: once a payment, the table sees to that.
    """
    state = State(job.state)
    if state is State.IN_REVIEW:
        return Decision(Ignore())
    if state in GIVEN_BACK:
        surplus = [verdict.paid_by, *verdict.excess, *verdict.conflicts]
        return Decision(_given_back(state, sent_back), _all(surplus, RefundReason.LATE))
    if state is State.PAID:
        return Decision(Ignore(), _all([*verdict.excess, *verdict.conflicts], RefundReason.SURPLUS))
    if verdict.conflicts:
        return _review(order, CaseKind.CONFLICT, verdict.conflicts[0], "does not fit the order")
    if verdict.paid_by is None:
        return Decision(Ignore(), capture=verdict.to_capture[:1])
    if state in UNPAID_ENDS and not _can_serve_late(order):
        return _give_back(verdict)
    return Decision(
        Advance(State.PAID, f"{verdict.paid_by.gateway_payment_id} captured"),
        _all(verdict.excess, RefundReason.SURPLUS),
    )


def _can_serve_late(order: Order) -> bool:
    """Whether late money still buys something: by policy, and if the units can be had again."""
    return settings.LATE_PAYMENT == "fulfil" and stock.hold_again(order)


def _give_back(verdict: Verdict) -> Decision:
    return Decision(
        Advance(State.REFUNDING, "paid after the checkout had ended"),
        _all([verdict.paid_by, *verdict.excess], RefundReason.LATE),
    )


def _given_back(state: State, sent_back: Sequence[Refund]) -> Outcome:
    """Refunded once Razorpay's final word is in for every refund; back to people if one failed."""
    statuses = {refund.status for refund in sent_back}
    if state is State.REFUNDED or not statuses:
        return Ignore()
    if RefundStatus.FAILED in statuses:
        return Advance(State.IN_REVIEW, "the refund failed")
    if statuses == {RefundStatus.PROCESSED}:
        return Advance(State.REFUNDED, "refund processed")
    return Ignore()


def _review(order: Order, kind: CaseKind, payment: Payment, why: str) -> Decision:
    """Hand it to operations; the units stay held until they have decided."""
    text = (
        f"{payment.gateway_payment_id} {why}: {payment.amount_paise} paise {payment.currency},"
        f" not {order.amount_paise} paise {order.currency}"
    )
    return Decision(
        Advance(State.IN_REVIEW, text),
        case=cases.Open(order.pk, kind, payment.gateway_payment_id, text),
    )


def _all(payments: Iterable[Payment | None], reason: RefundReason) -> tuple[refunds.Wanted, ...]:
    return tuple(refunds.Wanted(payment, reason) for payment in payments if payment is not None)


def _deliver(paid: Sequence[tuple[CheckoutJob, Verdict]], *, now: datetime) -> None:
    """The held units become the buyers', and leave their carts."""
    if not paid:
        return
    order_ids = [_order_id(job) for job, _ in paid]
    stock.sell(order_ids)
    Order.objects.bulk_update(
        [
            Order(pk=_order_id(job), paid_at=now, paid_by=verdict.paid_by.gateway_payment_id)
            for job, verdict in paid
            if verdict.paid_by is not None
        ],
        ["paid_at", "paid_by"],
    )
    reconcile.stop_asking(
        [verdict.paid_by.gateway_order_id for _, verdict in paid if verdict.paid_by is not None]
    )
    owners = {_order_id(job): job.owner_id for job, _ in paid}
    bought: Counter[tuple[int, int]] = Counter()
    lines = OrderLine.objects.filter(order_id__in=order_ids)
    for order_id, variant_id, units in lines.values_list("order_id", "variant_id", "units"):
        bought[owners[order_id], variant_id] += units
    carts.remove_bought(bought, now=now)


def _capture(payments: Sequence[Payment], *, now: datetime) -> None:
    """Have these captured: at once if that is our business, else if Razorpay does not do it."""
    grace = timedelta() if settings.RAZORPAY_CAPTURE == "manual" else CAPTURE_GRACE
    ledger.plan_capture(payments, at=now + grace)


def _dispute(facts: Sequence[DisputeFact], *, now: datetime) -> None:
    """A dispute is a case, whatever becomes of it; the order stays what it is."""
    known = ledger.orders_of_payments({fact.gateway_payment_id for fact in facts})
    cases.open_cases(
        [
            cases.Open(
                known[fact.gateway_payment_id],
                CaseKind.DISPUTE,
                fact.id,
                f"{fact.gateway_payment_id} is disputed: {fact.amount_paise} paise, {fact.status}",
            )
            for fact in facts
            if fact.gateway_payment_id in known
        ],
        now=now,
    )
