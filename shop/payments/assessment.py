"""What the payments of an order amount to. A pure decision on rows of the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from shop.db import fast
from shop.orders import Order
from shop.payments.ledger import Payment, PaymentStatus


@dataclass(frozen=True, slots=True)
class Assessment:
    """
    `paid_by`: the payment that pays the order: the one that did, or else the first one recorded.
    `to_capture`: authorised payments that would pay it.
    `excess`: captured payments besides `paid_by`.
    `conflicts`: payments of another amount or currency, while nothing has paid the order.
    `is_nothing`: no payment was ever captured, and none is authorised.
    """

    paid_by: Payment | None = None
    to_capture: tuple[Payment, ...] = ()
    excess: tuple[Payment, ...] = ()
    conflicts: tuple[Payment, ...] = ()
    is_nothing: bool = False


# On the fast path: every report about money is followed by this query.
_PAYMENTS = """
    SELECT {columns}, gateway_order.order_id
    FROM shop_payment
    JOIN shop_gatewayorder gateway_order ON gateway_order.id = shop_payment.gateway_order_id
    WHERE gateway_order.order_id = ANY(%s) ORDER BY shop_payment.id
"""


def assess_orders(orders: Sequence[Order]) -> dict[int, Assessment]:
    """The assessment of each order by its id. One query; payments on duplicates count too."""
    payments: defaultdict[int, list[Payment]] = defaultdict(list)
    statement = _PAYMENTS.format(columns=fast.columns(Payment))
    order_ids = fast.array(order.pk for order in orders)
    for payment, (order_id,) in fast.beside(Payment, statement, [order_ids]):
        payments[order_id].append(payment)
    return {order.pk: assess(order, payments[order.pk]) for order in orders}


def assess(order: Order, payments: Sequence[Payment]) -> Assessment:
    """Assess one order. Pure. A payment that was refunded in full does not count."""
    captured = [payment for payment in payments if payment.status == PaymentStatus.CAPTURED]
    authorized = [payment for payment in payments if payment.status == PaymentStatus.AUTHORIZED]
    if order.paid_by:
        # Decided once: no other payment takes its place, even if it was refunded since.
        by_id = {payment.gateway_payment_id: payment for payment in payments}
        excess = [payment for payment in captured if payment.gateway_payment_id != order.paid_by]
        return Assessment(paid_by=by_id.get(order.paid_by), excess=tuple(excess))
    right = [payment for payment in captured if _is_right(order, payment)]
    wrong = [payment for payment in (*captured, *authorized) if not _is_right(order, payment)]
    return Assessment(
        paid_by=right[0] if right else None,
        to_capture=tuple(payment for payment in authorized if _is_right(order, payment)),
        excess=tuple(right[1:]),
        conflicts=tuple(wrong),
        is_nothing=not authorized and all(payment.captured_at is None for payment in payments),
    )


def _is_right(order: Order, payment: Payment) -> bool:
    return payment.amount_paise == order.amount_paise and payment.currency == order.currency
