"""The local step `reconcile_webhook`: from the inbox through the ledger to the checkouts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout import settle_failures
from shop.checkout.jobs import MAX_ATTEMPTS, MAX_RETRY_PAUSE, retry_pause
from shop.checkout.outcomes import RunReport
from shop.checkout.settle import settle
from shop.payments import inbox, ledger
from shop.payments.gateway import GatewayReport
from shop.payments.inbox import InboxEvent, Reading
from shop.payments.razorpay import webhooks

# After this time, a refund or a dispute whose payment nobody has told us of is shown to people.
PAYMENT_COMES_WITHIN = timedelta(minutes=5)


class ReconcileWebhook:
    name = "reconcile_webhook"

    def lock_due(self, *, limit: int, now: datetime) -> list[InboxEvent]:
        return inbox.lock_due(limit=limit, now=now)

    def process(self, items: Sequence[InboxEvent], *, now: datetime) -> RunReport:
        """Settle what all these events say at once, so that three of one payment lock once."""
        readings = [(event, webhooks.read(bytes(event.body))) for event in items]
        gateway_report = GatewayReport.joined(reading.gateway_report for _, reading in readings)
        ours = ledger.find(fact.gateway_order_id for fact in gateway_report.payments)
        report = settle(gateway_report, via="webhook", now=now, ours=ours)
        alone = {it for _, reading in readings for it in _payments_alone_in(reading.gateway_report)}
        known = set(ours) | set(ledger.orders_of_payments(alone))
        whose = _whose(readings, known=known)
        done = []
        ask: dict[str, int] = {}
        for event, reading in readings:
            if _awaits_its_payment(event, reading, known=known, now=now):
                report.counts["early"] += 1
                inbox.put_off(event, until=now + _pause(event, now=now))
                continue
            result = _result(reading, known=known, whose=whose)
            if result == "":
                result = inbox.RESOLVING
                ask.setdefault(reading.gateway_order_id, event.pk)
            done.append((event, reading, result))
        report.counts.update(handled=len(done), unknown=len(ask))
        inbox.handled(done, ask=list(ask.values()), now=now)
        retried = [event for event, _, _ in done if event.attempts]
        settle_failures.close_cases(_orders_concerned(retried), now=now)
        return report

    def on_error(self, item: InboxEvent, *, error: str, now: datetime) -> RunReport:
        attempts = item.attempts + 1
        until = now + retry_pause(attempts) if attempts < MAX_ATTEMPTS else None
        inbox.postpone(
            item,
            until=until,
            last_error=error,
            gateway_order_id=webhooks.order_named_in(bytes(item.body)),
        )
        settle_failures.open_cases(_orders_concerned([item]), error=error, now=now)
        report = RunReport()
        report.counts["raised"] += 1
        return report

    def on_locked(self, item: InboxEvent, *, until: datetime, now: datetime) -> RunReport:
        inbox.put_off(item, until=until)
        report = RunReport()
        report.counts["locked"] += 1
        return report


def _awaits_its_payment(
    event: InboxEvent, reading: Reading, *, known: set[str], now: datetime
) -> bool:
    """A refund or a dispute may overtake the report of its payment."""
    unknown = _payments_alone_in(reading.gateway_report) - known
    return bool(unknown) and now < event.received_at + PAYMENT_COMES_WITHIN


def _pause(event: InboxEvent, *, now: datetime) -> timedelta:
    """About as long as it has waited already: nothing went wrong, so no attempt is counted."""
    return min(max(now - event.received_at, timedelta(seconds=1)), MAX_RETRY_PAUSE)


def _payments_alone_in(gateway_report: GatewayReport) -> set[str]:
    """Those that a refund or a dispute is of, and of which nothing else says whose they are."""
    told = {fact.gateway_payment_id for fact in gateway_report.refunds}
    told |= {fact.gateway_payment_id for fact in gateway_report.disputes}
    return told - {fact.id for fact in gateway_report.payments}


def _orders_concerned(events: Sequence[InboxEvent]) -> set[int]:
    """The orders of ours that these events name, as far as they can be read."""
    bodies = [bytes(event.body) for event in events]
    rows = ledger.find(name for body in bodies for name in webhooks.orders_named_in(body))
    payments = {name for body in bodies for name in webhooks.payments_named_in(body)}
    of_payments = ledger.orders_of_payments(payments)
    return {*(row.order_id for row in rows.values()), *of_payments.values()}


def _whose(readings: Sequence[tuple[InboxEvent, Reading]], *, known: set[str]) -> dict[str, str]:
    """
    What is known of the orders that we do not know: `NOT_OURS`, `ASKING`, or nothing yet ("").

    An order entity says its receipt, so most events of other shops on the account cost no call.
    One that is replayed is asked about anew.
    """
    unknown = [
        (event, reading)
        for event, reading in readings
        if reading.gateway_order_id and reading.gateway_order_id not in known
    ]
    if not unknown:
        return {}
    ours = ledger.of_receipts({reading.receipt for _, reading in unknown if reading.receipt})
    found = inbox.known_to_be([reading.gateway_order_id for _, reading in unknown])
    whose: dict[str, str] = {}
    for event, reading in unknown:
        is_theirs = reading.receipt and reading.receipt not in ours
        remembered = "" if event.result else found.get(reading.gateway_order_id, "")
        told = inbox.NOT_OURS if is_theirs else remembered
        whose[reading.gateway_order_id] = whose.get(reading.gateway_order_id) or told
    return whose


def _result(reading: Reading, *, known: set[str], whose: dict[str, str]) -> str:
    """What the event came to; empty if Razorpay has to be asked whose order it is of."""
    if reading.problem:
        return reading.problem
    if reading.gateway_report == GatewayReport():
        return "no money in it"
    if unknown := _payments_alone_in(reading.gateway_report) - known:
        return f"{inbox.UNREADABLE}: nothing says whose the payment {min(unknown)} is"
    return whose.get(reading.gateway_order_id, "settled")
