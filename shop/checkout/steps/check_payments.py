"""The remote step `check_payments`: ask Razorpay what became of an order, and settle it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shop.checkout.outcomes import RunReport
from shop.checkout.settle import settle
from shop.checkout.steps.runner import RemoteStep
from shop.payments import cases, inbox, polling
from shop.payments.cases import CaseKind
from shop.payments.gateway import (
    Declined,
    Gateway,
    GatewayError,
    GatewayReport,
    Listing,
    PaymentFact,
    Unreadable,
)
from shop.payments.ledger import GatewayOrder


class CheckPayments(RemoteStep[tuple[GatewayOrder, datetime], Listing[PaymentFact]]):
    name = "check_payments"
    reports_money = True

    def claim(self, *, limit: int, now: datetime) -> list[tuple[GatewayOrder, datetime]]:
        return [(row, now) for row in polling.claim_due(limit=limit, now=now)]

    def call(self, gateway: Gateway, work: tuple[GatewayOrder, datetime]) -> Listing[PaymentFact]:
        row, _ = work
        assert row.gateway_order_id is not None
        return gateway.fetch_payments(gateway_order_id=row.gateway_order_id)

    def order_of(self, work: tuple[GatewayOrder, datetime]) -> int:
        return work[0].order_id

    def record(
        self,
        answers: Sequence[
            tuple[tuple[GatewayOrder, datetime], Listing[PaymentFact] | GatewayError]
        ],
        *,
        now: datetime,
    ) -> RunReport:
        facts: list[PaymentFact] = []
        told: list[tuple[GatewayOrder, datetime]] = []
        failed_polls: list[tuple[GatewayOrder, GatewayError]] = []
        unreadable: list[tuple[GatewayOrder, Unreadable]] = []
        for (row, asked_at), answer in answers:
            if isinstance(answer, GatewayError):
                failed_polls.append((row, answer))
            else:
                told.append((row, asked_at))
                facts += answer
                unreadable += [(row, payment) for payment in answer.unreadable]
        # It locks jobs, so it comes before any other row is touched.
        report = settle(GatewayReport(payments=tuple(facts)), via="fetch", now=now)
        polling.poll_succeeded(told, now=now)
        polling.poll_failed(failed_polls, now=now)
        refused = sum(isinstance(error, Declined) for _, error in failed_polls)
        _keep(unreadable, now=now)
        report.counts.update(
            asked=len(told), failed_polls=len(failed_polls) - refused, refused=refused
        )
        return report


def _keep(unreadable: Sequence[tuple[GatewayOrder, Unreadable]], *, now: datetime) -> None:
    """A case for each payment that we cannot read; what Razorpay said of it is in the inbox."""
    inbox.keep_unreadable([payment for _, payment in unreadable], now=now)
    cases.open_cases(
        [
            cases.Open(
                row.order_id,
                CaseKind.UNREADABLE,
                payment.id,
                f"{payment.id} on {row.gateway_order_id} cannot be read: {payment.problem}",
            )
            for row, payment in unreadable
        ],
        now=now,
    )
