"""
The ledger: Razorpay orders, and what was reported about the payments on them.

Each report updates its payment's row, forward only. Totals are computed from the rows
(`assessment`), never incremented, so repeated, late and reordered reports do no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q

from shop.db import due, fast
from shop.orders import Order
from shop.payments.gateway import PaymentFact, RemoteOrder


class GatewayOrder(models.Model):
    """
    An order at Razorpay. One per order of ours is payable. A create call whose answer was lost can
    make duplicates; they are kept so that a payment on any of them finds the order.
    """

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="gateway_orders")
    gateway_order_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    is_duplicate = models.BooleanField(default=False)
    amount_paise = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    create_sent_at = models.DateTimeField(null=True, blank=True)  # of an unconfirmed create call
    created_at = models.DateTimeField()

    poll_at = models.DateTimeField(null=True, blank=True)  # when to fetch its payments
    polled_at = models.DateTimeField(null=True, blank=True)  # the last poll that was answered
    poll_count = models.PositiveIntegerField(default=0)
    failed_polls = models.SmallIntegerField(default=0, db_default=0)  # since `polled_at`

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
                name="gateway_order_to_poll",
            ),
        ]

    def __str__(self) -> str:
        return self.gateway_order_id or f"not yet made for order {self.order_id}"


class PaymentStatus(StrEnum):
    """In forward order: a `failed` payment can still be authorised or captured."""

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
    currency = models.CharField(max_length=8)  # as reported: it may be no ISO code
    status = models.CharField(max_length=12)
    amount_refunded_paise = models.BigIntegerField(default=0)
    method = models.CharField(max_length=32, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_description = models.CharField(max_length=300, blank=True)
    first_reported_via = models.CharField(max_length=16)  # webhook or fetch
    captured_via = models.CharField(max_length=16, blank=True)  # what first reported the capture
    captured_at = models.DateTimeField(null=True, blank=True)  # when it was first reported
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


# --- Razorpay orders -----------------------------------------------------------------------------


def open_gateway_orders(orders: Sequence[Order], *, now: datetime) -> None:
    """Create the payable rows of these orders, before Razorpay is called. One statement."""
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


# On the fast path, like `_ADOPT`: every checkout runs it. Returns the old time besides the new row.
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
    Record that create calls for these orders are about to be sent.

    By order id: the payable row, the receipt, and the time of an earlier create call whose outcome
    is unknown. An order whose row another transaction has locked is missing. Call under the lock of
    the orders' jobs.
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
    Set the time of an unconfirmed create call, or clear it. Does nothing if it changed since `row`
    was read: another worker has sent a newer call.
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
    """Razorpay orders for one row: the first becomes payable, the others are duplicates."""

    row: GatewayOrder
    orders: Sequence[RemoteOrder]
    poll_at: datetime | None


def adopt(adoptions: Sequence[Adoption], *, now: datetime) -> None:
    """
    Store the ids of these Razorpay orders, each once. A row that has an id keeps it, and all orders
    given for it become duplicates.
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
    adopted = fast.execute(_ADOPT, [fast.as_json(records)])
    # Fewer rows: after our claim lapsed, another worker adopted an order for one of them. Ours may
    # then be a duplicate. The insert below ignores those that are stored already.
    first_duplicate = 1 if adopted == len(adoptions) else 0
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
    """When these orders were last polled with an answer; an order without one is missing."""
    rows = GatewayOrder.objects.filter(
        order_id__in=order_ids, is_duplicate=False, polled_at__isnull=False
    )
    return {row.order_id: row.polled_at for row in rows if row.polled_at}


def of_receipts(receipts: Collection[str]) -> dict[str, GatewayOrder]:
    """The payable row of each order of ours that has one of these receipts."""
    found = GatewayOrder.objects.filter(order__number__in=receipts, is_duplicate=False)
    return {row.order.number: row for row in found.select_related("order")}


def find(gateway_order_ids: Iterable[str]) -> dict[str, GatewayOrder]:
    """The rows of these ids that are ours. Another shop on the same account may own the others."""
    wanted = set(gateway_order_ids)
    if not wanted:
        return {}
    found = fast.select(GatewayOrder, "WHERE gateway_order_id = ANY(%s)", [list(wanted)])
    return {str(row.gateway_order_id): row for row in found}


