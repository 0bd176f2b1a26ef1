"""Orders, payments, refunds and disputes: made, moved and looked at."""

from typing import Any, cast, get_args

from workers.standin import checkout, ledger, methods, refunds
from workers.standin.control.commands import Command, command
from workers.standin.entities import (
    Entity,
    collection,
    dispute_entity,
    order_entity,
    payment_entity,
    refund_entity,
)
from workers.standin.records import Failure, Payment
from workers.standin.switches import BadSetting
from workers.standin.world import Tender

TENDER_FIELDS = ("method", "vpa", "card_number", "email", "contact", "notes", "currency")
DISPUTE_MOVES: tuple[str, ...] = get_args(refunds.DisputeMove)


@command("GET", "ledger")
def show_ledger(cmd: Command) -> Any:
    world = cmd.standin.world
    return ledger.report(world.ledger, list(world.orders.values()), list(world.payments.values()))


@command("GET", "orders")
def list_orders(cmd: Command) -> Entity:
    """All of them, oldest first; `?receipt=` for those of one receipt. Never late."""
    orders = list(cmd.standin.world.orders.values())
    if "receipt" in cmd.query:
        orders = [o for o in orders if o.receipt == cmd.query["receipt"]]
    return collection([order_entity(order) for order in orders])


@command("GET", "orders/{}")
def show_order(cmd: Command) -> Entity:
    order = cmd.found(cmd.standin.world.orders)
    return order_entity(order) | {"payments": [payment_entity(p) for p in order.payments]}


@command("GET", "payments")
def list_payments(cmd: Command) -> Entity:
    payments = list(cmd.standin.world.payments.values())
    if "order_id" in cmd.query:
        payments = [p for p in payments if p.order.id == cmd.query["order_id"]]
    return collection([payment_entity(payment) for payment in payments])


@command("GET", "payments/{}")
def show_payment(cmd: Command) -> Entity:
    return _shown(cmd, cmd.found(cmd.standin.world.payments))


@command("GET", "refunds")
def list_refunds(cmd: Command) -> Entity:
    return collection([refund_entity(refund) for refund in cmd.standin.world.refunds.values()])


@command("POST", "payments")
def make_payment(cmd: Command) -> Entity:
    """A buyer pays, or tries to. Twice: a second payment, if the order still takes one."""
    world = cmd.standin.world
    body = cmd.only("order_id", "outcome", "amount", "webhooks", "force", "failure", *TENDER_FIELDS)
    order = cmd.found(world.orders, str(body.get("order_id")))
    outcome = body.get("outcome", "paid")
    if outcome not in checkout.OUTCOMES:
        raise BadSetting(f"outcome={outcome!r}, must be one of {', '.join(checkout.OUTCOMES)}")
    with world.silence(unless=body.get("webhooks", True)):
        payment = checkout.pay(
            world,
            order,
            _tender(body),
            outcome=outcome,
            failure=_failure(body),
            force=body.get("force", False),
        )
    return _shown(cmd, payment)


def _tender(body: dict[str, Any]) -> Tender:
    fields = {name: body[name] for name in TENDER_FIELDS if name in body}
    if fields.get("method", "upi") not in methods.METHODS:
        raise BadSetting(f"method={body['method']!r}, must be one of {', '.join(methods.METHODS)}")
    for name, value in fields.items():
        if not isinstance(value, dict if name == "notes" else str):
            raise BadSetting(
                f"{name}={value!r}, must be {'an object' if name == 'notes' else 'a text'}"
            )
    return Tender(amount_paise=_amount_paise(body), **fields)


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
    """Late authorisation. `capture` true or false decides; left out, the order's setting does."""
    world = cmd.standin.world
    capture = cmd.only("capture", "webhooks").get("capture")
    payment: Payment = cmd.found(world.payments)
    with world.silence(unless=cmd.body.get("webhooks", True)):
        checkout.authorize(world, payment, capture=capture)
    return _shown(cmd, payment)


@command("POST", "payments/{}/capture")
def capture(cmd: Command) -> Entity:
    """From the dashboard, or late: what was created or failed is authorised first."""
    world = cmd.standin.world
    payment: Payment = cmd.found(world.payments)
    with world.silence(unless=cmd.only("webhooks").get("webhooks", True)):
        if payment.status in ("created", "failed"):
            checkout.authorize(world, payment, capture=True)
        else:
            world.capture(payment)
    return _shown(cmd, payment)


@command("POST", "payments/{}/fail")
def fail(cmd: Command) -> Entity:
    world = cmd.standin.world
    payment: Payment = cmd.found(world.payments)
    body = cmd.only("failure", "webhooks")
    with world.silence(unless=body.get("webhooks", True)):
        world.fail(payment, _failure(body))
    return _shown(cmd, payment)


@command("POST", "payments/{}/release")
def release(cmd: Command) -> Entity:
    """Give authorised money back now, as at expiry."""
    world = cmd.standin.world
    payment: Payment = cmd.found(world.payments)
    with world.silence(unless=cmd.only("webhooks").get("webhooks", True)):
        world.release(payment)
    return _shown(cmd, payment)


@command("POST", "payments/{}/refund")
def refund(cmd: Command) -> Entity:
    """A refund from the dashboard, of `amount` paise or of all that is left."""
    world = cmd.standin.world
    payment: Payment = cmd.found(world.payments)
    body = cmd.only("amount", "webhooks")
    with world.silence(unless=body.get("webhooks", True)):
        wanted = refunds.RefundRequest(amount_paise=_amount_paise(body))
        made = refunds.create(world, payment, wanted)
    return refund_entity(made)


@command("POST", "refunds/{}/process")
def process_refund(cmd: Command) -> Entity:
    world = cmd.standin.world
    pending = cmd.found(world.refunds)
    with world.silence(unless=cmd.only("webhooks").get("webhooks", True)):
        refunds.process(world, pending)
    return refund_entity(pending)


@command("POST", "refunds/{}/fail")
def fail_refund(cmd: Command) -> Entity:
    world = cmd.standin.world
    pending = cmd.found(world.refunds)
    with world.silence(unless=cmd.only("webhooks").get("webhooks", True)):
        refunds.fail(world, pending)
    return refund_entity(pending)


@command("POST", "payments/{}/disputes")
def open_dispute(cmd: Command) -> Entity:
    body = cmd.only("reason_code", "phase")
    dispute = refunds.open_dispute(
        cmd.standin.world,
        cmd.found(cmd.standin.world.payments),
        reason_code=body.get("reason_code", "goods_not_received"),
        phase=body.get("phase", "chargeback"),
    )
    return dispute_entity(dispute)


@command("PATCH", "disputes/{}")
def move_dispute(cmd: Command) -> Entity:
    dispute = cmd.found(cmd.standin.world.disputes)
    to = cast("refunds.DisputeMove", cmd.only("status").get("status"))
    if to not in DISPUTE_MOVES:
        raise BadSetting(f"status={to!r}, must be one of {', '.join(DISPUTE_MOVES)}")
    refunds.move_dispute(cmd.standin.world, dispute, to)
    return dispute_entity(dispute)


def _shown(cmd: Command, payment: Payment) -> Entity:
    """A payment, with what checkout.js would hand to the page."""
    key_secret = cmd.standin.settings.key_secret
    return payment_entity(payment) | {
        "checkout": checkout.handler_fields(payment, key_secret=key_secret)
    }
