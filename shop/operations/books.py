"""
Compare the books: units with orders, payments with orders, and payments with Razorpay's list.

Only reads. Each row is read once, as a stream, so memory use does not grow with the tables. Our own
tables are read in one snapshot, so that a checkout which changes during the run is no difference.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import BEFORE_ORDER, STATES, State
from shop.money import CURRENCY, format_amount
from shop.operations.audit_log import Action, AuditEntry
from shop.orders import Order, OrderLine, StockState
from shop.payments import ledger
from shop.payments.cases import Case, CaseKind
from shop.payments.gateway import Declined, Gateway, PaymentFact
from shop.payments.ledger import Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundReason, RefundStatus
from shop.stock import StockLevel

CHUNK_ROWS = 2000
STATEMENT_TIMEOUT = "10min"  # requests of buyers have seconds
PAGE_SIZE = 100  # Razorpay's maximum
MAX_PAGES = 10_000
# Of a younger payment, the webhook and the poll may still be to come.
MIN_PAYMENT_AGE = timedelta(minutes=10)
OUR_RECEIPT_PREFIX = "PK-"

RECEIVED = (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED)


class Book(StrEnum):
    STOCK = "stock"
    MONEY = "money"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong (`text`) with one SKU, order, payment or refund (`subject`)."""

    book: Book
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.book}: {self.subject}: {self.text}"


@dataclass(frozen=True, slots=True)
class Totals:
    """
    All money ever captured in one currency, in minor units, and where it is.

    `captured == kept + refunding + refunded + undecided`
    """

    currency: str
    captured_paise: int
    kept_paise: int  # by paid orders
    refunding_paise: int  # refunds that Razorpay has not confirmed
    refunded_paise: int
    undecided_paise: int  # in review, or a difference


@dataclass(frozen=True, slots=True)
class ExternalRefunds:
    """Refunds in one currency that were made outside the shop, in Razorpay's dashboard."""

    currency: str
    count: int
    paise: int


@contextmanager
def snapshot() -> Iterator[None]:
    """Read everything inside as of one moment (repeatable read), and refuse writes."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            if outermost:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        yield


def differences() -> Iterator[Difference]:
    """All differences between our own tables. Call inside `snapshot`."""
    yield from _held_unit_differences()
    yield from _order_unit_differences()
    yield from _order_amount_differences()
    yield from _payment_differences()
    yield from _paid_order_differences()
    yield from _refunds_sent_twice()
    yield from _carts_paid_twice()


# --- units ---------------------------------------------------------------------------------------


def _held_unit_differences() -> Iterator[Difference]:
    """`held` of a variant must be the sum of its lines in orders that hold units."""
    of_orders = (
        OrderLine.objects.filter(variant=OuterRef("variant"), order__stock_state=StockState.HELD)
        .order_by()
        .values("variant")
        .annotate(units=Sum("units"))
        .values("units")
    )
    wrong = StockLevel.objects.annotate(expected=Coalesce(Subquery(of_orders), 0)).exclude(
        held=F("expected")
    )
    for level in wrong.select_related("variant").iterator(CHUNK_ROWS):
        expected: int = level.expected
        text = f"{level.held} units are held, but orders hold {expected}"
        yield Difference(Book.STOCK, level.variant.sku, text)


def _order_unit_differences() -> Iterator[Difference]:
    """The stock state of an order must fit the state of its checkout."""
    consistent = Q()
    for in_state, info in STATES.items():
        consistent |= Q(checkout__state=in_state, stock_state__in=sorted(info.units))
    wrong = Order.objects.order_by().exclude(pk__in=Order.objects.filter(consistent).values("pk"))
    wrong = wrong.exclude(pk__in=_orders_taken_over(), stock_state=StockState.HELD)
    for order in wrong.annotate(state=F("checkout__state")).iterator(CHUNK_ROWS):
        state = order.state or "missing"
        text = f"its units are {order.stock_state}, but its checkout is {state}"
        yield Difference(Book.STOCK, order.number, text)


def _orders_taken_over() -> set[int]:
    """The orders of superseded checkouts whose units a newer checkout is about to take over."""
    newer = CheckoutJob.objects.filter(state__in=sorted(BEFORE_ORDER))
    lists = newer.exclude(takes_over=[]).values_list("takes_over", flat=True)
    return {order_id for order_ids in lists for order_id in order_ids}


def _order_amount_differences() -> Iterator[Difference]:
    """The amount of an order must be its checkout's, and the sum of its lines."""
    lines = OrderLine.objects.filter(order=OuterRef("pk")).order_by().values("order")
    line_total = Sum(F("units") * F("unit_price_paise"))
    orders = Order.objects.order_by().annotate(
        of_lines=Coalesce(Subquery(lines.annotate(paise=line_total).values("paise")), 0),
        of_checkout=Coalesce(F("checkout__amount_paise"), F("amount_paise")),
    )
    wrong = orders.exclude(amount_paise=F("of_lines"), of_checkout=F("of_lines"))
    for order in wrong.iterator(CHUNK_ROWS):
        amounts = (order.amount_paise, order.of_checkout, order.of_lines)
        of_order, of_checkout, of_lines = (
            format_amount(paise, order.currency) for paise in amounts
        )
        text = f"it asks for {of_order}, its checkout for {of_checkout}, its lines for {of_lines}"
        yield Difference(Book.MONEY, order.number, text)