# --- payments ------------------------------------------------------------------------------------


def record(
    facts: Iterable[PaymentFact], ours: dict[str, GatewayOrder], *, via: str, now: datetime
) -> set[int]:
    """
    Write what `facts` report about payments of `ours`. Returns the ids of the orders that changed.

    Forward only: a report older than the row changes nothing. A status that is not in
    `PaymentStatus` is ignored. Call inside a transaction that holds the locks of the orders' jobs,
    which keeps two reports about one payment apart.
    """
    facts = [fact for fact in facts if fact.gateway_order_id in ours and fact.status in RANK]
    known = _known(facts)
    new: dict[str, Payment] = {}
    changed: dict[str, Payment] = {}
    for fact in facts:
        row = known.get(fact.id) or new.get(fact.id)
        if row is None:
            row = new[fact.id] = Payment(
                gateway_payment_id=fact.id,
                gateway_order=ours[fact.gateway_order_id],
                first_reported_via=via,
                created_at=now,
            )
        if _apply_fact(row, fact, via=via, now=now) and row.pk:
            changed[fact.id] = row
    fast.insert(Payment, list(new.values()))
    if changed:
        Payment.objects.bulk_update(changed.values(), REPORTED_COLUMNS)
    orders_by_row = {row.pk: row.order_id for row in ours.values()}
    return {
        orders_by_row[row.gateway_order_id]
        for row in (*new.values(), *changed.values())
        if row.gateway_order_id in orders_by_row
    }


def _known(facts: Sequence[PaymentFact]) -> dict[str, Payment]:
    if not facts:
        return {}
    ids = list({fact.id for fact in facts})
    found = fast.select(Payment, "WHERE gateway_payment_id = ANY(%s)", [ids])
    return {row.gateway_payment_id: row for row in found}


# The columns that a report can change.
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
    """Update `row` with what is new in `fact`. False if nothing is."""
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
    Whether an authorisation has failed. A webhook that says so may be older than the authorisation;
    a fetch is not.
    """
    was, now_is = PaymentStatus.AUTHORIZED, PaymentStatus.FAILED
    return via == "fetch" and (row.status, fact.status) == (was, now_is)


def orders_of_payments(gateway_payment_ids: Collection[str]) -> dict[str, int]:
    """The order id of each of these payments that we know."""
    if not gateway_payment_ids:
        return {}
    rows = Payment.objects.filter(gateway_payment_id__in=gateway_payment_ids)
    return dict(rows.values_list("gateway_payment_id", "gateway_order__order_id"))


def has_money(order_id: int) -> bool:
    """Whether any payment of the order is authorised or captured."""
    status = [PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED]
    return Payment.objects.filter(gateway_order__order_id=order_id, status__in=status).exists()


# --- captures ------------------------------------------------------------------------------------


def plan_capture(payments: Sequence[Payment], *, at: datetime) -> None:
    """Capture these payments ourselves at `at`. A payment that has a time keeps it."""
    if payments:
        Payment.objects.filter(pk__in=[payment.pk for payment in payments], capture_at=None).update(
            capture_at=at
        )


def cancel_capture(payments: Sequence[Payment]) -> None:
    """Do not capture these: an authorisation lapses by itself, free of charge."""
    if payments:
        Payment.objects.filter(pk__in=[payment.pk for payment in payments]).update(capture_at=None)


def retry_capture(payment: Payment, *, at: datetime | None) -> None:
    """Try the capture again at `at`; None: never."""
    Payment.objects.filter(pk=payment.pk).update(capture_at=at)


def claim_captures(*, limit: int, now: datetime) -> list[Payment]:
    """
    Take payments that are due to be captured, for `CLAIM_SECONDS`. Call inside a transaction.

    The claim is not checked afterwards: Razorpay refuses a second capture, and the payment is then
    fetched.
    """
    rows = Payment.objects.select_related("gateway_order")
    attempts = F("capture_attempts") + 1
    return due.claim(rows, "capture_at", limit=limit, now=now, capture_attempts=attempts)
