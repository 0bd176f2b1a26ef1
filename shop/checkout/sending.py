"""
The remote step `send_refunds`: ask Razorpay for the refunds that are due, each once, and what
became of those that it has not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout.jobs import Report
from shop.checkout.settle import settle
from shop.payments import refunds
from shop.payments.gateway import Declined, Gateway, GatewayError, News, RefundFact, Unreachable
from shop.payments.refunds import LOOK_AFTER, Hopeless, Refund, RefundStatus

LONGEST_PAUSE = timedelta(hours=1)
MOST_SELDOM = timedelta(
    days=1
)  # a refund that stays pending is asked about, for as long as it does


class SendRefunds:
    name = "send_refunds"

    def claim(self, *, limit: int, now: datetime) -> list[Refund]:
        return refunds.claim_due(limit=limit, now=now)

    def call(self, gateway: Gateway, work: Refund) -> list[RefundFact]:
        """
        All that Razorpay then has of refunds of this payment.

        From the second attempt on, look first: how long Razorpay remembers a key is not written
        anywhere. After a refusal, look too: money may have gone back without us.

        :raises Declined: refused, and there is no refund that is ours or that makes it needless.
        """
        payment_id = work.payment.gateway_payment_id
        if work.attempts > 1 or work.status == RefundStatus.PENDING:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            if work.status == RefundStatus.PENDING or _covers(found, work):
                return found
        try:
            sent = gateway.refund(
                gateway_payment_id=payment_id, amount_paise=work.amount_paise, key=work.key
            )
        except Declined:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            if not _covers(found, work):
                raise
            return found
        return [sent]

    def excuse(self, *, now: datetime) -> None:
        """No buyer waits for this."""

    def record(
        self, answers: Sequence[tuple[Refund, list[RefundFact] | GatewayError]], *, now: datetime
    ) -> Report:
        facts = [fact for _, answer in answers if isinstance(answer, list) for fact in answer]
        hopeless = [it for refund, answer in answers if (it := _hopeless(refund, answer))]
        report = settle(News(refunds=tuple(facts)), via="fetch", hopeless=hopeless, now=now)
        for refund, answer in answers:
            if isinstance(answer, list):
                looked = refund.status == RefundStatus.PENDING
                report.counts["asked about" if looked else "sent"] += 1
                # Only what is pending still, as it was before, is under our claim now.
                refunds.postpone(refund, until=now + _next_look(refund), last_error="")
            elif refund not in [it.refund for it in hopeless]:
                report.counts["put off"] += 1
                refunds.postpone(refund, until=now + _pause(refund, answer), last_error=str(answer))
        report.counts["given up"] += len(hopeless)
        return report


def _covers(found: Sequence[RefundFact], refund: Refund) -> bool:
    """Whether ours is among them, or they have left less than it is."""
    gone_paise = sum(fact.amount_paise for fact in found if fact.status != "failed")
    left_paise = refund.payment.amount_paise - gone_paise
    return _is_among(found, refund) or left_paise < refund.amount_paise


def _is_among(found: Sequence[RefundFact], refund: Refund) -> bool:
    return any(fact.receipt == refund.key for fact in found)


def _hopeless(refund: Refund, answer: list[RefundFact] | GatewayError) -> Hopeless | None:
    """
    A refusal may be an empty balance, which fills up: so even that is asked again for a day. What
    has gone back without us, in whole or in part, will not go back again. What Razorpay has is in
    its hands.
    """
    if refund.status != RefundStatus.DUE:
        return None
    if isinstance(answer, list) and not _is_among(answer, refund):
        return Hopeless(refund, "so much is not left: it went back without this refund")
    if isinstance(answer, Declined) and refund.attempts >= refunds.MOST_ATTEMPTS:
        return Hopeless(refund, str(answer))
    return None


def _next_look(refund: Refund) -> timedelta:
    return min(LOOK_AFTER * 2 ** min(refund.attempts, 20), MOST_SELDOM)


def _pause(refund: Refund, error: GatewayError) -> timedelta:
    pause = min(timedelta(seconds=2 ** min(refund.attempts, 20)), LONGEST_PAUSE)
    if isinstance(error, Unreachable) and error.retry_after_seconds:
        pause = max(pause, timedelta(seconds=error.retry_after_seconds))
    return pause
