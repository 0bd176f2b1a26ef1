"""Control routes for orders, payments, refunds, disputes and the ledger."""

from typing import Any, cast, get_args

from workers.standin import checkout, ledger, methods, refunds
from workers.standin.account import PaymentRequest
from workers.standin.control.commands import Command, command
from workers.standin.entities import (
    Entity,
    collection,
    dispute_entity,
    order_entity,
    payment_entity,
    refund_entity,
)
from workers.standin.json_fields import BadSetting
from workers.standin.records import Failure, Payment

PAYMENT_FIELDS = ("method", "vpa", "card_number", "email", "contact", "notes", "currency")
DISPUTE_CHANGES: tuple[str, ...] = get_args(refunds.DisputeChange)


@command("GET", "ledger")
def show_ledger(cmd: Command) -> Any:
    account = cmd.standin.account
    return ledger.report(
        account.ledger, list(account.orders.values()), list(account.payments.values())
    )


@command("GET", "orders")
def list_orders(cmd: Command) -> Entity:
    """All orders, oldest first, without delay; `?receipt=` filters."""
    orders = list(cmd.standin.account.orders.values())
    if "receipt" in cmd.query:
        orders = [o for o in orders if o.receipt == cmd.query["receipt"]]
    return collection([order_entity(order) for order in orders])


@command("GET", "orders/{}")
def show_order(cmd: Command) -> Entity:
    order = cmd.find(cmd.standin.account.orders)
    return order_entity(order) | {"payments": [payment_entity(p) for p in order.payments]}


@command("GET", "payments")
def list_payments(cmd: Command) -> Entity:
    payments = list(cmd.standin.account.payments.values())
    if "order_id" in cmd.query:
        payments = [p for p in payments if p.order.id == cmd.query["order_id"]]
    return collection([payment_entity(payment) for payment in payments])


@command("GET", "payments/{}")
def show_payment(cmd: Command) -> Entity:
    return _shown(cmd, cmd.find(cmd.standin.account.payments))


@command("GET", "refunds")
def list_refunds(cmd: Command) -> Entity:
    return collection([refund_entity(refund) for refund in cmd.standin.account.refunds.values()])


@command("POST", "payments")
def make_payment(cmd: Command) -> Entity:
    """A buyer pays. A repeat makes a second payment, if the order still takes one."""
    account = cmd.standin.account
    body = cmd.checked_body(
        "order_id", "outcome", "amount", "webhooks", "force", "failure", *PAYMENT_FIELDS
    )
    order = cmd.find(account.orders, str(body.get("order_id")))
    outcome = body.get("outcome", "paid")
    if outcome not in checkout.OUTCOMES:
        raise BadSetting(f"outcome={outcome!r}, must be one of {', '.join(checkout.OUTCOMES)}")
    with account.suppress_events(unless=body.get("webhooks", True)):
        payment = checkout.pay(
            account,
            order,
            _payment_request(body),
            outcome=outcome,
            failure=_failure(body),
            force=body.get("force", False),
        )
    return _shown(cmd, payment)


def _payment_request(body: dict[str, Any]) -> PaymentRequest:
    fields = {name: body[name] for name in PAYMENT_FIELDS if name in body}
    if fields.get("method", "upi") not in methods.METHODS:
        raise BadSetting(f"method={body['method']!r}, must be one of {', '.join(methods.METHODS)}")
    for name, value in fields.items():
        if not isinstance(value, dict if name == "notes" else str):
            raise BadSetting(
                f"{name}={value!r}, must be {'an object' if name == 'notes' else 'a text'}"
            )
    return PaymentRequest(amount_paise=_amount_paise(body), **fields)


def _amount_paise(body: dict[str, Any]) -> int | None:
    amount = body.get("amount")
    if amount is not None and (not isinstance(amount, int) or amount < 1):
        raise BadSetting(f"amount={amount!r}, must be paise, an integer above zero")
    return amount


def _failure(body: dict[str, Any]) -> Failure:
    try:
        return Failure(**body["failure"]) if "failure" in body else methods.DECLINED
    except TypeError:
        raise BadSetting(
            "failure: description and reason are needed; code, source and step may be given"
        ) from None


