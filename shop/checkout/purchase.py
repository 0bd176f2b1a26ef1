"""
One purchase for each buyer: what a checkout's money means for the buyer's other checkouts.

Two checkouts of one buyer *compete* if they share a product: the buyer may tap "buy" twice, use two
tabs, or try again after an attempt whose money comes later, and wants the goods once. A POST, a
cancellation, the expiry, `settle` and staff actions all use these rules:

- Money of an unsettled checkout is *known* if a payment is authorised or captured, *signed for* if
  the browser returned with a genuine signature and no poll was answered since. In both cases the
  buyer can neither start another checkout nor cancel this one, and it keeps its units. Authorised
  money of an ended checkout that we do not capture counts as settled: the buyer can start again.
- Money for an ended checkout is served unless the buyer has bought one of its products since, a
  competing checkout has money, or the units are gone. Competing checkouts without money are
  cancelled.

Lock order: the buyer's checkouts in id order, then stock rows by variant.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.db.models import Max, Min, Q

from shop import stock
from shop.checkout import jobs
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.outcomes import Advance, RunReport
from shop.checkout.states import OPEN, UNPAID_ENDS, UNSETTLED, State, in_sql
from shop.db import fast
from shop.payments.polling import LATEST_AUTHORISATION

# Money can come for this long after a checkout's end. A POST ignores checkouts that ended earlier.
MONEY_MAY_COME_FOR = LATEST_AUTHORISATION

BY_POLICY = "paid after the checkout had ended"
BOUGHT_SINCE = "paid after the buyer had bought the same in another checkout"
BEING_PAID = "paid while the buyer paid for the same in another checkout"
SOLD_OUT = "paid after the checkout had ended and its units were sold"

CONFIRMING = "Your payment has reached the bank. We are confirming it; please do not pay again."
EARLIER_PAYMENT_CAME = (
    "Your earlier payment for these items has arrived, so this checkout was closed."
    " Nothing was charged for it."
)


def lock_unsettled(*, owner_id: int, now: datetime) -> list[CheckoutJob]:
    """
    The buyer's unsettled checkouts, locked in id order until the transaction ends: open ones, those
    in review, and ended ones for which money may still come.
    """
    tail = f"WHERE owner_id = %s AND {unsettled('shop_checkoutjob')} ORDER BY id FOR NO KEY UPDATE"
    return fast.select(CheckoutJob, tail, [owner_id, now - MONEY_MAY_COME_FOR])


def unsettled(table: str) -> str:
    """
    The SQL condition of `lock_unsettled` for the checkout `table`. Its one parameter is the time
    before which an end is too old for money to come.
    """
    return (
        f"({table}.state IN ({in_sql(OPEN | {State.IN_REVIEW})})"
        f" OR ({table}.state IN ({in_sql(UNPAID_ENDS)}) AND {table}.order_id IS NOT NULL"
        f" AND {table}.updated_at > %s))"
    )


_LOCK_WITH_COMPETING = f"""
    WHERE id IN (
        SELECT id FROM shop_checkoutjob WHERE order_id = ANY(%s)
        UNION
        SELECT other.id FROM shop_checkoutjob AS job
        JOIN shop_checkoutjob AS other ON other.owner_id = job.owner_id
        WHERE job.order_id = ANY(%s) AND (
            other.state IN ({in_sql(OPEN)})
            OR (job.state IN ({in_sql(UNPAID_ENDS)}) AND other.order_id IS NOT NULL
                AND other.state IN ({in_sql(UNSETTLED)}))
        )
    ) ORDER BY id FOR NO KEY UPDATE
