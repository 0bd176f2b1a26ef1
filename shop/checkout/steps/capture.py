"""The remote step `capture`: take the money of payments that are only authorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shop import backoff
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Counted, RunReport
from shop.checkout.settle import settle
from shop.checkout.states import CAPTURABLE, UNPAID_ENDS
from shop.checkout.steps.runner import RemoteStep
from shop.payments import ledger
from shop.payments.gateway import Declined, Gateway, GatewayError, GatewayReport, PaymentFact
from shop.payments.ledger import GatewayOrder, Payment, PaymentStatus

FIRST_RETRY_PAUSE = timedelta(seconds=1)
MAX_RETRY_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Work:
    """`is_wanted`: its checkout can use the money. Else the payment is only fetched."""

    payment: Payment
    is_wanted: bool


class CapturePayments(RemoteStep[Work, PaymentFact]):
    name = "capture"
    reports_money = True

    def claim(self, *, limit: int, now: datetime) -> list[Work]:
        due = ledger.claim_captures(limit=limit, now=now)
        usable = _usable(due)
        return [Work(payment, payment in usable) for payment in due]

    def call(self, gateway: Gateway, work: Work) -> PaymentFact:
        """After a refused capture, the payment's own status is the answer."""
        payment = work.payment
        if payment.status != PaymentStatus.AUTHORIZED or not work.is_wanted:
            return gateway.fetch_payment(gateway_payment_id=payment.gateway_payment_id)
        try:
            return gateway.capture(
                gateway_payment_id=payment.gateway_payment_id,
                amount_paise=payment.amount_paise,
                currency=payment.currency,
            )
        except Declined:
            return gateway.fetch_payment(gateway_payment_id=payment.gateway_payment_id)

    def order_of(self, work: Work) -> int:
        return work.payment.gateway_order.order_id

    def record(
        self, answers: Sequence[tuple[Work, PaymentFact | GatewayError]], *, now: datetime
    ) -> RunReport:
        """
        Settle what was captured. Payments that were not wanted are decided again: `settle` opens
        the checkout again and they are captured, or has them wait and they are retried later, or
        they are left to lapse.
        """
        facts = [answer for _, answer in answers if not isinstance(answer, GatewayError)]
        unwanted = [
            work.payment
            for work, answer in answers
            if not work.is_wanted and not isinstance(answer, GatewayError)
        ]
        to_retry = [
            work.payment
            for work, answer in answers
            if isinstance(answer, GatewayError)
            or (work.is_wanted and answer.status == PaymentStatus.AUTHORIZED)
        ]
        orders = GatewayOrder.objects.filter(payments__in=unwanted)
        report = settle(
            GatewayReport(payments=tuple(facts)),
            via="fetch",
            decide_again=set(orders.values_list("order_id", flat=True)) if unwanted else (),
            now=now,
        )
        waiting = _waiting(unwanted)
        to_retry += waiting
        unwanted = [payment for payment in unwanted if payment not in waiting]
        ledger.cancel_capture([work.payment for work, _ in answers])
        for payment in to_retry:
            ledger.retry_capture(payment, at=now + _retry_pause(payment))
        for payment in _usable(unwanted):
            ledger.retry_capture(payment, at=now)
        report.count(Counted.POSTPONED, len(to_retry))
        report.count(Counted.LEFT_TO_LAPSE, len(unwanted))
        report.count(Counted.CAPTURED, len(answers) - len(to_retry) - len(unwanted))
        return report


def _usable(payments: Sequence[Payment]) -> list[Payment]:
    """The payments whose checkout can still use the money."""
    if not payments:
        return []
    usable = CheckoutJob.objects.filter(
        order__gateway_orders__in={payment.gateway_order_id for payment in payments},
        state__in=sorted(CAPTURABLE),
    )
    rows = set(usable.values_list("order__gateway_orders", flat=True))
    return [payment for payment in payments if payment.gateway_order_id in rows]


def _waiting(payments: Sequence[Payment]) -> list[Payment]:
    """The payments of ended checkouts that `settle` wants to capture later."""
    if not payments:
        return []
    planned = Payment.objects.filter(
        pk__in=[payment.pk for payment in payments],
        status=PaymentStatus.AUTHORIZED,
        capture_at__isnull=False,
        gateway_order__order__checkout__state__in=sorted(UNPAID_ENDS),
    )
    waiting = set(planned.values_list("pk", flat=True))
    return [payment for payment in payments if payment.pk in waiting]


def _retry_pause(payment: Payment) -> timedelta:
    """A refused capture is retried with exponential backoff, at most hourly."""
    attempts = payment.capture_attempts + 1  # as read before this attempt was counted
    return backoff.exponential(attempts, first=FIRST_RETRY_PAUSE, longest=MAX_RETRY_PAUSE)
