"""
Do the books agree? Units against orders, money against orders, and both against Razorpay's list.

Nothing is changed. Rows are read once each, in a stream, so memory stays small however many there
are; the books are all read as of one moment, so that a checkout which moves meanwhile is no
difference.
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

ROWS_AT_ONCE = 2000
MAX_READ = "10min"  # for one statement; buyers' have seconds
PAGE = 100  # as many payments as Razorpay lists at once
MAX_PAGES = 10_000
# What is younger may be there and not yet here: its webhook and our question are still to come.
YOUNGEST = timedelta(minutes=10)
OUR_RECEIPTS = "PK-"

MONEY_CAME = (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED)


class Book(StrEnum):
    STOCK = "stock"
    MONEY = "money"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Difference:
    """`subject` (an SKU, an order number, a payment id) is not as it should be: `text` says how."""

    book: Book
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.book}: {self.subject}: {self.text}"


@dataclass(frozen=True, slots=True)
class Totals:
    """
    All money of one currency that ever came, in minor units, and where it is.
    `came == kept + going + gone + open`.
    """

    currency: str
    came_paise: int
    kept_paise: int  # by paid orders
    going_paise: int  # refunds that Razorpay has not confirmed
    gone_paise: int
    open_paise: int  # neither an order's nor on its way back: in review, or a difference


@dataclass(frozen=True, slots=True)
class MadeElsewhere:
    """Refunds of one currency that nobody asked for here, in Razorpay's dashboard say."""

    currency: str
    count: int
    paise: int


@contextmanager
def one_moment() -> Iterator[None]:
    """All that is read inside is as of one moment, and nothing can be written."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            if outermost:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = '{MAX_READ}'")
        yield


def books() -> Iterator[Difference]:
    """Everything that our own tables can tell. Call inside `one_moment`."""
    yield from _held_units()
    yield from _units_of_orders()
    yield from _order_amounts()
    yield from _payments()
    yield from _paid_orders()
    yield from _refunds_sent_twice()
    yield from _paid_twice()


# --- units ---------------------------------------------------------------------------------------


def _held_units() -> Iterator[Difference]:
    """`held` of each variant is the sum of the lines of the orders that hold."""
    of_orders = (
        OrderLine.objects.filter(variant=OuterRef("variant"), order__stock_state=StockState.HELD)
        .order_by()
        .values("variant")
        .annotate(units=Sum("units"))
        .values("units")
    )
    wrong = StockLevel.objects.annotate(promised=Coalesce(Subquery(of_orders), 0)).exclude(
        held=F("promised")
    )
    for level in wrong.select_related("variant").iterator(ROWS_AT_ONCE):
        promised: int = level.promised
        text = f"{level.held} units are held, and orders hold {promised}"
        yield Difference(Book.STOCK, level.variant.sku, text)


def _units_of_orders() -> Iterator[Difference]:
    """Units are where the checkout's state says that they are."""
    right = Q()
    for in_state, info in STATES.items():
        right |= Q(checkout__state=in_state, stock_state__in=sorted(info.units))
    wrong = Order.objects.order_by().exclude(pk__in=Order.objects.filter(right).values("pk"))
    wrong = wrong.exclude(pk__in=_taken_over(), stock_state=StockState.HELD)
    for order in wrong.annotate(state=F("checkout__state")).iterator(ROWS_AT_ONCE):
        state = order.state or "gone"
        text = f"its units are {order.stock_state}, and its checkout is {state}"
        yield Difference(Book.STOCK, order.number, text)


def _taken_over() -> set[int]:
    """The orders of superseded checkouts whose units a newer one is about to take over."""
    newer = CheckoutJob.objects.filter(state__in=sorted(BEFORE_ORDER))
    lists = newer.exclude(takes_over=[]).values_list("takes_over", flat=True)
    return {order_id for order_ids in lists for order_id in order_ids}


def _order_amounts() -> Iterator[Difference]:
    """The amount of an order must be its checkout's, and the sum of its lines."""
    lines = OrderLine.objects.filter(order=OuterRef("pk")).order_by().values("order")
    line_total = Sum(F("units") * F("unit_price_paise"))
    orders = Order.objects.order_by().annotate(
        of_lines=Coalesce(Subquery(lines.annotate(paise=line_total).values("paise")), 0),
        of_checkout=Coalesce(F("checkout__amount_paise"), F("amount_paise")),
    )
    wrong = orders.exclude(amount_paise=F("of_lines"), of_checkout=F("of_lines"))
    for order in wrong.iterator(ROWS_AT_ONCE):
        amounts = (order.amount_paise, order.of_checkout, order.of_lines)
        of_order, of_checkout, of_lines = (format_amount(it, order.currency) for it in amounts)
        text = f"it asks for {of_order}, its checkout for {of_checkout}, its lines for {of_lines}"
        yield Difference(Book.MONEY, order.number, text)


