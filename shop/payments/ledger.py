"""
Money as facts: what Razorpay says about the payments of an order, and what follows from it.

Each report updates its payment's row, forward only. Nothing is added up as it comes: `verdicts`
reads the rows anew, so that a report that comes twice, late or out of order changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models
from django.db.models import F, Q

from shop.db import fast
from shop.orders import Order
from shop.payments.gateway import PaymentFact, RemoteOrder


class GatewayOrder(models.Model):
    """
    An order at Razorpay. One per order of ours is payable; its twins, made by a create whose
    answer was lost, are kept as aliases, so that money on any of them finds the order.
    """

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="gateway_orders")
    gateway_order_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    is_duplicate = models.BooleanField(default=False)
    amount_paise = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # A create call may have reached Razorpay since then, and we do not know what became of it.
    create_sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    poll_at = models.DateTimeField(null=True, blank=True)  # when to ask for its payments
    polled_at = models.DateTimeField(null=True, blank=True)  # the last question that was answered
    poll_count = models.PositiveIntegerField(default=0)
    failed_polls = models.SmallIntegerField(default=0, db_default=0)  # polls since `polled_at`

    class Meta:
        verbose_name = "Razorpay order"
        constraints = [
            models.UniqueConstraint(
                fields=["order"],
                condition=Q(is_duplicate=False),
                name="gateway_order_one_payable_per_order",
            ),
        ]
        indexes = [
            models.Index(
                fields=["poll_at"],
                condition=Q(poll_at__isnull=False),
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
    first_reported_via = models.CharField(max_length=16)  # webhook or fetch
    captured_via = models.CharField(max_length=16, blank=True)  # how we first heard of the money
    captured_at = models.DateTimeField(null=True, blank=True)  # when we first heard of it
    capture_at = models.DateTimeField(null=True, blank=True)  # when to capture it ourselves
    capture_attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(condition=Q(status__in=list(RANK)), name="payment_status_known"),
        ]
        indexes = [
            models.Index(
                fields=["capture_at"],
                condition=Q(capture_at__isnull=False),
                name="payment_to_capture",
            ),
            models.Index(fields=["captured_at"], name="payment_captured_at"),
            BrinIndex(fields=["created_at"], name="payment_created_at", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.gateway_payment_id} ({self.status})"


def open_gateway_orders(orders: Sequence[Order], *, now: datetime) -> None:
    """Write down, before anyone calls Razorpay, that these orders are to be payable there."""
    fast.insert(
        GatewayOrder,
        [
            GatewayOrder(
                order=order,
                amount_paise=order.amount_paise,
                currency=order.currency,
                created_at=now,
            )
            for order in orders
        ],
    )


_BEGIN_CREATE = """
    WITH before AS MATERIALIZED (
        SELECT row.id, row.create_sent_at, placed.number
        FROM shop_gatewayorder AS row JOIN shop_order placed ON placed.id = row.order_id
        WHERE row.order_id = ANY(%s) AND NOT row.is_duplicate
        ORDER BY row.id FOR NO KEY UPDATE OF row SKIP LOCKED
    )
    UPDATE shop_gatewayorder SET create_sent_at = %s
    FROM before WHERE shop_gatewayorder.id = before.id
    RETURNING {columns}, before.number, before.create_sent_at
"""


def begin_create(
    order_ids: Collection[int], *, now: datetime
) -> dict[int, tuple[GatewayOrder, str, datetime | None]]:
    """
    Note that Razorpay is asked for the orders that make these payable, before it is.

    By order: the row, the receipt, and since when an earlier call may be unaccounted for. An order
    whose row another transaction has locked is missing. Call under the lock of the orders' jobs.
    """
    if not order_ids:
        return {}
    statement = _BEGIN_CREATE.format(columns=fast.columns(GatewayOrder))
    found = fast.beside(GatewayOrder, statement, [fast.array(order_ids), now])
    return {
        row.order_id: (row, receipt, create_sent_at) for row, (receipt, create_sent_at) in found
    }


def set_create_sent_at(row: GatewayOrder, *, at: datetime | None) -> None:
    """
    Note since when a create call may be unaccounted for; None that there is none. Whoever has asked
    after `row` was read knows better.
    """
    GatewayOrder.objects.filter(pk=row.pk, create_sent_at=row.create_sent_at).update(
        create_sent_at=at
    )


_ADOPT = """
    UPDATE shop_gatewayorder AS row
    SET gateway_order_id = given.gateway_order_id, create_sent_at = NULL, poll_at = given.poll_at
    FROM json_to_recordset(%s::json)
        AS given (id bigint, gateway_order_id text, poll_at timestamptz)
    WHERE row.id = given.id AND row.gateway_order_id IS NULL
"""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Razorpay's orders for one row of ours: the first becomes payable, the others are aliases."""

    row: GatewayOrder
    orders: Sequence[RemoteOrder]
    poll_at: datetime | None


