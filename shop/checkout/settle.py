"""
Settle: the one place where what the ledger knows about money becomes a move of the checkout.

Fed by webhooks and by our own questions alike. Locks, in this order: the jobs of the orders in id
order, stock rows in variant order, carts in id order. The lock of the job keeps two reports about
one order apart; whoever comes second finds everything written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from shop import carts, stock
from shop.checkout import jobs
from shop.checkout.jobs import Advance, CheckoutJob, Ignore, Outcome, Report
from shop.checkout.states import State
from shop.orders import Order, OrderLine
from shop.payments import ledger, reconcile
from shop.payments.gateway import PaymentFact
from shop.payments.ledger import Verdict

UNPAID_ENDS = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED})


def settle(facts: Iterable[PaymentFact], *, via: str, now: datetime) -> Report:
    """
    Record `facts` and let the checkouts they concern follow. Call inside a transaction.

    Facts about orders that are not ours are passed over. Nothing changes on a repeat.
    """
    facts = list(facts)
    ours = ledger.find(fact.gateway_order_id for fact in facts)
    locked = jobs.lock(order_ids=[row.order_id for row in ours.values()])
    changed = ledger.record(facts, ours, via=via, now=now)
    concerned = [job for job in locked if job.order_id in changed]
    if not concerned:
        return Report()
    orders = Order.objects.in_bulk([job.order_id for job in concerned])
    verdicts = ledger.verdicts(list(orders.values()))
    decided = [
        (job, _follow(job, orders[_order_id(job)], verdicts[_order_id(job)])) for job in concerned
    ]
    report = jobs.apply(decided, now=now)
    _deliver([job for job, outcome in decided if _is_paid(outcome)], now=now)
    _show([job.pk for job, outcome in decided if isinstance(outcome, Ignore)], now=now)
    return report


def _order_id(job: CheckoutJob) -> int:
    assert job.order_id is not None
    return job.order_id


def _is_paid(outcome: Outcome) -> bool:
    return isinstance(outcome, Advance) and outcome.to is State.PAID


def _follow(job: CheckoutJob, order: Order, verdict: Verdict) -> Outcome:
    """What the job does about the money of its order."""
    state = State(job.state)
    if state in {State.REFUNDING, State.REFUNDED, State.IN_REVIEW}:
        return Ignore()
    if verdict.conflicts:
        payment = verdict.conflicts[0]
        return _review(
            job,
            f"{payment.gateway_payment_id} is {payment.amount_paise} paise {payment.currency},"
            f" not {order.amount_paise} paise {order.currency}",
        )
    if verdict.paid_by is None or state is State.PAID:
        return Ignore()
    paid = Advance(State.PAID, f"{verdict.paid_by.gateway_payment_id} captured")
    if state in UNPAID_ENDS:
        if stock.hold_again(order):
            return paid
        return _review(
            job, f"{verdict.paid_by.gateway_payment_id} came when the units were sold to others"
        )
    return paid


def _review(job: CheckoutJob, because: str) -> Outcome:
    """Hand it to operations. A paid order stays paid: its surplus shows in the books."""
    return Ignore() if job.state == State.PAID else Advance(State.IN_REVIEW, because)


def _deliver(paid: Sequence[CheckoutJob], *, now: datetime) -> None:
    """The held units become the buyers', and leave their carts."""
    if not paid:
        return
    order_ids = [_order_id(job) for job in paid]
    stock.sell(order_ids)
    Order.objects.filter(pk__in=order_ids).update(paid_at=now)
    reconcile.stop_asking(order_ids)
    owners = {_order_id(job): job.owner_id for job in paid}
    bought: Counter[tuple[int, int]] = Counter()
    lines = OrderLine.objects.filter(order_id__in=order_ids)
    for order_id, variant_id, units in lines.values_list("order_id", "variant_id", "units"):
        bought[owners[order_id], variant_id] += units
    carts.remove_bought(bought, now=now)


def _show(job_ids: Sequence[object], *, now: datetime) -> None:
    """The job stays where it is, but its status reads differently: a payment failed, say."""
    if job_ids:
        jobs.touch(job_ids, now=now)