@command("POST", "payments/{}/authorize")
def authorize(cmd: Command) -> Entity:
    """Late authorisation. Without `capture`, the order's setting decides."""
    account = cmd.standin.account
    capture = cmd.checked_body("capture", "webhooks").get("capture")
    payment: Payment = cmd.find(account.payments)
    with account.suppress_events(unless=cmd.body.get("webhooks", True)):
        checkout.authorize(account, payment, capture=capture)
    return _shown(cmd, payment)


@command("POST", "payments/{}/capture")
def capture(cmd: Command) -> Entity:
    """Capture a payment; one that is created or failed is authorised first."""
    account = cmd.standin.account
    payment: Payment = cmd.find(account.payments)
    with account.suppress_events(unless=cmd.checked_body("webhooks").get("webhooks", True)):
        if payment.status in ("created", "failed"):
            checkout.authorize(account, payment, capture=True)
        else:
            account.capture(payment)
    return _shown(cmd, payment)


@command("POST", "payments/{}/fail")
def fail(cmd: Command) -> Entity:
    account = cmd.standin.account
    payment: Payment = cmd.find(account.payments)
    body = cmd.checked_body("failure", "webhooks")
    with account.suppress_events(unless=body.get("webhooks", True)):
        account.fail(payment, _failure(body))
    return _shown(cmd, payment)


@command("POST", "payments/{}/release")
def release(cmd: Command) -> Entity:
    """Release authorised money now, as at its expiry."""
    account = cmd.standin.account
    payment: Payment = cmd.find(account.payments)
    with account.suppress_events(unless=cmd.checked_body("webhooks").get("webhooks", True)):
        account.release(payment)
    return _shown(cmd, payment)


@command("POST", "payments/{}/refund")
def refund(cmd: Command) -> Entity:
    """A refund by the dashboard, of `amount` paise or of all that is left."""
    account = cmd.standin.account
    payment: Payment = cmd.find(account.payments)
    body = cmd.checked_body("amount", "webhooks")
    with account.suppress_events(unless=body.get("webhooks", True)):
        wanted = refunds.RefundRequest(amount_paise=_amount_paise(body))
        made = refunds.create(account, payment, wanted)
    return refund_entity(made)


@command("POST", "refunds/{}/process")
def process_refund(cmd: Command) -> Entity:
    account = cmd.standin.account
    pending = cmd.find(account.refunds)
    with account.suppress_events(unless=cmd.checked_body("webhooks").get("webhooks", True)):
        refunds.process(account, pending)
    return refund_entity(pending)


@command("POST", "refunds/{}/fail")
def fail_refund(cmd: Command) -> Entity:
    account = cmd.standin.account
    pending = cmd.find(account.refunds)
    with account.suppress_events(unless=cmd.checked_body("webhooks").get("webhooks", True)):
        refunds.fail(account, pending)
    return refund_entity(pending)


@command("POST", "payments/{}/disputes")
def open_dispute(cmd: Command) -> Entity:
    body = cmd.checked_body("reason_code", "phase")
    dispute = refunds.open_dispute(
        cmd.standin.account,
        cmd.find(cmd.standin.account.payments),
        reason_code=body.get("reason_code", "goods_not_received"),
        phase=body.get("phase", "chargeback"),
    )
    return dispute_entity(dispute)


@command("PATCH", "disputes/{}")
def change_dispute(cmd: Command) -> Entity:
    dispute = cmd.find(cmd.standin.account.disputes)
    to = cast("refunds.DisputeChange", cmd.checked_body("status").get("status"))
    if to not in DISPUTE_CHANGES:
        raise BadSetting(f"status={to!r}, must be one of {', '.join(DISPUTE_CHANGES)}")
    refunds.change_dispute(cmd.standin.account, dispute, to)
    return dispute_entity(dispute)


def _shown(cmd: Command, payment: Payment) -> Entity:
    """A payment, and the fields that checkout.js would give to the page."""
    key_secret = cmd.standin.settings.key_secret
    return payment_entity(payment) | {
        "checkout": checkout.handler_fields(payment, key_secret=key_secret)
    }