def adopt(adoptions: Sequence[Adoption], *, now: datetime) -> None:
    """
    Keep the ids that Razorpay gave, each once. A row that has one keeps it: what comes later is an
    alias.
    """
    if not adoptions:
        return
    records = [
        {
            "id": adoption.row.pk,
            "gateway_order_id": adoption.orders[0].id,
            "poll_at": adoption.poll_at,
        }
        for adoption in adoptions
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ADOPT, [fast.as_json(records)])
        # Whose claim had lapsed finds that another order was adopted: then theirs is its twin.
        first_duplicate = 1 if cursor.rowcount == len(adoptions) else 0
    duplicates = [
        GatewayOrder(
            order_id=adoption.row.order_id,
            gateway_order_id=duplicate.id,
            is_duplicate=True,
            amount_paise=duplicate.amount_paise,
            currency=duplicate.currency,
            created_at=now,
            poll_at=adoption.poll_at,
        )
        for adoption in adoptions
        for duplicate in adoption.orders[first_duplicate:]
    ]
    if duplicates:
        GatewayOrder.objects.bulk_create(duplicates, ignore_conflicts=True)


def last_polls(order_ids: Collection[int]) -> dict[int, datetime]:
    """When Razorpay last told us about the payments of these orders; missing if never."""
    rows = GatewayOrder.objects.filter(
        order_id__in=order_ids, is_duplicate=False, polled_at__isnull=False
    )
    return {row.order_id: row.polled_at for row in rows if row.polled_at}


def of_receipts(receipts: Collection[str]) -> dict[str, GatewayOrder]:
    """The row that is to be payable of each order of ours with one of these receipts."""
    found = GatewayOrder.objects.filter(order__number__in=receipts, is_duplicate=False)
    return {row.order.number: row for row in found.select_related("order")}


def find(gateway_order_ids: Iterable[str]) -> dict[str, GatewayOrder]:
    """Those of these ids that are ours. Others may be of another shop on the same account."""
    wanted = set(gateway_order_ids)
    if not wanted:
        return {}
    found = fast.select(GatewayOrder, "WHERE gateway_order_id = ANY(%s)", [list(wanted)])
    return {str(row.gateway_order_id): row for row in found}


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
    known = _known(facts)
    fresh: dict[str, Payment] = {}
    changed: dict[str, Payment] = {}
    for fact in facts:
        row = known.get(fact.id) or fresh.get(fact.id)
        if row is None:
            row = fresh[fact.id] = Payment(
                gateway_payment_id=fact.id,
                gateway_order=ours[fact.gateway_order_id],
                first_reported_via=via,
                created_at=now,
            )
        if _apply_fact(row, fact, via=via, now=now) and row.pk:
            changed[fact.id] = row
    fast.insert(Payment, list(fresh.values()))
    if changed:
        Payment.objects.bulk_update(changed.values(), REPORTED_COLUMNS)
    orders_by_row = {row.pk: row.order_id for row in ours.values()}
    return {
        orders_by_row[row.gateway_order_id]
        for row in (*fresh.values(), *changed.values())
        if row.gateway_order_id in orders_by_row
    }


def _known(facts: Sequence[PaymentFact]) -> dict[str, Payment]:
    if not facts:
        return {}
    ids = list({fact.id for fact in facts})
    found = fast.select(Payment, "WHERE gateway_payment_id = ANY(%s)", [ids])
    return {row.gateway_payment_id: row for row in found}


def orders_of_payments(gateway_payment_ids: Collection[str]) -> dict[str, int]:
    """The order of each of these payments that we know."""
    if not gateway_payment_ids:
        return {}
    rows = Payment.objects.filter(gateway_payment_id__in=gateway_payment_ids)
    return dict(rows.values_list("gateway_payment_id", "gateway_order__order_id"))


def plan_capture(payments: Sequence[Payment], *, at: datetime) -> None:
    """Have these captured by us at `at`. One that is planned already keeps its time."""
    if payments:
        Payment.objects.filter(pk__in=[payment.pk for payment in payments], capture_at=None).update(
            capture_at=at
        )


def cancel_capture(payments: Sequence[Payment]) -> None:
    """Forget plans to capture these: an authorisation lapses by itself, free of charge."""
    if payments:
        Payment.objects.filter(pk__in=[payment.pk for payment in payments]).update(capture_at=None)


def claim_captures(*, limit: int, now: datetime) -> list[Payment]:
    """
    Take payments that are due to be captured. Call inside a transaction.

    They are due again after `CLAIM_SECONDS`; a second capture is refused by Razorpay and then read
    as what it is, so no claim has to be checked afterwards.
    """
    due = list(
        Payment.objects.filter(capture_at__lte=now)
        .select_related("gateway_order")
        .order_by("capture_at")
        .select_for_update(skip_locked=True, no_key=True, of=("self",))[:limit]
    )
    Payment.objects.filter(pk__in=[payment.pk for payment in due]).update(
        capture_at=now + timedelta(seconds=settings.CLAIM_SECONDS),
        capture_attempts=F("capture_attempts") + 1,
    )
    return due


