"""The local step `reconcile_webhook`: from the inbox through the ledger to the checkouts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout import failures
from shop.checkout.jobs import MOST_ATTEMPTS, Report, backoff
from shop.checkout.settle import settle
from shop.payments import inbox, ledger
from shop.payments.gateway import News
from shop.payments.inbox import InboxEvent, Reading

# An event may overtake our own record of the Razorpay order it is about. After this time, an order
# that we do not know belongs to another shop on the same account.
NOT_OURS_AFTER = timedelta(minutes=5)


class ReconcileWebhook:
    name = "reconcile_webhook"

    def lock_due(self, *, limit: int, now: datetime) -> list[InboxEvent]:
        return inbox.lock_due(limit=limit, now=now)

    def carry(self, items: Sequence[InboxEvent], *, now: datetime) -> Report:
        """Settle what all these events say at once, so that three of one payment lock once."""
        readings = [(event, inbox.read(bytes(event.body))) for event in items]
        news = News.joined(reading.news for _, reading in readings)
        ours = ledger.find(fact.gateway_order_id for fact in news.payments)
        report = settle(news, via="webhook", now=now, ours=ours)
        known = set(ours) | set(ledger.orders_of_payments(_payments_alone_in(news)))
        done = []
        for event, reading in readings:
            if _may_become_ours(event, reading, known=known, now=now):
                report.counts["early"] += 1
                inbox.postpone(event, until=now + backoff(event.attempts + 1), last_error="")
            else:
                report.counts["handled"] += 1
                done.append((event, reading, _result(reading, known=known)))
        inbox.handled(done, now=now)
        retried = [event for event, _, _ in done if event.attempts]
        failures.close_cases(_orders_concerned(retried), now=now)
        return report

    def after_bug(self, item: InboxEvent, *, error: str, now: datetime) -> Report:
        attempts = item.attempts + 1
        until = now + backoff(attempts) if attempts < MOST_ATTEMPTS else None
        inbox.postpone(item, until=until, last_error=error)
        failures.open_cases(_orders_concerned([item]), error=error, now=now)
        report = Report()
        report.counts["raised"] += 1
        return report

    def after_lock(self, item: InboxEvent, *, until: datetime, now: datetime) -> Report:
        inbox.put_off(item, until=until)
        report = Report()
        report.counts["locked"] += 1
        return report


def _may_become_ours(
    event: InboxEvent, reading: Reading, *, known: set[str], now: datetime
) -> bool:
    unknown = (_orders_in(reading) | _payments_alone_in(reading.news)) - known
    return bool(unknown) and now < event.received_at + NOT_OURS_AFTER


def _orders_in(reading: Reading) -> set[str]:
    """A payment without an order was not made through a checkout of ours."""
    return {fact.gateway_order_id for fact in reading.news.payments if fact.gateway_order_id}


def _payments_alone_in(news: News) -> set[str]:
    """Those that a refund or a dispute is of, and of which nothing else says whose they are."""
    told = {fact.gateway_payment_id for fact in news.refunds}
    told |= {fact.gateway_payment_id for fact in news.disputes}
    return told - {fact.id for fact in news.payments}


def _orders_concerned(events: Sequence[InboxEvent]) -> set[int]:
    """The orders of ours that these events name, as far as they can be read."""
    bodies = [bytes(event.body) for event in events]
    rows = ledger.find(name for body in bodies for name in inbox.orders_named_in(body))
    payments = {name for body in bodies for name in inbox.payments_named_in(body)}
    of_payments = ledger.orders_of_payments(payments)
    return {*(row.order_id for row in rows.values()), *of_payments.values()}


def _result(reading: Reading, *, known: set[str]) -> str:
    if reading.problem:
        return reading.problem
    if reading.news == News():
        return "no money in it"
    if unknown := _payments_alone_in(reading.news) - known:
        return f"{inbox.UNREADABLE}: nothing says whose the payment {min(unknown)} is"
    return "settled" if _orders_in(reading) <= known else "not ours"