"""


def lock_with_competing(order_ids: Collection[int]) -> list[CheckoutJob]:
    """
    The checkouts of these orders and those that they may compete with, locked in id order until the
    transaction ends.

    An open checkout may compete with the buyer's other open ones; an ended one also with ended ones
    and those in review, so two late payments of one buyer are decided one after the other.
    """
    if not order_ids:
        return []
    ids = fast.array(set(order_ids))
    return fast.select(CheckoutJob, _LOCK_WITH_COMPETING, [ids, ids])


_WITH_MONEY = f"""
    SELECT DISTINCT job.id
    FROM shop_checkoutjob AS job JOIN shop_gatewayorder AS at_gateway
        ON at_gateway.order_id = job.order_id
    WHERE job.id = ANY(%s) AND (
        EXISTS (
            SELECT FROM shop_payment AS payment WHERE payment.gateway_order_id = at_gateway.id
                AND (payment.status = 'captured' OR payment.status = 'authorized' AND (
                    payment.capture_at IS NOT NULL
                    OR job.state NOT IN ({in_sql(UNPAID_ENDS)})))
        ) OR (
            at_gateway.gateway_order_id IS NOT NULL AND job.returned_at > %s
            AND (at_gateway.polled_at IS NULL OR at_gateway.polled_at < job.returned_at)
        )
    )
"""


def with_money(checkouts: Collection[CheckoutJob], *, now: datetime) -> set[uuid.UUID]:
    """
    Ids of these checkouts whose money is known or signed for. One statement, no lock.

    Known: a payment is captured or authorised; after the end of its checkout an authorised one
    counts only if we plan to capture it. Signed for: the browser came back with Razorpay's
    signature, and Razorpay has not answered a poll since; that counts for as long as an
    authorisation can come (`MONEY_MAY_COME_FOR`).
    """
    ids = [job.pk for job in checkouts if job.order_id is not None]
    if not ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_WITH_MONEY, [fast.array(ids), now - MONEY_MAY_COME_FOR])
        return {job_id for (job_id,) in cursor.fetchall()}


def compete(one: CheckoutJob, other: CheckoutJob) -> bool:
    """Whether these are two checkouts of one buyer that share a product."""
    return (
        one.pk != other.pk
        and one.owner_id == other.owner_id
        and not _products(one).isdisjoint(_products(other))
    )


def same_cart(one: CheckoutJob, other: CheckoutJob) -> bool:
    """Whether both have the same units at the same prices. The cart's version does not matter."""
    return _units_and_prices(one) == _units_and_prices(other)


def _products(job: CheckoutJob) -> set[int]:
    return {line.variant_id for line in job.frozen_lines}


def _units_and_prices(job: CheckoutJob) -> list[tuple[int, int, int]]:
    lines = job.frozen_lines
    return sorted((line.variant_id, line.units, line.unit_price_paise) for line in lines)


def bought_since(ended: Collection[CheckoutJob]) -> set[uuid.UUID]:
    """
    Ids of these checkouts whose buyer has since paid for one of their products in another.

    *Since* is decided by the ids of transitions, which grow: clocks of several machines differ.
    """
    transitions = Transition.objects.order_by().values("job").annotate(first=Min("id"))
    first = dict(transitions.filter(job__in=ended).values_list("job", "first"))
    paid = (
        CheckoutJob.objects.filter(owner_id__in={job.owner_id for job in ended}, state=State.PAID)
        .annotate(paid_transition=Max("transitions__id", filter=Q(transitions__new=State.PAID)))
        .filter(paid_transition__gt=min((first.get(job.pk, 0) for job in ended), default=0))
    )
    since = {other: other.paid_transition for other in paid}
    return {
        job.pk
        for job in ended
        if any(
            compete(job, other) and paid_transition > first.get(job.pk, 0)
            for other, paid_transition in since.items()
        )
    }


@dataclass
class Allocation:
    """
    The result of `allocate`, by checkout id. All other checkouts that it was asked about are their
    buyers' only purchase of their products, and hold their units.
    """

    refused: dict[uuid.UUID, str] = field(default_factory=dict)  # why its money is not served
    waiting: set[uuid.UUID] = field(default_factory=set)  # for the open checkout of the same cart
    report: RunReport = field(default_factory=RunReport)  # of the checkouts that were cancelled


