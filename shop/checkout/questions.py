"""The remote step `check_payments`: ask Razorpay what became of an order, and settle it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shop.checkout.jobs import Report
from shop.checkout.runner import RemoteStep
from shop.checkout.settle import settle
from shop.payments import reconcile
from shop.payments.gateway import Declined, Gateway, GatewayError, News, PaymentFact
from shop.payments.ledger import GatewayOrder


class CheckPayments(RemoteStep[tuple[GatewayOrder, datetime], list[PaymentFact]]):
    name = "check_payments"

    def claim(self, *, limit: int, now: datetime) -> list[tuple[GatewayOrder, datetime]]:
        return [(row, now) for row in reconcile.claim_due(limit=limit, now=now)]

    def call(self, gateway: Gateway, work: tuple[GatewayOrder, datetime]) -> list[PaymentFact]:
        row, _ = work
        assert row.gateway_order_id is not None
        return gateway.fetch_payments(gateway_order_id=row.gateway_order_id)

    def entity(self, work: tuple[GatewayOrder, datetime]) -> str:
        return f"order {work[0].order_id}"

    def record(
        self,
        answers: Sequence[tuple[tuple[GatewayOrder, datetime], list[PaymentFact] | GatewayError]],
        *,
        now: datetime,
    ) -> Report:
        facts: list[PaymentFact] = []
        told: list[tuple[GatewayOrder, datetime]] = []
        unanswered: list[tuple[GatewayOrder, GatewayError]] = []
        for (row, asked_at), answer in answers:
            if isinstance(answer, GatewayError):
                unanswered.append((row, answer))
            else:
                told.append((row, asked_at))
                facts += answer
        # It locks jobs, so it comes before any other row is touched.
        report = settle(News(payments=tuple(facts)), via="fetch", now=now)
        reconcile.answered(told, now=now)
        reconcile.not_answered(unanswered, now=now)
        refused = sum(isinstance(error, Declined) for _, error in unanswered)
        report.counts.update(asked=len(told), unanswered=len(unanswered) - refused, refused=refused)
        return report
