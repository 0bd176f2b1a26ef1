"""
Money as facts: what Razorpay says about the payments of an order, and what follows from it.

Each report updates its payment's row, forward only. Nothing is added up as it comes: `verdicts`
reads the rows anew, so that a report that comes twice, late or out of order changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import connection, models
from django.db.models import Q

from shop.orders import Order
from shop.payments.gateway import PaymentFact, RemoteOrder


class GatewayOrder(models.Model):
    """
    An order at Razorpay. One per order of ours is payable; its twins, made by a create whose
    answer was lost, are kept as aliases, so that money on any of them finds the order.
    """

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="gateway_orders")
    gateway_order_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    is_alias = models.BooleanField(default=False)
    amount_paise = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # A create call may have reached Razorpay since then, and we do not know what became of it.
    asked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    check_at = models.DateTimeField(null=True, blank=True)  # when to ask for its payments
    checked_at = models.DateTimeField(null=True, blank=True)  # the last question that was answered
    checks = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order"],
                condition=Q(is_alias=False),
                name="gateway_order_one_payable_per_order",
            ),
        ]
        indexes = [
            models.Index(
                fields=["check_at"],
                condition=Q(check_at__isnull=False),
                name="gateway_order_to_check",
            ),
        ]

    def __str__(self) -> str:
        return self.gateway_order_id or f"not yet made for order {self.order_id}"


class PaymentStatus(StrEnum):
    """In the order in which a payment can go: `failed` may still be authorised or captured."""

    CREATED = "created"
    FAILED = "failed"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    REFUNDED = "refunded"


RANK: dict[str, int] = {status.value: rank for rank, status in enumerate(PaymentStatus)}


class Payment(models.Model):
    gateway_payment_id = models.CharField(max_length=64, unique=True)
    gateway_order = models.ForeignKey(
        GatewayOrder, on_delete=models.PROTECT, related_name="payments"
    )
    amount_paise = models.BigIntegerField()
    currency = models.CharField(max_length=8)  # as reported: it may be none that we know
    status = models.CharField(max_length=12)
    amount_refunded_paise = models.BigIntegerField(default=0)
    method = models.CharField(max_length=32, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_description = models.CharField(max_length=300, blank=True)
    first_seen_via = models.CharField(max_length=16)  # webhook or fetch
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(condition=Q(status__in=list(RANK)), name="payment_status_known"),
        ]

    def __str__(self) -> str:
        return f"{self.gateway_payment_id} ({self.status})"


def open_gateway_orders(orders: Sequence[Order], *, now: datetime) -> None:
    """Write down, before anyone calls Razorpay, that these orders are to be payable there."""
    GatewayOrder.objects.bulk_create(
        GatewayOrder(
            order=order, amount_paise=order.amount_paise, currency=order.currency, created_at=now
        )
        for order in orders
    )


def asked(row: GatewayOrder, *, at: datetime | None) -> None:
    """Note since when a create call may be unaccounted for; None that there is none."""
    GatewayOrder.objects.filter(pk=row.pk).update(asked_at=at)


_ADOPT = """
    UPDATE shop_gatewayorder AS row
    SET gateway_order_id = v.gateway_order_id, asked_at = NULL, check_at = v.check_at
    FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[]) AS v (id, gateway_order_id, check_at)
    WHERE row.id = v.id AND row.gateway_order_id IS NULL
"""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Razorpay's orders for one row of ours: the first becomes payable, the others are aliases."""

    row: GatewayOrder
    orders: Sequence[RemoteOrder]
    check_at: datetime | None


def adopt(adoptions: Sequence[Adoption], *, now: datetime) -> None:
    """Keep the ids that Razorpay gave. A row that has one keeps it, so a repeat adds nothing."""
    if not adoptions:
        return
    columns = (
        [adoption.row.pk for adoption in adoptions],
        [adoption.orders[0].id for adoption in adoptions],
        [adoption.check_at for adoption in adoptions],
    )
    with connection.cursor() as cursor:
        cursor.execute(_ADOPT, columns)
    aliases = [
        GatewayOrder(
            order_id=adoption.row.order_id,
            gateway_order_id=twin.id,
            is_alias=True,
            amount_paise=twin.amount_paise,
            currency=twin.currency,
            created_at=now,
            check_at=adoption.check_at,
        )
        for adoption in adoptions
        for twin in adoption.orders[1:]
    ]
    if aliases:
        GatewayOrder.objects.bulk_create(aliases, ignore_conflicts=True)


def last_checks(order_ids: Collection[int]) -> dict[int, datetime]:
    """When Razorpay last told us about the payments of these orders; missing if never."""
    rows = GatewayOrder.objects.filter(
        order_id__in=order_ids, is_alias=False, checked_at__isnull=False
    )
    return dict(rows.values_list("order_id", "checked_at"))


def find(gateway_order_ids: Iterable[str]) -> dict[str, GatewayOrder]:
    """Those of these ids that are ours. Others may be of another shop on the same account."""
    return {
        str(row.gateway_order_id): row
        for row in GatewayOrder.objects.filter(gateway_order_id__in=set(gateway_order_ids))
    }