# --- money ---------------------------------------------------------------------------------------


def _refunded(*statuses: RefundStatus) -> Coalesce:
    """The sum of a payment's refunds in these states, in minor units."""
    rows = Refund.objects.filter(payment=OuterRef("pk"), status__in=statuses).order_by()
    paise = rows.values("payment").annotate(paise=Sum("amount_paise")).values("paise")
    return Coalesce(Subquery(paise), 0)


def _received_payments() -> QuerySet[Payment]:
    """Every payment ever captured, with its order, its checkout and the sums of its refunds."""
    order = "gateway_order__order"
    return (
        Payment.objects.filter(status__in=RECEIVED, captured_at__isnull=False)
        .order_by()
        .annotate(
            number=F(f"{order}__number"),
            state=F(f"{order}__checkout__state"),
            paid_by=F(f"{order}__paid_by"),
            refunding_paise=_refunded(RefundStatus.DUE, RefundStatus.PENDING),
            refunded_paise=_refunded(RefundStatus.PROCESSED),
            has_open_case=Exists(
                Case.objects.filter(order=OuterRef(f"{order}_id"), closed_at=None)
            ),
        )
    )


def _payment_differences() -> Iterator[Difference]:
    for payment in _received_payments().iterator(CHUNK_ROWS):
        for text in _problems_of(payment):
            yield Difference(Book.MONEY, payment.gateway_payment_id, text)


def _problems_of(payment: Payment) -> Iterator[str]:
    captured = payment.amount_paise
    refunded = payment.refunding_paise + payment.refunded_paise  # type: ignore[attr-defined]
    state: str = payment.state  # type: ignore[attr-defined]
    number: str = payment.number  # type: ignore[attr-defined]
    if refunded > captured:
        yield f"{_amount(refunded, payment)} is refunded of {_amount(captured, payment)}"
    if payment.amount_refunded_paise > refunded:
        there = _amount(payment.amount_refunded_paise, payment)
        yield f"Razorpay refunded {there}, but we know of {_amount(refunded, payment)}"
    pays = payment.gateway_payment_id == payment.paid_by  # type: ignore[attr-defined]
    is_accounted_for = pays or state == State.IN_REVIEW or payment.has_open_case  # type: ignore[attr-defined]
    if not is_accounted_for and refunded < captured:
        left = _amount(captured - refunded, payment)
        yield f"{left} of it neither pays {number} ({state}) nor is refunded"


def _amount(minor_units: int, payment: Payment) -> str:
    return format_amount(minor_units, payment.currency)


def _refunds_sent_twice() -> Iterator[Difference]:
    """Refunds that Razorpay carried out twice, until staff close the case."""
    closed = Case.objects.filter(
        kind=CaseKind.REFUND_TWICE, reference=OuterRef("key"), closed_at__isnull=False
    )
    rows = Refund.objects.filter(reason=RefundReason.TWICE).exclude(status=RefundStatus.FAILED)
    wrong = rows.exclude(Exists(closed)).order_by().select_related("payment")
    for refund in wrong.iterator(CHUNK_ROWS):
        amount = _amount(refund.amount_paise, refund.payment)
        text = f"{amount} of {refund.payment.gateway_payment_id} was refunded twice"
        yield Difference(Book.MONEY, refund.key, text)


def external_refunds() -> list[ExternalRefunds]:
    """Refunds made outside the shop: no difference, because staff may use the dashboard."""
    rows = Refund.objects.filter(
        reason=RefundReason.ELSEWHERE, payment__captured_at__isnull=False
    ).exclude(status=RefundStatus.FAILED)
    groups = rows.order_by().values_list("payment__currency")
    sums = groups.annotate(count=Count("id"), paise=Sum("amount_paise"))
    return [ExternalRefunds(*group) for group in sums.order_by("payment__currency")]


def _paid_order_differences() -> Iterator[Difference]:
    """A paid order must have its payment, of its amount unless staff accepted another amount."""
    payments = Payment.objects.filter(gateway_payment_id=OuterRef("paid_by"), status__in=RECEIVED)
    accepted = AuditEntry.objects.filter(
        checkout_id=OuterRef("checkout__id"), action=Action.ACCEPT_MONEY
    )
    exact = payments.filter(amount_paise=OuterRef("amount_paise"), currency=OuterRef("currency"))
    paid = Order.objects.order_by().filter(
        Q(checkout__state=State.PAID) | ~Q(paid_by="") | Q(paid_at__isnull=False)
    )
    wrong = paid.annotate(has_payment=Exists(payments)).exclude(
        Exists(exact) | (Exists(payments) & Exists(accepted)), paid_at__isnull=False
    )
    for order in wrong.iterator(CHUNK_ROWS):
        if order.has_payment:
            amount = format_amount(order.amount_paise, order.currency)
            text = f"{order.paid_by} differs from its amount of {amount}"
        else:
            text = "paid without a captured payment"
        yield Difference(Book.MONEY, order.number, text)


