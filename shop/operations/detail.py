"""The detail of one checkout, as the admin's page and `manage.py checkout` show it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.operations.audit_log import AuditEntry
from shop.orders import FrozenLine, Order, OrderLine
from shop.payments import inbox, refunds
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundStatus

MAX_FAILED_ATTEMPTS = 20  # the latest
MAX_EVENTS = 50  # webhooks; a payment has three or four


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A state of the checkout: since when, for how long, and why the checkout entered it."""

    state: str
    because: str
    at: datetime
    lasted: timedelta | None  # None: the current state
    attempts: int  # of its step


@dataclass(frozen=True, slots=True)
class CheckoutDetail:
    job: CheckoutJob
    timeline: list[TimelineEntry]
    failed_attempts: list[FailedAttempt]  # latest first
    lines: list[OrderLine]
    gateway_orders: list[GatewayOrder]
    payments: list[Payment]
    refunds: list[Refund]
    cases: list[Case]
    events: list[InboxEvent]
    audit_entries: list[AuditEntry]

    @property
    def order(self) -> Order | None:
        return self.job.order

    @property
    def goods(self) -> Sequence[OrderLine | FrozenLine]:
        """The lines of the order; before there is an order, the lines frozen in the checkout."""
        return self.lines or self.job.frozen_lines

    @property
    def authorized(self) -> list[Payment]:
        return [payment for payment in self.payments if payment.status == PaymentStatus.AUTHORIZED]

    @property
    def given_up_events(self) -> list[InboxEvent]:
        return [event for event in self.events if event.due_at is None and event.handled_at is None]

    @property
    def failed_refunds(self) -> list[Refund]:
        return [refund for refund in self.refunds if refund.status == RefundStatus.FAILED]


def read(job_id: uuid.UUID) -> CheckoutDetail:
    """
    Read one checkout with everything that belongs to it: a constant number of indexed queries.

    :raises CheckoutJob.DoesNotExist: no checkout has this id.
    """
    job = CheckoutJob.objects.select_related("order", "owner").get(pk=job_id)
    gateway_orders = list(GatewayOrder.objects.filter(order_id=job.order_id or 0).order_by("id"))
    payments = list(
        Payment.objects.filter(gateway_order__in=gateway_orders)
        .select_related("gateway_order")
        .order_by("id")
    )
    order_id = job.order_id or 0
    events = inbox.of_gateway_orders([row.gateway_order_id or "" for row in gateway_orders])
    return CheckoutDetail(
        job=job,
        timeline=_timeline(job),
        failed_attempts=list(job.failed_attempts.order_by("-id")[:MAX_FAILED_ATTEMPTS]),
        lines=list(OrderLine.objects.filter(order_id=order_id)),
        gateway_orders=gateway_orders,
        payments=payments,
        refunds=list(
            Refund.objects.filter(payment__in=payments).select_related("payment", "requested_by")
        ),
        cases=list(
            Case.objects.filter(order_id=order_id).select_related("closed_by", "order__checkout")
        ),
        events=list(events.order_by("id")[:MAX_EVENTS]),
        audit_entries=list(AuditEntry.objects.filter(checkout_id=job.pk).select_related("actor")),
    )


def refundable(job: CheckoutJob) -> tuple[int, str]:
    """
    How much of the payment that paid the order can still be refunded: minor units, and the
    currency. Two queries.
    """
    captured = Payment.objects.filter(
        gateway_payment_id=job.order.paid_by if job.order else "", status=PaymentStatus.CAPTURED
    )
    for payment in captured:
        return refunds.refundable_paise([payment])[payment.pk], payment.currency
    return 0, job.currency


def _timeline(job: CheckoutJob) -> list[TimelineEntry]:
    timeline = []
    state, because, at = State.QUEUED.value, "posted by the buyer", job.created_at
    for step in job.transitions.all():
        timeline.append(TimelineEntry(state, because, at, step.at - at, step.attempts))
        state, because, at = step.new, step.because, step.at
    return [*timeline, TimelineEntry(state, because, at, None, job.attempts)]
