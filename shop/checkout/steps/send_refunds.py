"""
The remote step `send_refunds`: send each due refund to Razorpay once, and poll those that it has
not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop import backoff
from shop.checkout.outcomes import Counted, RunReport
from shop.checkout.settle import settle
from shop.checkout.steps.runner import RemoteStep
from shop.payments import refunds
from shop.payments.gateway import (
    Declined,
    Gateway,
    GatewayError,
    GatewayReport,
    Listing,
    OutcomeUnknown,
    RefundFact,
)
from shop.payments.refunds import POLL_PENDING_AFTER, Refund, RefundStatus, RejectedRefund

FIRST_RETRY_PAUSE = timedelta(seconds=2)
MAX_RETRY_PAUSE = timedelta(hours=1)
MAX_POLL_PAUSE = timedelta(days=1)  # a refund is polled for as long as it is pending


class SendRefunds(RemoteStep[Refund, GatewayReport]):
    name = "send_refunds"
    reports_money = True

    def claim(self, *, limit: int, now: datetime) -> list[Refund]:
        return refunds.claim_due(limit=limit, now=now)

    def call(self, gateway: Gateway, work: Refund) -> GatewayReport:
        """
        Send the refund if it is due; returns the refunds that Razorpay has of its payment.

        From the second attempt on, fetch them first: Razorpay does not document how long it
        remembers a key. After a refusal, fetch them too: money may have gone back without us.

        :raises Declined: refused, and no refund there is ours or has left less than ours.
        """
        payment_id = work.payment.gateway_payment_id
        if work.status != RefundStatus.DUE:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            payment = gateway.fetch_payment(gateway_payment_id=payment_id)
            return GatewayReport((payment,), tuple(found), looked_at=(payment,))
        if work.attempts > 1:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            if _covers(found, work):
                return GatewayReport(refunds=tuple(found))
            _refuse_unreadable(found)
        try:
            sent = gateway.refund(
                gateway_payment_id=payment_id, amount_paise=work.amount_paise, key=work.key
            )
        except Declined:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            if not _covers(found, work):
                _refuse_unreadable(found)
                raise
            return GatewayReport(refunds=tuple(found))
        return GatewayReport(refunds=(sent,))

    def order_of(self, work: Refund) -> int:
        return work.payment.gateway_order.order_id

    def record(
        self, answers: Sequence[tuple[Refund, GatewayReport | GatewayError]], *, now: datetime
    ) -> RunReport:
        gateway_report = GatewayReport.joined(
            answer for _, answer in answers if isinstance(answer, GatewayReport)
        )
        checked = (_rejected(refund, answer) for refund, answer in answers)
        rejected = [refusal for refusal in checked if refusal]
        given_up = {refund.pk for refund, _ in rejected}
        report = settle(gateway_report, via="fetch", rejected=rejected, now=now)
        for refund, answer in answers:
            if isinstance(answer, GatewayReport):
                was_due = refund.status == RefundStatus.DUE
                report.count(Counted.SENT if was_due else Counted.POLLED)
                # Both write only where our claim still stands: `settle` has changed nothing.
                if _is_confirmed(refund, answer):
                    refunds.finish(refund)
                else:
                    refunds.postpone(refund, until=now + _poll_pause(refund), last_error="")
            elif refund.pk not in given_up:
                report.count(Counted.POSTPONED)
                refunds.postpone(refund, until=now + _retry_pause(refund), last_error=str(answer))
        report.count(Counted.GIVEN_UP, len(rejected))
        return report


def _refuse_unreadable(found: Listing[RefundFact]) -> None:
    """:raises OutcomeUnknown: a refund of the payment is unreadable, and may be ours."""
    for refund in found.unreadable:
        raise OutcomeUnknown(f"{refund.id} cannot be read: {refund.problem}")


def _covers(found: Sequence[RefundFact], refund: Refund) -> bool:
    """Whether ours is among these, or they leave less of the payment than ours needs."""
    refunded_paise = sum(fact.amount_paise for fact in found if fact.status != "failed")
    left_paise = refund.payment.amount_paise - refunded_paise
    return _is_among(found, refund) or left_paise < refund.amount_paise


def _is_among(found: Sequence[RefundFact], refund: Refund) -> bool:
    return any(fact.receipt == refund.key for fact in found)


def _is_confirmed(refund: Refund, gateway_report: GatewayReport) -> bool:
    """Whether the refund has ended, and Razorpay reports the same end as our row."""
    reported = {
        fact.status for fact in gateway_report.refunds if fact.id == refund.gateway_refund_id
    }
    return refund.status != RefundStatus.PENDING and refund.status in reported


def _rejected(refund: Refund, answer: GatewayReport | GatewayError) -> RejectedRefund | None:
    """
    Why a due refund is given up; None if it is not.

    A refusal may mean an empty balance, which fills up, so it is retried for a day. Money that has
    gone back without us, in whole or in part, will not go back again.
    """
    if refund.status != RefundStatus.DUE:
        return None
    if isinstance(answer, GatewayReport) and not _is_among(answer.refunds, refund):
        return RejectedRefund(refund, "so much is not left: it went back without this refund")
    if isinstance(answer, Declined) and refund.attempts >= refunds.MAX_ATTEMPTS:
        return RejectedRefund(refund, str(answer))
    return None


def _poll_pause(refund: Refund) -> timedelta:
    return backoff.exponential(
        refund.attempts, first=2 * POLL_PENDING_AFTER, longest=MAX_POLL_PAUSE
    )


def _retry_pause(refund: Refund) -> timedelta:
    return backoff.exponential(refund.attempts, first=FIRST_RETRY_PAUSE, longest=MAX_RETRY_PAUSE)
