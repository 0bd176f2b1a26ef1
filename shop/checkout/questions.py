"""The remote step `check_payments`: ask Razorpay what became of an order, and settle it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout.jobs import Report, backoff
from shop.checkout.settle import settle
from shop.payments import reconcile
from shop.payments.gateway import Declined, Gateway, GatewayError, News, PaymentFact, Unreachable
from shop.payments.ledger import GatewayOrder


class CheckPayments:
    name = "check_payments"

    def claim(self, *, limit: int, now: datetime) -> list[tuple[GatewayOrder, datetime]]:
        return [(row, now) for row in reconcile.claim_due(limit=limit, now=now)]

    def call(self, gateway: Gateway, work: tuple[GatewayOrder, datetime]) -> list[PaymentFact]:
        row, _ = work
        assert row.gateway_order_id is not None
        return gateway.fetch_payments(gateway_order_id=row.gateway_order_id)

    def excuse(self, *, now: datetime) -> None:
        """No buyer waits for this."""

    def record(
        self,
        answers: Sequence[tuple[tuple[GatewayOrder, datetime], list[PaymentFact] | GatewayError]],
        *,
        now: datetime,
    ) -> Report:
        facts: list[PaymentFact] = []
        told: list[tuple[GatewayOrder, datetime]] = []
        silent: list[GatewayOrder] = []
        refused: list[GatewayOrder] = []
        pause = timedelta()
        for (row, asked_at), answer in answers:
            if isinstance(answer, Declined):
                refused.append(row)
            elif isinstance(answer, GatewayError):
                silent.append(row)
                pause = max(pause, _pause(row, answer))
            else:
                told.append((row, asked_at))
                facts += answer
        # It locks jobs, so it comes before any other row is touched.
        report = settle(News(payments=tuple(facts)), via="fetch", now=now)
        reconcile.answered(told, now=now)
        reconcile.not_answered(silent, until=now + pause)
        reconcile.refused(refused, now=now)
        report.counts.update(asked=len(told), unanswered=len(silent), refused=len(refused))
        return report


def _pause(row: GatewayOrder, error: GatewayError) -> timedelta:
    pause = backoff(row.checks + 1)
    if isinstance(error, Unreachable) and error.retry_after_seconds:
        pause = max(pause, timedelta(seconds=error.retry_after_seconds))
    return pause
