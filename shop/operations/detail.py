"""All that is known of one checkout, for operations: the admin's page and `manage.py checkout`."""

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

MAX_ATTEMPTS = 20  # of those that failed, the latest
MAX_EVENTS = 50  # a payment has three or four


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the timeline: a state, since when, how long it lasted, and what led to it."""

    state: str
    because: str
    at: datetime
    lasted: timedelta | None  # None for the present one
    attempts: int  # it took to leave the state before


@dataclass(frozen=True, slots=True)
class CheckoutDetail:
    job: CheckoutJob
    timeline: list[TimelineEntry]
    failed_attempts: list[FailedAttempt]  # the latest first
    lines: list[OrderLine]
    gateway_orders: list[GatewayOrder]
    payments: list[Payment]
    refunds: list[Refund]
    cases: list[Case]
    events: list[InboxEvent]
    audit_entries: list[AuditEntry]
    left_paise: int  # of the payment that paid the order: what can still be given back

    @property
    def order(self) -> Order | None:
        return self.job.order

    @property
    def goods(self) -> Sequence[OrderLine | FrozenLine]:
        """What is bought: the order's lines, or what the checkout froze before there is one."""
        return self.lines or self.job.frozen_lines

    @property
    def authorized(self) -> list[Payment]:
        return [it for it in self.payments if it.status == PaymentStatus.AUTHORIZED]

    @property
    def dead_events(self) -> list[InboxEvent]:
        return [it for it in self.events if it.due_at is None and it.handled_at is None]

    @property
    def failed_refunds(self) -> list[Refund]:
        return [it for it in self.refunds if it.status == RefundStatus.FAILED]


def read(job_id: uuid.UUID) -> CheckoutDetail:
    """
    A constant number of queries, all by index.

    :raises CheckoutJob.DoesNotExist: there is none.
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
        failed_attempts=list(job.failed_attempts.order_by("-id")[:MAX_ATTEMPTS]),
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
        left_paise=refundable(job)[0],
    )


def refundable(job: CheckoutJob) -> tuple[int, str]:
    """
    How much can still be given back of the payment that paid the order, in minor units of which
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
    state, because, at, attempts = State.QUEUED.value, "posted by the buyer", job.created_at, 0
    for move in job.transitions.all():
        timeline.append(TimelineEntry(state, because, at, move.at - at, attempts))
        state, because, at, attempts = move.new, move.because, move.at, move.attempts
    return [*timeline, TimelineEntry(state, because, at, None, attempts)]
