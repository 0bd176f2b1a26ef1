"""The remote step `check_payments`: poll Razorpay for the payments of an order, and settle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shop.checkout.outcomes import Counted, RunReport
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

Poll = tuple[GatewayOrder, datetime]  # with the time of the claim, before the call


class CheckPayments(RemoteStep[Poll, Listing[PaymentFact]]):
    name = "check_payments"
    reports_money = True

    def claim(self, *, limit: int, now: datetime) -> list[Poll]:
        return [(row, now) for row in polling.claim_due(limit=limit, now=now)]

    def call(self, gateway: Gateway, work: Poll) -> Listing[PaymentFact]:
        row, _ = work
        assert row.gateway_order_id is not None
        return gateway.fetch_payments(gateway_order_id=row.gateway_order_id)

    def order_of(self, work: Poll) -> int:
        return work[0].order_id

    def record(
        self, answers: Sequence[tuple[Poll, Listing[PaymentFact] | GatewayError]], *, now: datetime
    ) -> RunReport:
        facts: list[PaymentFact] = []
        succeeded: list[Poll] = []
        failed: list[tuple[GatewayOrder, GatewayError]] = []
        unreadable: list[tuple[GatewayOrder, Unreadable]] = []
        for (row, polled_at), answer in answers:
            if isinstance(answer, GatewayError):
                failed.append((row, answer))
            else:
                succeeded.append((row, polled_at))
                facts += answer
                unreadable += [(row, payment) for payment in answer.unreadable]
        # `settle` locks jobs, so it comes before all other writes.
        report = settle(GatewayReport(payments=tuple(facts)), via="fetch", now=now)
        polling.poll_succeeded(succeeded, now=now)
        polling.poll_failed(failed, now=now)
        _keep_unreadable(unreadable, now=now)
        refused = sum(isinstance(error, Declined) for _, error in failed)
        report.count(Counted.POLLED, len(succeeded))
        report.count(Counted.POSTPONED, len(failed) - refused)
        report.count(Counted.REFUSED, refused)
        return report


def _keep_unreadable(
    unreadable: Sequence[tuple[GatewayOrder, Unreadable]], *, now: datetime
) -> None:
    """Open a case for each unreadable payment, and keep in the inbox what Razorpay sent."""
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
