"""The routes under /v1 that a shop's server calls with its key."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

from workers.standin import lists, refunds, validation
from workers.standin.account import Account
from workers.standin.entities import (
    Entity,
    collection,
    dispute_entity,
    order_entity,
    payment_entity,
    refund_entity,
)
from workers.standin.errors import NoRoute
from workers.standin.records import Dispute, Order, Payment, Refund
from workers.standin.routing import Router

Found = TypeVar("Found")
ID_TAIL = re.compile(r"[A-Za-z0-9]{14}")


@dataclasses.dataclass(slots=True)
class Call:
    """One request, parsed as far as all routes need it."""

    account: Account
    ids: tuple[str, ...]
    query_text: str
    raw_body: bytes
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.query_text, keep_blank_values=True)

    @property
    def body(self) -> dict[str, Any]:
        return validation.parse_body(self.raw_body, wording=self.account.behaviour.wording)

    @property
    def expand(self) -> set[str]:
        return set(self.query.get("expand[]", []) + self.query.get("expand", []))

    def order(self) -> Order:
        return self._found(self.account.orders, "order")

    def payment(self) -> Payment:
        return self._found(self.account.payments, "pay")

    def refund(self, position: int = 0) -> Refund:
        return self._found(self.account.refunds, "rfnd", position)

    def dispute(self) -> Dispute:
        return self._found(self.account.disputes, "disp")

    def _found(self, known: dict[str, Found], prefix: str, position: int = 0) -> Found:
        wanted = self.ids[position]
        if wanted in known:
            return known[wanted]
        head, _, tail = wanted.rpartition("_")
        if head != prefix or not ID_TAIL.fullmatch(tail):
            raise self.account.refuse("malformed_id", id=wanted)
        raise self.account.refuse("unknown_id")


RouteFunction = Callable[[Call], Entity]

ROUTER: Router[RouteFunction] = Router()
route = ROUTER.route


# Orders


@route("POST", "orders", "orders.create")
def create_order(call: Call) -> Entity:
    account = call.account
    request = validation.order_request(call.body, account.behaviour)
    return order_entity(account.create_order(request))


@route("GET", "orders", "orders.list")
def list_orders(call: Call) -> Entity:
    account, query = call.account, call.query
    wanted = lists.window(query)
    if "receipt" in query:
        candidates = reversed(account.orders_by_receipt.get(query["receipt"][-1], []))
    else:
        candidates = reversed(account.orders.values())
    if "authorized" in query:
        is_wanted = query["authorized"][-1] in ("1", "true")
        candidates = (order for order in candidates if is_authorized(order) == is_wanted)
    visible_until = account.clock.now() - account.behaviour.receipt_lag_seconds
    orders = wanted.of(candidates, visible_until=visible_until)
    return collection([expanded_order(call, order) for order in orders])


@route("GET", "orders/{}", "orders.fetch")
def fetch_order(call: Call) -> Entity:
    return expanded_order(call, call.order())


@route("PATCH", "orders/{}", "orders.edit")
def edit_order(call: Call) -> Entity:
    order = call.order()
    order.notes = validation.new_notes(call.body, call.account.behaviour.wording)
    return order_entity(order)


@route("GET", "orders/{}/payments", "orders.payments")
def list_order_payments(call: Call) -> Entity:
    account, order = call.account, call.order()
    visible_until = account.clock.now() - account.behaviour.order_payments_lag_seconds
    return collection(
        [expanded_payment(call, p) for p in order.payments if p.created_at <= visible_until]
    )


def is_authorized(order: Order) -> bool:
    """The `authorized` filter of the list: a payment of it was authorised at least."""
    return any(p.status in ("authorized", "captured", "refunded") for p in order.payments)


def expanded_order(call: Call, order: Order) -> Entity:
    account = call.account
    known_since = account.clock.now() - account.behaviour.order_state_lag_seconds
    entity = order_entity(order, paid_known=order.paid_at <= known_since)
    if {"payments", "payments.card"} & call.expand:
        entity["payments"] = collection([expanded_payment(call, p) for p in order.payments])
    return entity


# Payments


@route("GET", "payments", "payments.list")
def list_payments(call: Call) -> Entity:
    account = call.account
    visible_until = account.clock.now() - account.behaviour.list_lag_seconds
    newest_first = reversed(account.payments.values())
    payments = lists.window(call.query).of(newest_first, visible_until=visible_until)
    return collection([expanded_payment(call, payment) for payment in payments])


@route("GET", "payments/{}", "payments.fetch")
def fetch_payment(call: Call) -> Entity:
    return expanded_payment(call, call.payment())


@route("PATCH", "payments/{}", "payments.edit")
def edit_payment(call: Call) -> Entity:
    payment = call.payment()
    payment.notes = validation.new_notes(call.body, call.account.behaviour.wording)
    return expanded_payment(call, payment)


@route("GET", "payments/{}/card", "payments.card")
def fetch_card(call: Call) -> Entity:
    payment = call.payment()
    if "card" not in payment.details:
        raise call.account.refuse("unknown_id")
    card: Entity = payment.details["card"]
    return card


@route("POST", "payments/{}/capture", "payments.capture", exclusive=True)
def capture_payment(call: Call) -> Entity:
    """Capture the authorised amount, once. An unknown id gets a 404 without an error object."""
    account = call.account
    payment = account.payments.get(call.ids[0])
    if payment is None:
        raise NoRoute
    amount_paise, currency = validation.capture_request(call.body, account.behaviour.wording)
    refuse_capture(account, payment, amount_paise=amount_paise, currency=currency)
    account.capture(payment)
    return expanded_payment(call, payment)


def refuse_capture(account: Account, payment: Payment, *, amount_paise: int, currency: str) -> None:
    order = payment.order
    if payment.captured:
        # Razorpay omits the prefix here.
        bare_id = payment.id.removeprefix("pay_")
        raise account.refuse("already_captured", metadata={"payment_id": bare_id})
    if payment.status == "refunded":
        raise account.refuse("already_voided")
    if payment.status != "authorized":
        raise account.refuse("not_authorized")
    if currency != payment.currency:
        raise account.refuse("capture_currency")
    if amount_paise != payment.amount_paise:
        raise account.refuse("capture_amount")
    if order.status == "paid":
        raise account.refuse("capture_of_paid_order")
    if amount_paise > order.amount_paise - order.amount_paid_paise:
        raise account.refuse("capture_above_due")


def expanded_payment(call: Call, payment: Payment) -> Entity:
    """A payment, with its card only if `expand[]` asks for it."""
    entity = payment_entity(payment)
    if "card" in entity and not {"card", "payments.card"} & call.expand:
        del entity["card"]
    return entity


# Refunds


@route("POST", "payments/{}/refund", "payments.refund", exclusive=True)
def refund_payment(call: Call) -> Entity:
    account, payment = call.account, call.payment()
    body = call.body
    request = validation.refund_request(body, account.behaviour.wording)
    key = call.headers.get("X-Refund-Idempotency")
    if key is None:
        return refund_entity(refunds.create(account, payment, request))
    content = json.dumps([payment.id, body], sort_keys=True)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    return refund_entity(
        refunds.create_once(account, payment, request, key=key, fingerprint=fingerprint)
    )


@route("GET", "payments/{}/refunds", "payments.refunds")
def list_payment_refunds(call: Call) -> Entity:
    newest_first = reversed(call.payment().refunds)
    found = lists.window(call.query).of(newest_first, visible_until=call.account.clock.now())
    return collection([refund_entity(refund) for refund in found])


@route("GET", "payments/{}/refunds/{}", "payments.refund_fetch")
def fetch_payment_refund(call: Call) -> Entity:
    payment, refund = call.payment(), call.refund(position=1)
    if refund.payment is not payment:
        raise call.account.refuse("unknown_id")
    return refund_entity(refund)


@route("GET", "refunds", "refunds.list")
def list_refunds(call: Call) -> Entity:
    account = call.account
    visible_until = account.clock.now() - account.behaviour.list_lag_seconds
    newest_first = reversed(account.refunds.values())
    found = lists.window(call.query).of(newest_first, visible_until=visible_until)
    return collection([refund_entity(refund) for refund in found])


@route("GET", "refunds/{}", "refunds.fetch")
def fetch_refund(call: Call) -> Entity:
    return refund_entity(call.refund())


@route("PATCH", "refunds/{}", "refunds.edit")
def edit_refund(call: Call) -> Entity:
    refund = call.refund()
    refund.notes = validation.new_notes(call.body, call.account.behaviour.wording)
    return refund_entity(refund)


# Disputes


@route("GET", "disputes", "disputes.list")
def list_disputes(call: Call) -> Entity:
    newest_first = reversed(call.account.disputes.values())
    found = lists.window(call.query).of(newest_first, visible_until=call.account.clock.now())
    return collection([dispute_entity(dispute) for dispute in found])


@route("GET", "disputes/{}", "disputes.fetch")
def fetch_dispute(call: Call) -> Entity:
    return dispute_entity(call.dispute())