# --- money ---------------------------------------------------------------------------------------


def _refunded(*statuses: RefundStatus) -> Coalesce:
    """The sum of a payment's refunds in these states, in paise."""
    rows = Refund.objects.filter(payment=OuterRef("pk"), status__in=statuses).order_by()
    paise = rows.values("payment").annotate(paise=Sum("amount_paise")).values("paise")
    return Coalesce(Subquery(paise), 0)


def _money() -> QuerySet[Payment]:
    """Every payment whose money came, with its order, its checkout and what went back of it."""
    order = "gateway_order__order"
    return (
        Payment.objects.filter(status__in=MONEY_CAME, captured_at__isnull=False)
        .order_by()
        .annotate(
            number=F(f"{order}__number"),
            state=F(f"{order}__checkout__state"),
            paid_by=F(f"{order}__paid_by"),
            going_paise=_refunded(RefundStatus.DUE, RefundStatus.PENDING),
            gone_paise=_refunded(RefundStatus.PROCESSED),
            has_open_case=Exists(
                Case.objects.filter(order=OuterRef(f"{order}_id"), closed_at=None)
            ),
        )
    )


def _payments() -> Iterator[Difference]:
    for payment in _money().iterator(ROWS_AT_ONCE):
        for text in _wrong_with(payment):
            yield Difference(Book.MONEY, payment.gateway_payment_id, text)


def _wrong_with(payment: Payment) -> Iterator[str]:
    came = payment.amount_paise
    back = payment.going_paise + payment.gone_paise  # type: ignore[attr-defined]
    state: str = payment.state  # type: ignore[attr-defined]
    number: str = payment.number  # type: ignore[attr-defined]
    if back > came:
        yield f"{_amount(back, payment)} goes back of {_amount(came, payment)}"
    if payment.amount_refunded_paise > back:
        there = _amount(payment.amount_refunded_paise, payment)
        yield f"Razorpay gave {there} back, and we know of {_amount(back, payment)}"
    pays = payment.gateway_payment_id == payment.paid_by  # type: ignore[attr-defined]
    looked_after = pays or state == State.IN_REVIEW or payment.has_open_case  # type: ignore[attr-defined]
    if not looked_after and back < came:
        left = _amount(came - back, payment)
        yield f"{left} of it is neither {number}'s ({state}) nor on its way back"


def _amount(minor_units: int, payment: Payment) -> str:
    return format_amount(minor_units, payment.currency)


def _refunds_sent_twice() -> Iterator[Difference]:
    """Refunds above what the shop asked for, until a person has closed the case of each."""
    closed = Case.objects.filter(
        kind=CaseKind.REFUND_TWICE, reference=OuterRef("key"), closed_at__isnull=False
    )
    rows = Refund.objects.filter(reason=RefundReason.TWICE).exclude(status=RefundStatus.FAILED)
    wrong = rows.exclude(Exists(closed)).order_by().select_related("payment")
    for refund in wrong.iterator(ROWS_AT_ONCE):
        amount = _amount(refund.amount_paise, refund.payment)
        text = f"{amount} of {refund.payment.gateway_payment_id} went back twice"
        yield Difference(Book.MONEY, refund.key, text)


def made_elsewhere() -> list[MadeElsewhere]:
    """Refunds that nobody asked for here: no difference, for staff may use the dashboard."""
    rows = Refund.objects.filter(
        reason=RefundReason.ELSEWHERE, payment__captured_at__isnull=False
    ).exclude(status=RefundStatus.FAILED)
    groups = rows.order_by().values_list("payment__currency")
    sums = groups.annotate(count=Count("id"), paise=Sum("amount_paise"))
    return [MadeElsewhere(*group) for group in sums.order_by("payment__currency")]


def _paid_orders() -> Iterator[Difference]:
    """A paid order has the payment that pays it, of its amount unless somebody accepted another."""
    payments = Payment.objects.filter(gateway_payment_id=OuterRef("paid_by"), status__in=MONEY_CAME)
    accepted = AuditEntry.objects.filter(
        checkout_id=OuterRef("checkout__id"), action=Action.ACCEPT_MONEY
    )
    fits = payments.filter(amount_paise=OuterRef("amount_paise"), currency=OuterRef("currency"))
    paid = Order.objects.order_by().filter(
        Q(checkout__state=State.PAID) | ~Q(paid_by="") | Q(paid_at__isnull=False)
    )
    wrong = paid.annotate(has_payment=Exists(payments)).exclude(
        Exists(fits) | (Exists(payments) & Exists(accepted)), paid_at__isnull=False
    )
    for order in wrong.iterator(ROWS_AT_ONCE):
        if order.has_payment:
            amount = format_amount(order.amount_paise, order.currency)
            text = f"{order.paid_by} does not fit its {amount}"
        else:
            text = "it is paid without a captured payment"
        yield Difference(Book.MONEY, order.number, text)