def retry_capture(payment: Payment, *, at: datetime | None) -> None:
    """Try the capture again at `at`; None: there is nothing left to capture."""
    Payment.objects.filter(pk=payment.pk).update(capture_at=at)


# The columns that reports teach us.
REPORTED_COLUMNS = (
    "amount_paise",
    "currency",
    "status",
    "amount_refunded_paise",
    "method",
    "error_code",
    "error_description",
    "captured_via",
    "captured_at",
    "capture_at",
    "updated_at",
)


def _apply_fact(row: Payment, fact: PaymentFact, *, via: str, now: datetime) -> bool:
    """Take over what is news in `fact`. False if it says nothing that we did not know."""
    forward = not row.status or RANK[fact.status] > RANK[row.status] or _lapsed(row, fact, via)
    refunded = fact.amount_refunded_paise > row.amount_refunded_paise
    if forward:
        row.amount_paise = fact.amount_paise
        row.currency = fact.currency[:8]
        row.status = fact.status
        row.method = fact.method[:32] or row.method
        row.error_code = fact.error_code[:64]
        row.error_description = fact.error_description[:300]
    if refunded:
        row.amount_refunded_paise = fact.amount_refunded_paise
    if fact.status in {PaymentStatus.CAPTURED, PaymentStatus.REFUNDED}:
        row.capture_at = None
        if row.captured_at is None and not fact.is_void:
            row.captured_via, row.captured_at = via, now
    row.updated_at = now
    return forward or refunded


def _lapsed(row: Payment, fact: PaymentFact, via: str) -> bool:
    """
    What was authorised has failed. A webhook that says so may be older than the authorisation; a
    fetch is not.
    """
    was, now_is = PaymentStatus.AUTHORIZED, PaymentStatus.FAILED
    return via == "fetch" and (row.status, fact.status) == (was, now_is)


@dataclass(frozen=True, slots=True)
class Assessment:
    """
    What the payments of one order amount to.

    `paid_by`: the payment that pays it, the one that did or else the earliest that we heard of;
    `to_capture`: authorised payments that would pay it; `excess`: captured money beside `paid_by`;
    `conflicts`: money that is not what an order asks for that nothing has paid yet; `is_nothing`:
    no payment was ever captured, and none is authorised.
    """

    paid_by: Payment | None = None
    to_capture: tuple[Payment, ...] = ()
    excess: tuple[Payment, ...] = ()
    conflicts: tuple[Payment, ...] = ()
    is_nothing: bool = False


def assess_orders(orders: Sequence[Order]) -> dict[int, Assessment]:
    """The verdict of each order, from its rows. One query; payments on aliases count alike."""
    payments: defaultdict[int, list[Payment]] = defaultdict(list)
    found = fast.beside(
        Payment,
        f"""
        SELECT {fast.columns(Payment)}, of.order_id
        FROM shop_payment JOIN shop_gatewayorder of ON of.id = shop_payment.gateway_order_id
        WHERE of.order_id = ANY(%s) ORDER BY shop_payment.id
        """,
        [fast.array(order.pk for order in orders)],
    )
    for payment, (order_id,) in found:
        payments[order_id].append(payment)
    return {order.pk: assess(order, payments[order.pk]) for order in orders}


def assess(order: Order, payments: Sequence[Payment]) -> Assessment:
    """Pure: touches no database. Money that went back whole (`refunded`) counts no more."""
    captured = [payment for payment in payments if payment.status == PaymentStatus.CAPTURED]
    authorized = [payment for payment in payments if payment.status == PaymentStatus.AUTHORIZED]
    if order.paid_by:
        # Decided once: also when that payment was refunded since, no other takes its place.
        return Assessment(
            paid_by=next((it for it in payments if it.gateway_payment_id == order.paid_by), None),
            excess=tuple(it for it in captured if it.gateway_payment_id != order.paid_by),
        )
    right = [payment for payment in captured if _is_right(order, payment)]
    wrong = [payment for payment in (*captured, *authorized) if not _is_right(order, payment)]
    return Assessment(
        paid_by=right[0] if right else None,
        to_capture=tuple(payment for payment in authorized if _is_right(order, payment)),
        excess=tuple(right[1:]),
        conflicts=tuple(wrong),
        is_nothing=not authorized and all(it.captured_at is None for it in payments),
    )


def _is_right(order: Order, payment: Payment) -> bool:
    return payment.amount_paise == order.amount_paise and payment.currency == order.currency


def has_money(order_id: int) -> bool:
    """Whether any payment of the order is authorised or captured."""
    status = [PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED]
    return Payment.objects.filter(gateway_order__order_id=order_id, status__in=status).exists()
