"""The local step `reconcile_webhook`: read the events of the inbox and settle what they report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shop.checkout import settle_failures
from shop.checkout.jobs import MAX_ATTEMPTS, MAX_RETRY_PAUSE, retry_pause
from shop.checkout.outcomes import Counted, RunReport
from shop.checkout.settle import settle
from shop.payments import inbox, ledger
from shop.payments.gateway import GatewayReport
from shop.payments.inbox import EventOutcome, Handled, InboxEvent, Reading
from shop.payments.razorpay import webhooks

# After this time, a refund or dispute of a payment that is still unknown is shown to staff.
PAYMENT_COMES_WITHIN = timedelta(minutes=5)


class ReconcileWebhook:
    name = "reconcile_webhook"

    def lock_due(self, *, limit: int, now: datetime) -> list[InboxEvent]:
        return inbox.lock_due(limit=limit, now=now)

    def process(self, items: Sequence[InboxEvent], *, now: datetime) -> RunReport:
        """Settle all events together, so that three events of one payment lock its job once."""
        readings = [(event, webhooks.read(bytes(event.body))) for event in items]
        gateway_report = GatewayReport.joined(reading.gateway_report for _, reading in readings)
        ours = ledger.find(fact.gateway_order_id for fact in gateway_report.payments)
        report = settle(gateway_report, via="webhook", now=now, ours=ours)
        unexplained = {
            payment_id
            for _, reading in readings
            for payment_id in _payments_without_order(reading.gateway_report)
        }
        known = set(ours) | set(ledger.orders_of_payments(unexplained))
        whose = _whose(readings, known=known)
        done: list[Handled] = []
        to_resolve: set[str] = set()
        for event, reading in readings:
            if _awaits_its_payment(event, reading, known=known, now=now):
                report.count(Counted.EARLY)
                inbox.put_off(event, until=now + _pause(event, now=now))
                continue
            handled = _handled(event, reading, known=known, whose=whose)
            if handled.resolve and reading.gateway_order_id in to_resolve:
                handled = replace(handled, resolve=False)  # one call answers for both
            elif handled.resolve:
                to_resolve.add(reading.gateway_order_id)
            done.append(handled)
        report.count(Counted.HANDLED, len(done))
        report.count(Counted.UNKNOWN, len(to_resolve))
        inbox.mark_handled(done, now=now)
        retried = [item.event for item in done if item.event.attempts]
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
        report.count(Counted.RAISED)
        return report

    def on_locked(self, item: InboxEvent, *, until: datetime, now: datetime) -> RunReport:
        inbox.put_off(item, until=until)
        report = RunReport()
        report.count(Counted.LOCKED)
        return report


def _awaits_its_payment(
    event: InboxEvent, reading: Reading, *, known: set[str], now: datetime
) -> bool:
    """Whether its refund or dispute may have overtaken the report of the payment."""
    unknown = _payments_without_order(reading.gateway_report) - known
    return bool(unknown) and now < event.received_at + PAYMENT_COMES_WITHIN


def _pause(event: InboxEvent, *, now: datetime) -> timedelta:
    """As long as the event has waited already. Nothing went wrong, so no attempt counts."""
    return min(max(now - event.received_at, timedelta(seconds=1)), MAX_RETRY_PAUSE)


def _payments_without_order(gateway_report: GatewayReport) -> set[str]:
    """Payments that a refund or dispute names, while the report does not say of which order."""
    named = {fact.gateway_payment_id for fact in gateway_report.refunds}
    named |= {fact.gateway_payment_id for fact in gateway_report.disputes}
    return named - {fact.id for fact in gateway_report.payments}


def _orders_concerned(events: Sequence[InboxEvent]) -> set[int]:
    """Our orders that these events name, as far as the events can be read."""
    bodies = [bytes(event.body) for event in events]
    rows = ledger.find({webhooks.order_named_in(body) for body in bodies} - {""})
    payments = {name for body in bodies for name in webhooks.payments_named_in(body)}
    of_payments = ledger.orders_of_payments(payments)
    return {*(row.order_id for row in rows.values()), *of_payments.values()}


def _whose(
    readings: Sequence[tuple[InboxEvent, Reading]], *, known: set[str]
) -> dict[str, EventOutcome | None]:
    """
    For each unknown Razorpay order, the outcome of its events: `NOT_OURS`, `RESOLVING`, or None if
    Razorpay has to be asked whose order it is.

    An order entity has its receipt, so most events of other shops on the account cost no call.
    A replayed event is always asked about again.
    """
    unknown = [
        (event, reading)
        for event, reading in readings
        if reading.gateway_order_id and reading.gateway_order_id not in known
    ]
    if not unknown:
        return {}
    ours = ledger.of_receipts({reading.receipt for _, reading in unknown if reading.receipt})
    earlier = inbox.outcomes_of_orders([reading.gateway_order_id for _, reading in unknown])
    whose: dict[str, EventOutcome | None] = {}
    for event, reading in unknown:
        is_theirs = reading.receipt and reading.receipt not in ours
        known_outcome = None if event.outcome else earlier.get(reading.gateway_order_id)
        outcome = EventOutcome.NOT_OURS if is_theirs else known_outcome
        whose[reading.gateway_order_id] = whose.get(reading.gateway_order_id) or outcome
    return whose


def _handled(
    event: InboxEvent,
    reading: Reading,
    *,
    known: set[str],
    whose: dict[str, EventOutcome | None],
) -> Handled:
    if reading.problem:
        return Handled(event, reading, EventOutcome.UNREADABLE, reading.problem)
    if reading.gateway_report == GatewayReport():
        return Handled(event, reading, EventOutcome.NO_MONEY)
    if unknown := _payments_without_order(reading.gateway_report) - known:
        return Handled(event, reading, EventOutcome.UNKNOWN_PAYMENT, min(unknown))
    outcome = whose.get(reading.gateway_order_id, EventOutcome.SETTLED)
    if outcome is None:
        return Handled(event, reading, EventOutcome.RESOLVING, resolve=True)
    return Handled(event, reading, outcome)