def _paid_twice() -> Iterator[Difference]:
    """One cart revision is bought once."""
    paid = CheckoutJob.objects.filter(state=State.PAID)
    numbers = ArrayAgg("order__number", order_by="order__number")
    revisions = paid.values("cart_id", "cart_version").annotate(orders=Count("pk"), numbers=numbers)
    twice = revisions.filter(orders__gt=1).order_by("cart_id", "cart_version")
    for revision in twice.iterator(ROWS_AT_ONCE):
        text = f"all paid, and of one cart revision ({revision['cart_version']})"
        yield Difference(Book.MONEY, ", ".join(revision["numbers"]), text)


def totals() -> list[Totals]:
    """Where all money is, by currency; at least that of the shop. Call inside `one_moment`."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter, {CURRENCY: Counter()})
    for payment in _money().iterator(ROWS_AT_ONCE):
        left = payment.amount_paise - payment.going_paise - payment.gone_paise  # type: ignore[attr-defined]
        pays = payment.gateway_payment_id == payment.paid_by  # type: ignore[attr-defined]
        of_currency = sums[payment.currency]
        of_currency["came"] += payment.amount_paise
        of_currency["going"] += payment.going_paise  # type: ignore[attr-defined]
        of_currency["gone"] += payment.gone_paise  # type: ignore[attr-defined]
        of_currency["kept" if pays else "open"] += left
    return [
        Totals(currency, it["came"], it["kept"], it["going"], it["gone"], it["open"])
        for currency, it in sums.items()
    ]


# --- Razorpay's list -----------------------------------------------------------------------------


def gateway_list(gateway: Gateway, *, since: datetime, now: datetime) -> Iterator[Difference]:
    """
    Payments that Razorpay lists as captured since then, and that we do not have, or not like that.

    Two queries a page. Payments of other shops on the account are passed over; the receipt of a
    Razorpay order that we do not know tells whether it is ours. Call outside any transaction.

    :raises GatewayError: Razorpay does not answer.
    """
    until = now - YOUNGEST
    for page in range(MAX_PAGES):
        facts = gateway.list_payments(since=since, until=until, skip=page * PAGE, count=PAGE)
        came = [
            fact
            for fact in facts
            if fact.status in MONEY_CAME and fact.gateway_order_id and not fact.is_void
        ]
        yield from _compare(came, gateway)
        for payment in facts.unreadable:
            yield Difference(Book.GATEWAY, payment.id, f"cannot be read: {payment.problem}")
        if len(facts) + len(facts.unreadable) < PAGE:
            return
    raise RuntimeError(f"more than {MAX_PAGES * PAGE} payments: ask for a shorter span")


def _compare(facts: Sequence[PaymentFact], gateway: Gateway) -> Iterator[Difference]:
    ours = ledger.find(fact.gateway_order_id for fact in facts)
    known = Payment.objects.in_bulk([fact.id for fact in facts], field_name="gateway_payment_id")
    for fact in facts:
        row = known.get(fact.id)
        if row is not None:
            text = _unlike(row, fact)
        elif fact.gateway_order_id in ours or _is_ours(fact, gateway):
            text = f"{fact.status} there on {fact.gateway_order_id}, and unknown here"
        else:
            text = ""
        if text:
            yield Difference(Book.GATEWAY, fact.id, text)


def _unlike(row: Payment, fact: PaymentFact) -> str:
    if row.status not in MONEY_CAME:
        return f"{fact.status} there, {row.status} here"
    if (row.amount_paise, row.currency) != (fact.amount_paise, fact.currency):
        return (
            f"{fact.amount_paise} {fact.currency} there, {row.amount_paise} {row.currency} here"
            " (in minor units)"
        )
    if fact.amount_refunded_paise > row.amount_refunded_paise:
        known = Refund.objects.filter(payment=row, status=RefundStatus.PROCESSED)
        here = known.aggregate(paise=Coalesce(Sum("amount_paise"), 0))["paise"]
        if fact.amount_refunded_paise > here:
            there = _amount(fact.amount_refunded_paise, row)
            return f"{there} of it went back there, {_amount(here, row)} here"
    return ""


def _is_ours(fact: PaymentFact, gateway: Gateway) -> bool:
    """Whether a Razorpay order that we do not know carries one of our order numbers."""
    try:
        order = gateway.fetch_order(gateway_order_id=fact.gateway_order_id)
    except Declined:
        return False
    return (order.receipt or "").startswith(OUR_RECEIPTS)