def record(
    facts: Iterable[PaymentFact], ours: dict[str, GatewayOrder], *, via: str, now: datetime
) -> set[int]:
    """
    Write what `facts` say about payments of `ours`. Returns the ids of the orders that changed.

    Forward only: a report older than what we know changes nothing, so repeats and shuffles do no
    harm. Call inside a transaction that holds the lock of the orders' jobs: it keeps two reports
    about one payment apart.
    """
    facts = [fact for fact in facts if fact.gateway_order_id in ours and fact.status in RANK]
    known = Payment.objects.in_bulk({fact.id for fact in facts}, field_name="gateway_payment_id")
    fresh: dict[str, Payment] = {}
    changed: dict[str, Payment] = {}
    for fact in facts:
        row = known.get(fact.id) or fresh.get(fact.id)
        if row is None:
            fresh[fact.id] = _payment(fact, ours[fact.gateway_order_id], via=via, now=now)
        elif _learn(row, fact, now=now) and row.pk:
            changed[fact.id] = row
    Payment.objects.bulk_create(fresh.values())
    Payment.objects.bulk_update(
        changed.values(),
        [
            "status",
            "amount_refunded_paise",
            "method",
            "error_code",
            "error_description",
            "updated_at",
        ],
    )
    orders_by_row = {row.pk: row.order_id for row in ours.values()}
    return {
        orders_by_row[row.gateway_order_id]
        for row in (*fresh.values(), *changed.values())
        if row.gateway_order_id in orders_by_row
    }


def _payment(fact: PaymentFact, row: GatewayOrder, *, via: str, now: datetime) -> Payment:
    return Payment(
        gateway_payment_id=fact.id,
        gateway_order=row,
        amount_paise=fact.amount_paise,
        currency=fact.currency[:8],
        status=fact.status,
        amount_refunded_paise=fact.amount_refunded_paise,
        method=fact.method[:32],
        error_code=fact.error_code[:64],
        error_description=fact.error_description[:300],
        first_seen_via=via,
        created_at=now,
        updated_at=now,
    )


def _learn(row: Payment, fact: PaymentFact, *, now: datetime) -> bool:
    """Take over what is news in `fact`. False if it says nothing that we did not know."""
    forward = RANK[fact.status] > RANK[row.status]
    refunded = fact.amount_refunded_paise > row.amount_refunded_paise
    if forward:
        row.status = fact.status
        row.method = fact.method[:32] or row.method
        row.error_code = fact.error_code[:64]
        row.error_description = fact.error_description[:300]
    if refunded:
        row.amount_refunded_paise = fact.amount_refunded_paise
    if forward or refunded:
        row.updated_at = now
    return forward or refunded


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What the payments of one order amount to.

    `paid_by`: the payment that pays it in full, the earliest that we heard of; `to_capture`:
    authorised payments that wait for our capture; `excess`: captured money beyond `paid_by`;
    `conflicts`: captured money that is not what the order asks for.
    """

    paid_by: Payment | None = None
    to_capture: tuple[Payment, ...] = ()
    excess: tuple[Payment, ...] = ()
    conflicts: tuple[Payment, ...] = ()


def verdicts(orders: Sequence[Order]) -> dict[int, Verdict]:
    """The verdict of each order, from its rows. One query; payments on aliases count alike."""
    payments: defaultdict[int, list[Payment]] = defaultdict(list)
    rows = Payment.objects.filter(gateway_order__order__in=orders).select_related("gateway_order")
    for payment in rows.order_by("id"):
        payments[payment.gateway_order.order_id].append(payment)
    return {order.pk: judge(order, payments[order.pk]) for order in orders}


def judge(order: Order, payments: Sequence[Payment]) -> Verdict:
    """Pure: touches no database. Money that went back whole (`refunded`) counts no more."""
    captured = [payment for payment in payments if payment.status == PaymentStatus.CAPTURED]
    right = [payment for payment in captured if _is_right(order, payment)]
    return Verdict(
        paid_by=right[0] if right else None,
        to_capture=tuple(
            payment for payment in payments if payment.status == PaymentStatus.AUTHORIZED
        ),
        excess=tuple(right[1:]),
        conflicts=tuple(payment for payment in captured if not _is_right(order, payment)),
    )


def _is_right(order: Order, payment: Payment) -> bool:
    return payment.amount_paise == order.amount_paise and payment.currency == order.currency


def has_money(order_id: int) -> bool:
    """Whether any payment of the order is authorised or captured."""
    return Payment.objects.filter(
        gateway_order__order_id=order_id,
        status__in=[PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED],
    ).exists()


def last_failure(order_id: int) -> Payment | None:
    """The latest failed payment of an order: why the buyer's last attempt came to nothing."""
    return (
        Payment.objects.filter(gateway_order__order_id=order_id, status=PaymentStatus.FAILED)
        .order_by("-id")
        .first()
    )
