"""The remote step `capture`: take the money of payments that are only authorised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shop.checkout.jobs import Report, backoff
from shop.checkout.settle import settle
from shop.payments import ledger
from shop.payments.gateway import Declined, Gateway, GatewayError, News, PaymentFact
from shop.payments.ledger import Payment, PaymentStatus


class CapturePayments:
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

    def excuse(self, *, now: datetime) -> None:
        """No buyer waits for this."""

    def record(
        self, answers: Sequence[tuple[Payment, PaymentFact | GatewayError]], *, now: datetime
    ) -> Report:
        facts = [answer for _, answer in answers if not isinstance(answer, GatewayError)]
        report = settle(News(payments=tuple(facts)), via="fetch", now=now)
        for payment, answer in answers:
            again = isinstance(answer, GatewayError) or answer.status == PaymentStatus.AUTHORIZED
            report.counts["put off" if again else "captured"] += 1
            pause = backoff(payment.capture_attempts + 1)
            ledger.capture_again(payment, at=now + pause if again else None)
        return report
