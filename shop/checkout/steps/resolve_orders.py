"""
The remote step `resolve_orders`: find out whose Razorpay order an unknown one in a webhook is.

It may be a duplicate of ours: made by a create call whose answer was lost, and listed only after we
had searched. Or it belongs to another shop on the same account; that is kept, so the next webhook
about it needs no call.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings

from shop import backoff
from shop.checkout import jobs
from shop.checkout.outcomes import Counted, RunReport
from shop.checkout.steps.runner import RemoteStep
from shop.payments import inbox, ledger
from shop.payments.gateway import Declined, Gateway, GatewayError, RemoteOrder
from shop.payments.inbox import EventOutcome, InboxEvent
from shop.payments.ledger import GatewayOrder

MAX_ATTEMPTS = 14  # with pauses that double: more than two hours
FIRST_RETRY_PAUSE = timedelta(seconds=1)
MAX_RETRY_PAUSE = timedelta(hours=3)


class ResolveOrders(RemoteStep[InboxEvent, RemoteOrder]):
    name = "resolve_orders"

    def claim(self, *, limit: int, now: datetime) -> list[InboxEvent]:
        """
        At most a tenth of a second's call budget: another shop on the account may be busy. Orders
        that were recorded since the webhook came need no call.
        """
        share = max(1, settings.GATEWAY_REQUESTS_PER_SECOND // 10)
        due = inbox.claim_unresolved(limit=min(limit, share), now=now)
        known = ledger.find(event.gateway_order_id for event in due)
        inbox.handle_again(known, now=now)
        return [event for event in due if event.gateway_order_id not in known]

    def call(self, gateway: Gateway, work: InboxEvent) -> RemoteOrder:
        return gateway.fetch_order(gateway_order_id=work.gateway_order_id)

    def order_of(self, work: InboxEvent) -> int:
        return 0  # no order of ours yet: the breaker counts these calls as one

    def record(
        self, answers: Sequence[tuple[InboxEvent, RemoteOrder | GatewayError]], *, now: datetime
    ) -> RunReport:
        """Locks the jobs of the orders found, in id order, before it adopts duplicates."""
        found = [answer for _, answer in answers if isinstance(answer, RemoteOrder)]
        rows = ledger.of_receipts({order.receipt for order in found if order.receipt})
        jobs.lock(order_ids=[row.order_id for row in rows.values()])
        ours = [
            ledger.Adoption(rows[order.receipt], [order], now)
            for order in found
            if order.receipt in rows and _fits(order, rows[order.receipt])
        ]
        ledger.adopt(ours, now=now)
        ids = {order.id for adoption in ours for order in adoption.orders}
        inbox.handle_again(ids, now=now)
        report = RunReport()
        for event, answer in answers:
            report.count(_note(event, answer, ours=ids, rows=rows, now=now))
        return report


def _fits(order: RemoteOrder, row: GatewayOrder) -> bool:
    return (order.amount_paise, order.currency) == (row.amount_paise, row.currency)


def _note(
    event: InboxEvent,
    answer: RemoteOrder | GatewayError,
    *,
    ours: set[str],
    rows: dict[str, GatewayOrder],
    now: datetime,
) -> Counted:
    """Write down the answer about an order that is not adopted. Returns how it counts."""
    of_order = [event.gateway_order_id]
    if isinstance(answer, RemoteOrder) and answer.id in ours:
        return Counted.ADOPTED
    if isinstance(answer, RemoteOrder) and answer.receipt in rows:
        inbox.resolved(of_order, EventOutcome.OTHER_AMOUNT)
        return Counted.OTHER_AMOUNT
    if isinstance(answer, RemoteOrder | Declined):
        inbox.resolved(of_order, EventOutcome.NOT_OURS)
        return Counted.NOT_OURS
    if event.attempts >= MAX_ATTEMPTS:
        inbox.resolved(of_order, EventOutcome.UNRESOLVED)
        return Counted.GIVEN_UP
    attempts = event.attempts + 1  # as read before this attempt was counted
    pause = backoff.exponential(attempts, first=FIRST_RETRY_PAUSE, longest=MAX_RETRY_PAUSE)
    inbox.retry_resolve(event, at=now + pause, last_error=str(answer))
    return Counted.POSTPONED
