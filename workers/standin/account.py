"""
The orders and payments of one account, and all their transitions.

No HTTP: the clock and the random numbers are passed in. Refusals are raised as `ApiError`. No call
leaves partial changes.
"""

import contextlib
import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

from workers.standin import methods
from workers.standin.behaviour import Behaviour
from workers.standin.clock import Clock, Timers
from workers.standin.errors import ApiError, refusal
from workers.standin.ledger import Entry, Kind, Ledger
from workers.standin.records import (
    Dispute,
    Failure,
    Notes,
    Order,
    OrderRequest,
    Payment,
    Refund,
)

# The values of test payments if the buyer gave none.
NO_EMAIL = "void@razorpay.com"
NO_CONTACT = "+919999999999"


class Emit(Protocol):
    """Sends an event. Its body shows the records as they are now."""

    def __call__(
        self, name: str, payment: Payment, subject: Refund | Dispute | None = None
    ) -> None: ...


class InvalidTransition(Exception):
    """The control API requested a transition that this status does not allow."""


@dataclasses.dataclass(frozen=True, slots=True)
class PaymentRequest:
    """How a buyer pays. A test may set another amount or currency than the order's."""

    method: str = "upi"
    vpa: str = ""
    card_number: str = ""
    amount_paise: int | None = None
    currency: str | None = None
    email: str = NO_EMAIL
    contact: str = NO_CONTACT
    notes: Notes = dataclasses.field(default_factory=dict)


