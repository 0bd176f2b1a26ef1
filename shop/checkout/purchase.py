"""
One buyer, one purchase: what the money of a checkout means beside the buyer's other checkouts.

Two checkouts of one buyer *compete* if they share a product: the buyer may tap "buy" twice, use two
tabs, or try again after an attempt whose money comes later, and wants the goods once. Whatever asks
what money means (a POST, a cancellation, the expiry, `settle`, a decision of staff) asks here:

- Money is known, or signed for, of a checkout that is not settled: the buyer cannot start or cancel
  beside it, and it keeps its units. Authorised money of an ended checkout that we do not capture
  is settled: the buyer can start again.
- Money for an ended checkout is served unless the buyer has bought one of its products since, a
  competing checkout has money, or the units are gone. Competing checkouts without money make way.

Lock order: the buyer's checkouts in id order, then stock rows.
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
from shop.checkout.jobs import CheckoutJob, Transition, in_sql
from shop.checkout.outcomes import Advance, RunReport
from shop.checkout.states import OPEN, UNPAID_ENDS, UNSETTLED, State
from shop.db import fast
from shop.payments.polling import LATEST_AUTHORISATION

# So long after its end money can still come for a checkout. Older ones do not concern a POST.
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
    The buyer's checkouts that a new one has to reckon with, locked in id order until the
    transaction ends: open ones, those in review, and ended ones whose money may still come.
    """
    tail = f"WHERE owner_id = %s AND {unsettled('shop_checkoutjob')} ORDER BY id FOR NO KEY UPDATE"
    return fast.select(CheckoutJob, tail, [owner_id, now - MONEY_MAY_COME_FOR])


def unsettled(table: str) -> str:
    """
    The condition of `lock_unsettled`, of a checkout that the statement calls `table`. Its one
    parameter is the time before which an end is too old for money to come.
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
    The checkouts of these orders and those of the same buyers that they may compete with, locked
    in id order until the transaction ends.

    Beside an open checkout these are the buyer's other open ones; beside an ended one also ended
    ones and those in review, so two late payments of one buyer are decided one after the other.
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


def with_money(found: Collection[CheckoutJob], *, now: datetime) -> set[uuid.UUID]:
    """
    Those of these checkouts whose money is known or signed for. One statement, no lock.

    Known: a payment is captured or authorised; after the end of its checkout an authorised one
    counts only if we plan to capture it. Signed for: the browser came back with Razorpay's
    signature, and Razorpay has not yet answered our poll since; that counts for as long as an
    authorisation can come (`MONEY_MAY_COME_FOR`).
    """
    ids = [job.pk for job in found if job.order_id is not None]
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
    """Whether both ask for the same units at the same prices, whatever the cart's version says."""
    return _units_and_prices(one) == _units_and_prices(other)


def _products(job: CheckoutJob) -> set[int]:
    return {line.variant_id for line in job.frozen_lines}


def _units_and_prices(job: CheckoutJob) -> list[tuple[int, int, int]]:
    lines = job.frozen_lines
    return sorted((line.variant_id, line.units, line.unit_price_paise) for line in lines)


def bought_since(ended: Collection[CheckoutJob]) -> set[uuid.UUID]:
    """
    Those of these checkouts whose buyer has since paid for one of their products in another.

    *Since* is told by the numbers of transitions, which grow: clocks of several machines differ.
    """
    moves = Transition.objects.order_by().values("job").annotate(first=Min("id"))
    first = dict(moves.filter(job__in=ended).values_list("job", "first"))
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
class Room:
    """
    What `make_room` came to: for each checkout whose money is not to be served, by id, why not, and
    those that wait for the open checkout of their cart. All others are the buyer's only purchase of
    their products, and hold their units.
    """

    refused: dict[uuid.UUID, str] = field(default_factory=dict)
    waiting: set[uuid.UUID] = field(default_factory=set)
    report: RunReport = field(default_factory=RunReport)


def make_room(
    *,
    paying: Sequence[CheckoutJob],
    ended: Sequence[CheckoutJob],
    uncaptured: Collection[uuid.UUID] = (),
    beside: Sequence[CheckoutJob],
    now: datetime,
) -> Room:
    """
    Decide which of these checkouts the buyers' money buys, and let others make way for them.

    `paying`: open ones with captured money; each is served, unless one that it competes with is.
    `ended`: ended ones with money. They are served by the rule above, whole or not at all, and
    then their units are held again. Open checkouts that compete with a served one are cancelled.
    `uncaptured`: those of `ended` whose money is only authorised. They would be open again, and a
    cart has one open checkout, so they wait for one that does not compete.
    `beside`: all that `lock_with_competing` has locked, in this transaction. Locks the stock rows
    of all of them at once, in variant order, where there is anything to decide, or where units may
    be released by the end of a review while others are sold.
    """
    is_alone = not ended and len({job.owner_id for job in beside}) == len(beside)
    if is_alone and not (paying and any(job.state == State.IN_REVIEW for job in beside)):
        return Room()
    return _RoomMaker(paying, ended, uncaptured, beside, now=now).decide()


class _RoomMaker:
    def __init__(
        self,
        paying: Sequence[CheckoutJob],
        ended: Sequence[CheckoutJob],
        uncaptured: Collection[uuid.UUID],
        beside: Sequence[CheckoutJob],
        *,
        now: datetime,
    ) -> None:
        self.paying, self.ended, self.uncaptured, self.now = paying, ended, uncaptured, now
        self.room = Room()
        self.served: list[CheckoutJob] = []
        self.idle = [job for job in beside if State(job.state) in OPEN and job not in paying]
        self.with_money = with_money(self.idle, now=now)
        self.bought = bought_since(ended) if ended else set()
        self.held = stock.held_by(
            {order_id for job in beside for order_id in job.holding_order_ids}
        )
        units = (*self.held.values(), *(_units(job) for job in ended))
        self.free = stock.lock({variant_id for each in units for variant_id in each})

    def decide(self) -> Room:
        for job in self.paying:
            if any(compete(job, other) for other in self.served):
                self.room.refused[job.pk] = BOUGHT_SINCE
            else:
                self._serve(job)
        for job in self.ended:
            if refusal := self._refusal(job):
                self.room.refused[job.pk] = refusal
            elif job.pk in self.uncaptured and self._is_cart_taken(job):
                self.room.waiting.add(job.pk)
            else:
                self._serve(job)
                stock.hold_again(_order_id(job))
                self.free.subtract(_units(job))
        return self.room

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
        others = (it for it in (*self.idle, *self.served) if not compete(job, it))
        return any(other.cart_id == job.cart_id for other in others)

    def _serve(self, job: CheckoutJob) -> None:
        competing = self._competing(job)
        self.room.report.add(close(competing, now=self.now))
        self.free.update(self._units_held_for(competing))
        self.idle = [other for other in self.idle if other not in competing]
        self.served.append(job)

    def _competing(self, job: CheckoutJob) -> list[CheckoutJob]:
        return [other for other in self.idle if compete(job, other)]

    def _units_held_for(self, found: Sequence[CheckoutJob]) -> Counter[int]:
        return stock.total(
            self.held[order_id] for job in found for order_id in job.holding_order_ids
        )


def close(competing: Sequence[CheckoutJob], *, now: datetime) -> RunReport:
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
