"""The remote step `capture`: take the money of payments that are only authorised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout.jobs import Report
from shop.checkout.runner import RemoteStep
from shop.checkout.settle import settle
from shop.payments import ledger
from shop.payments.gateway import Declined, Gateway, GatewayError, News, PaymentFact
from shop.payments.ledger import Payment, PaymentStatus

LONGEST_PAUSE = timedelta(hours=1)


class CapturePayments(RemoteStep[Payment, PaymentFact]):
    name = "capture"

    def claim(self, *, limit: int, now: datetime) -> list[Payment]:
        return ledger.claim_captures(limit=limit, now=now)

    def call(self, gateway: Gateway, work: Payment) -> PaymentFact:
        """Whatever Razorpay says against a capture, the payment itself says what is so."""
        if work.status != PaymentStatus.AUTHORIZED:
            return gateway.fetch_payment(gateway_payment_id=work.gateway_payment_id)
        try:
            return gateway.capture(
                gateway_payment_id=work.gateway_payment_id,
                amount_paise=work.amount_paise,
                currency=work.currency,
            )
        except Declined:
            return gateway.fetch_payment(gateway_payment_id=work.gateway_payment_id)

    def entity(self, work: Payment) -> str:
        return f"order {work.gateway_order.order_id}"

    def record(
        self, answers: Sequence[tuple[Payment, PaymentFact | GatewayError]], *, now: datetime
    ) -> Report:
        facts = [answer for _, answer in answers if not isinstance(answer, GatewayError)]
        report = settle(News(payments=tuple(facts)), via="fetch", now=now)
        for payment, answer in answers:
            again = isinstance(answer, GatewayError) or answer.status == PaymentStatus.AUTHORIZED
            report.counts["put off" if again else "captured"] += 1
            ledger.capture_again(payment, at=now + _pause(payment) if again else None)
        return report


def _pause(payment: Payment) -> timedelta:
    """What cannot be captured stays authorised for days: it is tried ever more seldom."""
    return min(timedelta(seconds=2 ** min(payment.capture_attempts, 20)), LONGEST_PAUSE)