def allocate(
    *,
    paying: Sequence[CheckoutJob],
    ended: Sequence[CheckoutJob],
    uncaptured: Collection[uuid.UUID] = (),
    locked: Sequence[CheckoutJob],
    now: datetime,
) -> Allocation:
    """
    Decide which of these checkouts the buyers' money buys, and cancel open ones that compete.

    `paying`: open checkouts with captured money. Each is served, unless a competing
    checkout was served before it in this call.
    `ended`: ended checkouts with money. Each is served by the rule above, whole or not at all; then
    its units are held again.
    `uncaptured`: those of `ended` whose money is only authorised. To be served they are opened
    again. A cart has one open checkout: if that has other products, they wait until it ends.
    `locked`: all checkouts that `lock_with_competing` has locked in this transaction.

    Locks the stock rows of all of them at once, in variant order, if there is anything to decide,
    or if the end of a review may release units while others are sold.
    """
    is_alone = not ended and len({job.owner_id for job in locked}) == len(locked)
    if is_alone and not (paying and any(job.state == State.IN_REVIEW for job in locked)):
        return Allocation()
    return _Allocator(paying, ended, uncaptured, locked, now=now).allocate()


class _Allocator:
    def __init__(
        self,
        paying: Sequence[CheckoutJob],
        ended: Sequence[CheckoutJob],
        uncaptured: Collection[uuid.UUID],
        locked: Sequence[CheckoutJob],
        *,
        now: datetime,
    ) -> None:
        self.paying, self.ended, self.uncaptured, self.now = paying, ended, uncaptured, now
        self.allocation = Allocation()
        self.served: list[CheckoutJob] = []
        self.idle = [job for job in locked if State(job.state) in OPEN and job not in paying]
        self.with_money = with_money(self.idle, now=now)
        self.bought = bought_since(ended) if ended else set()
        self.held = stock.held_by(
            {order_id for job in locked for order_id in job.holding_order_ids}
        )
        units = (*self.held.values(), *(_units(job) for job in ended))
        self.free = stock.lock({variant_id for each in units for variant_id in each})

    def allocate(self) -> Allocation:
        for job in self.paying:
            if any(compete(job, other) for other in self.served):
                self.allocation.refused[job.pk] = BOUGHT_SINCE
            else:
                self._serve(job)
        for job in self.ended:
            if refusal := self._refusal(job):
                self.allocation.refused[job.pk] = refusal
            elif job.pk in self.uncaptured and self._is_cart_taken(job):
                self.allocation.waiting.add(job.pk)
            else:
                self._serve(job)
                stock.hold_again(_order_id(job))
                self.free.subtract(_units(job))
        return self.allocation

    def _refusal(self, job: CheckoutJob) -> str | None:
        if settings.LATE_PAYMENT != "fulfil":
            return BY_POLICY
        if job.pk in self.bought or any(compete(job, other) for other in self.served):
            return BOUGHT_SINCE
        competing = self._competing(job)
        if any(other.pk in self.with_money for other in competing):
            return BEING_PAID
        free = self.free + self._units_held_for(competing)
        if any(free[variant_id] < units for variant_id, units in _units(job).items()):
            return SOLD_OUT
        return None

    def _is_cart_taken(self, job: CheckoutJob) -> bool:
        others = (other for other in (*self.idle, *self.served) if not compete(job, other))
        return any(other.cart_id == job.cart_id for other in others)

    def _serve(self, job: CheckoutJob) -> None:
        competing = self._competing(job)
        self.allocation.report.add(cancel_competing(competing, now=self.now))
        self.free.update(self._units_held_for(competing))
        self.idle = [other for other in self.idle if other not in competing]
        self.served.append(job)

    def _competing(self, job: CheckoutJob) -> list[CheckoutJob]:
        return [other for other in self.idle if compete(job, other)]

    def _units_held_for(self, checkouts: Sequence[CheckoutJob]) -> Counter[int]:
        return stock.total(
            self.held[order_id] for job in checkouts for order_id in job.holding_order_ids
        )


def cancel_competing(competing: Sequence[CheckoutJob], *, now: datetime) -> RunReport:
    """Cancel open checkouts because the buyer's payment for the same in another has arrived."""
    cancelled = Advance(
        State.CANCELLED, "an earlier payment for the same came", buyer_sees=EARLIER_PAYMENT_CAME
    )
    return jobs.apply([(job, cancelled) for job in competing], now=now)


def _units(job: CheckoutJob) -> Counter[int]:
    units: Counter[int] = Counter()
    for line in job.frozen_lines:
        units[line.variant_id] += line.units
    return units


def _order_id(job: CheckoutJob) -> int:
    assert job.order_id is not None
    return job.order_id