def _carts_paid_twice() -> Iterator[Difference]:
    """A cart revision must be paid once."""
    paid = CheckoutJob.objects.filter(state=State.PAID)
    numbers = ArrayAgg("order__number", order_by="order__number")
    revisions = paid.values("cart_id", "cart_version").annotate(orders=Count("pk"), numbers=numbers)
    twice = revisions.filter(orders__gt=1).order_by("cart_id", "cart_version")
    for revision in twice.iterator(CHUNK_ROWS):
        text = f"all paid, but for one cart revision ({revision['cart_version']})"
        yield Difference(Book.MONEY, ", ".join(revision["numbers"]), text)


def totals() -> list[Totals]:
    """Where all money is, by currency; the shop's own currency always. Call inside `snapshot`."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter, {CURRENCY: Counter()})
    for payment in _received_payments().iterator(CHUNK_ROWS):
        left = payment.amount_paise - payment.refunding_paise - payment.refunded_paise  # type: ignore[attr-defined]
        pays = payment.gateway_payment_id == payment.paid_by  # type: ignore[attr-defined]
        of_currency = sums[payment.currency]
        of_currency["captured"] += payment.amount_paise
        of_currency["refunding"] += payment.refunding_paise  # type: ignore[attr-defined]
        of_currency["refunded"] += payment.refunded_paise  # type: ignore[attr-defined]
        of_currency["kept" if pays else "undecided"] += left
    parts = ("captured", "kept", "refunding", "refunded", "undecided")
    return [Totals(currency, *(found[part] for part in parts)) for currency, found in sums.items()]


# --- Razorpay's list -----------------------------------------------------------------------------


def gateway_differences(
    gateway: Gateway, *, since: datetime, now: datetime
) -> Iterator[Difference]:
    """
    Payments captured since `since` by Razorpay's list that we do not have, or have differently.

    Two queries a page. Skips payments of other shops on the account: the receipt of an unknown
    Razorpay order tells whether it is ours. Call outside any transaction.

    :raises GatewayError: the list cannot be read.
    """
    until = now - MIN_PAYMENT_AGE
    for page in range(MAX_PAGES):
        facts = gateway.list_payments(
            since=since, until=until, skip=page * PAGE_SIZE, count=PAGE_SIZE
        )
        captured = [
            fact
            for fact in facts
            if fact.status in RECEIVED and fact.gateway_order_id and not fact.is_void
        ]
        yield from _compare_page(captured, gateway)
        for payment in facts.unreadable:
            yield Difference(Book.GATEWAY, payment.id, f"unreadable: {payment.problem}")
        if len(facts) + len(facts.unreadable) < PAGE_SIZE:
            return
    raise RuntimeError(f"more than {MAX_PAGES * PAGE_SIZE} payments: choose a later --since")


def _compare_page(facts: Sequence[PaymentFact], gateway: Gateway) -> Iterator[Difference]:
    ours = ledger.find(fact.gateway_order_id for fact in facts)
    known = Payment.objects.in_bulk([fact.id for fact in facts], field_name="gateway_payment_id")
    for fact in facts:
        row = known.get(fact.id)
        if row is not None:
            text = _deviation(row, fact)
        elif fact.gateway_order_id in ours or _is_ours(fact, gateway):
            text = f"{fact.status} at Razorpay for {fact.gateway_order_id}, unknown here"
        else:
            text = ""
        if text:
            yield Difference(Book.GATEWAY, fact.id, text)


def _deviation(row: Payment, fact: PaymentFact) -> str:
    if row.status not in RECEIVED:
        return f"{fact.status} at Razorpay, {row.status} here"
    if (row.amount_paise, row.currency) != (fact.amount_paise, fact.currency):
        return (
            f"{fact.amount_paise} {fact.currency} at Razorpay, {row.amount_paise} {row.currency}"
            " here (in minor units)"
        )
    if fact.amount_refunded_paise > row.amount_refunded_paise:
        known = Refund.objects.filter(payment=row, status=RefundStatus.PROCESSED)
        here = known.aggregate(paise=Coalesce(Sum("amount_paise"), 0))["paise"]
        if fact.amount_refunded_paise > here:
            there = _amount(fact.amount_refunded_paise, row)
            return f"{there} of it refunded at Razorpay, {_amount(here, row)} here"
    return ""


def _is_ours(fact: PaymentFact, gateway: Gateway) -> bool:
    """Whether the receipt of an unknown Razorpay order is one of our order numbers."""
    try:
        order = gateway.fetch_order(gateway_order_id=fact.gateway_order_id)
    except Declined:
        return False
    return (order.receipt or "").startswith(OUR_RECEIPT_PREFIX)