class Account:
    """The state of one account."""

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        rng: random.Random,
        behaviour: Behaviour,
        emit: Emit,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.rng = rng
        self.behaviour = behaviour
        self.emit = emit
        self.ledger = Ledger()
        self.orders: dict[str, Order] = {}
        self.orders_by_receipt: dict[str, list[Order]] = defaultdict(list)
        self.payments: dict[str, Payment] = {}
        self.refunds: dict[str, Refund] = {}
        self.refunds_by_key: dict[str, tuple[str, Refund]] = {}
        self.disputes: dict[str, Dispute] = {}

    # Helpers of the transitions

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{methods.entity_tail(self.rng)}"

    def refuse(
        self, name: str, *, status: int = 400, metadata: dict[str, str] | None = None, **words: str
    ) -> ApiError:
        """The error called `name`, in the current wording."""
        wording = self.behaviour.wording
        return refusal(name, wording=wording, status=status, metadata=metadata, **words)

    @contextlib.contextmanager
    def suppress_events(self, *, unless: bool = False) -> Iterator[None]:
        """Events of transitions inside are lost, as if Razorpay had never sent them."""
        if unless:
            yield
            return
        emit, self.emit = self.emit, lambda name, payment, subject=None: None
        try:
            yield
        finally:
            self.emit = emit

    def record_money(self, kind: Kind, payment: Payment, paise: int) -> None:
        balance_paise = self.behaviour.balance_paise
        if balance_paise is not None and kind == "captured":
            self.behaviour.balance_paise = balance_paise + paise - (payment.fee_paise or 0)
        self.ledger.enter(Entry(self.clock.now(), kind, payment.id, payment.order.id, paise))

    # Orders

    def create_order(self, request: OrderRequest) -> Order:
        """
        Make an order. The settings say what happens with a receipt that another order has.

        :raises ApiError: the settings refuse that receipt.
        """
        if duplicates := request.receipt and self.orders_by_receipt.get(request.receipt):
            if request.unique_receipt:
                return duplicates[0]
            mode = self.behaviour.receipt_mode
            if mode == "reject_with_id":
                raise self.refuse("receipt_repeated", metadata={"order_id": duplicates[0].id})
            if mode == "reject":
                raise self.refuse("receipt_repeated")
        order = Order(
            id=self.new_id("order"),
            amount_paise=request.amount_paise,
            currency=request.currency,
            receipt=request.receipt,
            notes=request.notes,
            capture=request.capture,
            partial_payment=request.partial_payment,
            created_at=self.clock.now(),
        )
        self.orders[order.id] = order
        if request.receipt:
            self.orders_by_receipt[request.receipt].append(order)
        return order

    # Payments

    def attempt(
        self, order: Order, payment_request: PaymentRequest, *, force: bool = False
    ) -> Payment:
        """
        Make a new payment in status `created`.

        `force` skips the checks, as when a buyer pays one order in two tabs.

        :raises ApiError: the order is paid, or another payment of it is authorised.
        """
        if not force:
            if order.status == "paid":
                raise self.refuse("order_paid", metadata={"order_id": order.id})
            if any(other.status == "authorized" for other in order.payments):
                raise self.refuse("order_authorized", metadata={"order_id": order.id})
        rest_paise = order.amount_paise - order.amount_paid_paise
        payment = Payment(
            id=self.new_id("pay"),
            order=order,
            amount_paise=payment_request.amount_paise or rest_paise or order.amount_paise,
            currency=payment_request.currency or order.currency,
            created_at=self.clock.now(),
            method=payment_request.method,
            details=methods.details_of(
                payment_request.method,
                self.rng,
                vpa=payment_request.vpa,
                card_number=payment_request.card_number,
            ),
            acquirer_data={},
            email=payment_request.email,
            contact=payment_request.contact,
            notes=payment_request.notes,
        )
        self.payments[payment.id] = payment
        order.payments.append(payment)
        order.attempts += 1
        if order.status == "created":
            order.status = "attempted"
        return payment

    def wait_for_bank(self, payment: Payment) -> None:
        """The bank does not answer: the payment fails after `created_timeout_seconds`."""
        self.timers.after(self.behaviour.created_timeout_seconds, lambda: self._time_out(payment))

    def _time_out(self, payment: Payment) -> None:
        if payment.status == "created":
            self.fail(payment, methods.TIMED_OUT)

    def fail(self, payment: Payment, failure: Failure) -> None:
        """:raises InvalidTransition: it is authorised or further."""
        self._expect(payment, "created")
        payment.status = "failed"
        payment.failure = failure
        self.emit("payment.failed", payment)

    def authorize(self, payment: Payment) -> None:
        """
        Authorise a created or failed payment: `failed` is not final.

        If the order is paid already, the money is released at once, unless the setting
        `second_payment` keeps it. Money that is not captured in time is released too.

        :raises InvalidTransition: it is authorised or further.
        """
        self._expect(payment, "created", "failed")
        payment.status = "authorized"
        payment.failure = None
        payment.acquirer_data = methods.acquirer_data_of(payment.method, self.rng)
        self.emit("payment.authorized", payment)
        if payment.order.status == "paid" and self.behaviour.second_payment == "refund":
            self.release(payment)
            return
        expiry_seconds = payment.order.capture.manual_expiry_seconds
        if expiry_seconds is None:
            expiry_seconds = self.behaviour.authorized_expiry_seconds
        self.timers.after(expiry_seconds, lambda: self._expire(payment))

    def _expire(self, payment: Payment) -> None:
        if payment.status == "authorized":
            self.release(payment)

    def capture_if_automatic(self, payment: Payment) -> None:
        """Capture an authorised payment if its order, or else the account, says so."""
        if payment.status == "authorized" and self.captures_automatically(payment):
            self.capture(payment)

    def captures_automatically(self, payment: Payment) -> bool:
        rule = payment.order.capture
        automatic = self.behaviour.auto_capture if rule.automatic is None else rule.automatic
        if rule.automatic_expiry_seconds is None:
            return automatic
        age_seconds = (self.clock.now() - payment.created_at) * self.timers.scale
        return automatic and age_seconds <= rule.automatic_expiry_seconds

    def capture(self, payment: Payment) -> None:
        """
        Capture the authorised money. The order is paid when its captures reach its amount.

        :raises InvalidTransition: it is not authorised.
        """
        self._expect(payment, "authorized")
        payment.status = "captured"
        payment.captured = True
        payment.captured_at = self.clock.now()
        payment.fee_paise, payment.tax_paise = fee_and_tax(payment.amount_paise)
        self.record_money("captured", payment, payment.amount_paise)
        order = payment.order
        was_paid = order.status == "paid"
        if not was_paid:
            order.amount_paid_paise += payment.amount_paise
            if order.amount_paid_paise >= order.amount_paise:
                order.status = "paid"
                order.paid_at = payment.captured_at
        self.emit("payment.captured", payment)
        if order.status == "paid" and not was_paid:
            self.emit("order.paid", payment)

    def release(self, payment: Payment) -> None:
        """
        Return authorised money to the buyer without capturing it.

        :raises InvalidTransition: it is not authorised.
        """
        self._expect(payment, "authorized")
        refund = Refund(
            id=self.new_id("rfnd"),
            payment=payment,
            amount_paise=payment.amount_paise,
            created_at=self.clock.now(),
            receipt=None,
            notes={},
            speed_requested="normal",
            speed_processed="normal",
            status="processed",
            acquirer_data={"rrn": None},
            is_release=True,
        )
        self.refunds[refund.id] = refund
        payment.refunds.append(refund)
        payment.status = "refunded"
        payment.refunded_paise = payment.amount_paise
        self.record_money("released", payment, payment.amount_paise)
        self.emit("refund.created", payment, refund)
        self.emit("refund.processed", payment, refund)

    def _expect(self, payment: Payment, *statuses: str) -> None:
        if payment.status not in statuses:
            raise InvalidTransition(
                f"payment {payment.id} is {payment.status}, must be {' or '.join(statuses)}"
            )

    def counts(self) -> dict[str, Any]:
        """The numbers of records, for the health check."""
        return {
            "orders": len(self.orders),
            "payments": len(self.payments),
            "refunds": len(self.refunds),
        }


def fee_and_tax(amount_paise: int) -> tuple[int, int]:
    """A fee of 2 %, plus 18 % tax on the fee. The fee includes the tax. Fits the known figures."""
    fee_paise = -(-amount_paise * 236 // 10_000)
    tax_paise = (amount_paise * 36 + 5_000) // 10_000
    return fee_paise, tax_paise
