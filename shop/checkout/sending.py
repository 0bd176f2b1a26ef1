"""
The remote step `send_refunds`: ask Razorpay for the refunds that are due, each once, and what
became of those that it has not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout.jobs import Report
from shop.checkout.runner import RemoteStep
from shop.checkout.settle import settle
from shop.payments import refunds
from shop.payments.gateway import (
    Declined,
    Gateway,
    GatewayError,
    Listing,
    News,
    OutcomeUnknown,
    RefundFact,
)
from shop.payments.refunds import LOOK_AFTER, Hopeless, Refund, RefundStatus

LONGEST_PAUSE = timedelta(hours=1)
MOST_SELDOM = timedelta(
    days=1
)  # a refund that stays pending is asked about, for as long as it does


class SendRefunds(RemoteStep[Refund, News]):
    name = "send_refunds"
    tells_of_money = True

    def claim(self, *, limit: int, now: datetime) -> list[Refund]:
        return refunds.claim_due(limit=limit, now=now)

    def call(self, gateway: Gateway, work: Refund) -> News:
        """
        What Razorpay then has of refunds of this payment. Only what is due to be sent is sent.

        From the second attempt on, look first: how long Razorpay remembers a key is not written
        anywhere. After a refusal, look too: money may have gone back without us.

        :raises Declined: refused, and there is no refund that is ours or that makes it needless.
        """
        payment_id = work.payment.gateway_payment_id
        if work.status != RefundStatus.DUE:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            payment = gateway.fetch_payment(gateway_payment_id=payment_id)
            return News((payment,), tuple(found), looked_at=(payment,))
        if work.attempts > 1:
            found = gateway.fetch_refunds(gateway_payment_id=payment_id)
            if _covers(found, work):
                return News(refunds=tuple(found))
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
            return News(refunds=tuple(found))
        return News(refunds=(sent,))

    def order_of(self, work: Refund) -> int:
        return work.payment.gateway_order.order_id

    def record(
        self, answers: Sequence[tuple[Refund, News | GatewayError]], *, now: datetime
    ) -> Report:
        news = News.joined(answer for _, answer in answers if isinstance(answer, News))
        hopeless = [it for refund, answer in answers if (it := _hopeless(refund, answer))]
        report = settle(news, via="fetch", hopeless=hopeless, now=now)
        for refund, answer in answers:
            if isinstance(answer, News):
                looked = refund.status != RefundStatus.DUE
                report.counts["asked about" if looked else "sent"] += 1
                # Only what is as it was before is under our claim now.
                if _is_confirmed(refund, answer):
                    refunds.rest(refund)
                else:
                    refunds.postpone(refund, until=now + _next_look(refund), last_error="")
            elif refund not in [it.refund for it in hopeless]:
                report.counts["put off"] += 1
                refunds.postpone(refund, until=now + _pause(refund), last_error=str(answer))
        report.counts["given up"] += len(hopeless)
        return report


def _refuse_unreadable(found: Listing[RefundFact]) -> None:
    """:raises OutcomeUnknown: a refund of the payment cannot be read, and may be ours."""
    for refund in found.unreadable:
        raise OutcomeUnknown(f"{refund.id} cannot be read: {refund.problem}")


def _covers(found: Sequence[RefundFact], refund: Refund) -> bool:
    """Whether ours is among them, or they have left less than it is."""
    gone_paise = sum(fact.amount_paise for fact in found if fact.status != "failed")
    left_paise = refund.payment.amount_paise - gone_paise
    return _is_among(found, refund) or left_paise < refund.amount_paise


def _is_among(found: Sequence[RefundFact], refund: Refund) -> bool:
    return any(fact.receipt == refund.key for fact in found)


def _is_confirmed(refund: Refund, news: News) -> bool:
    """Whether Razorpay says, too, that it ended as we believe. What is pending has not ended."""
    told = {fact.status for fact in news.refunds if fact.id == refund.gateway_refund_id}
    return refund.status != RefundStatus.PENDING and refund.status in told


def _hopeless(refund: Refund, answer: News | GatewayError) -> Hopeless | None:
    """
    A refusal may be an empty balance, which fills up: so even that is asked again for a day. What
    has gone back without us, in whole or in part, will not go back again. What Razorpay has is in
    its hands.
    """
    if refund.status != RefundStatus.DUE:
        return None
    if isinstance(answer, News) and not _is_among(answer.refunds, refund):
        return Hopeless(refund, "so much is not left: it went back without this refund")
    if isinstance(answer, Declined) and refund.attempts >= refunds.MOST_ATTEMPTS:
        return Hopeless(refund, str(answer))
    return None


def _next_look(refund: Refund) -> timedelta:
    return min(LOOK_AFTER * 2 ** min(refund.attempts, 20), MOST_SELDOM)


def _pause(refund: Refund) -> timedelta:
    return min(timedelta(seconds=2 ** min(refund.attempts, 20)), LONGEST_PAUSE)
