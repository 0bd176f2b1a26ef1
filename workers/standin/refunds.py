"""Money sent back: what may be refunded, what a repeat does, and how a refund ends."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal

from workers.standin.records import Dispute, Notes, Payment, Refund
from workers.standin.world import IllegalMove, World

SIX_MONTHS_SECONDS = 183 * 24 * 60 * 60
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{10,}")


@dataclasses.dataclass(frozen=True, slots=True)
class RefundRequest:
    """The checked body of a refund. `amount_paise` of `None` asks for all that is left."""

    amount_paise: int | None = None
    speed: str = "normal"
    receipt: str | None = None
    notes: Notes = dataclasses.field(default_factory=dict)


def create(world: World, payment: Payment, request: RefundRequest) -> Refund:
    """
    Refund `payment`. Called twice, it refunds twice, unless the receipt is the same.

    :raises ApiError: it may not be refunded, not by this much, or the receipt was used.
    """
    if request.receipt and any(r.receipt == request.receipt for r in payment.refunds):
        raise world.refuse("refund_receipt_repeated")
    amount_paise = _allowed_paise(world, payment, request)
    if payment.status == "authorized":
        world.release(payment)
        return payment.refunds[-1]
    instant = request.speed == "optimum" and world.behaviour.instant_refunds
    refund = Refund(
        id=world.new_id("rfnd"),
        payment=payment,
        amount_paise=amount_paise,
        created_at=world.clock.now(),
        receipt=request.receipt,
        notes=request.notes,
        speed_requested=request.speed,
        speed_processed="instant" if instant else "normal",
        status="pending",
        acquirer_data={"arn": None},
    )
    world.refunds[refund.id] = refund
    payment.refunds.append(refund)
    payment.refunded_paise += amount_paise
    if world.behaviour.balance_paise is not None:
        world.behaviour.balance_paise -= amount_paise
    _begin(world, refund)
    return refund


def create_once(
    world: World, payment: Payment, request: RefundRequest, *, key: str, fingerprint: str
) -> Refund:
    """
    Refund under an idempotency key: the same key and body give the same refund.

    :raises ApiError: 409, the key was used with another body; or as `create`.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise world.refuse("refund_key_wrong")
    if known := world.refunds_by_key.get(key):
        first_fingerprint, refund = known
        if fingerprint != first_fingerprint:
            raise world.refuse("refund_key_clash", status=409)
        return refund
    refund = create(world, payment, request)
    world.refunds_by_key[key] = (fingerprint, refund)
    return refund


def _allowed_paise(world: World, payment: Payment, request: RefundRequest) -> int:
    rest_paise = payment.amount_paise - payment.refunded_paise
    amount_paise = rest_paise if request.amount_paise is None else request.amount_paise
    if payment.status == "authorized" and world.behaviour.void_authorized:
        if amount_paise != payment.amount_paise:
            raise world.refuse("refund_partial_void")
        return amount_paise
    if payment.status == "refunded" or (payment.captured and rest_paise == 0):
        raise world.refuse("refund_done")
    _refuse_blocked(world, payment)
    if amount_paise > payment.amount_paise:
        raise world.refuse("refund_above_captured")
    if amount_paise > rest_paise:
        raise world.refuse("refund_above_rest")
    balance_paise = world.behaviour.balance_paise
    if balance_paise is not None and amount_paise > balance_paise:
        raise world.refuse("refund_balance")
    return amount_paise


def _refuse_blocked(world: World, payment: Payment) -> None:
    if payment.status != "captured":
        raise world.refuse("refund_not_captured")
    if world.clock.now() - payment.created_at > SIX_MONTHS_SECONDS:
        raise world.refuse("refund_too_old")
    if _is_disputed(payment):
        raise world.refuse("refund_disputed")


def _begin(world: World, refund: Refund) -> None:
    behaviour = world.behaviour
    if behaviour.refund_status == "processed":
        # refund.created may already say processed, so the status moves before the event.
        _pay_out(world, refund)
        world.emit("refund.created", refund.payment, refund)
        world.emit("refund.processed", refund.payment, refund)
        return
    world.emit("refund.created", refund.payment, refund)
    if behaviour.refund_settle_seconds is not None:
        end = process if behaviour.refund_status == "pending" else fail
        world.timers.after(behaviour.refund_settle_seconds, lambda: _end(world, refund, end))
    elif behaviour.refund_status == "failed":
        fail(world, refund)


def _end(world: World, refund: Refund, end: Callable[[World, Refund], None]) -> None:
    if refund.status == "pending":
        end(world, refund)


def process(world: World, refund: Refund) -> None:
    """The bank took it. :raises IllegalMove: it is not pending."""
    _expect_pending(refund)
    _pay_out(world, refund)
    world.emit("refund.processed", refund.payment, refund)


def fail(world: World, refund: Refund) -> None:
    """
    The bank would not take it, or sends it back: the money is the shop's again.

    :raises IllegalMove: it has failed, or is of money that never was the shop's.
    """
    if refund.status == "failed" or refund.is_release:
        raise IllegalMove(f"refund {refund.id} is {refund.status}, must be pending or processed")
    payment = refund.payment
    if refund.status == "processed":
        world.move_money("refunded", payment, -refund.amount_paise)
    refund.status = "failed"
    payment.refunded_paise -= refund.amount_paise
    if payment.status == "refunded":
        payment.status = "captured"
    if world.behaviour.balance_paise is not None:
        world.behaviour.balance_paise += refund.amount_paise
    world.emit("refund.failed", payment, refund)


def _pay_out(world: World, refund: Refund) -> None:
    refund.status = "processed"
    payment = refund.payment
    world.move_money("refunded", payment, refund.amount_paise)
    if payment.refunded_paise >= payment.amount_paise:
        payment.status = "refunded"


def _expect_pending(refund: Refund) -> None:
    if refund.status != "pending":
        raise IllegalMove(f"refund {refund.id} is {refund.status}, must be pending")


def open_dispute(world: World, payment: Payment, *, reason_code: str, phase: str) -> Dispute:
    """
    A buyer's bank takes the payment up. While it is open, no refund.

    :raises IllegalMove: the payment is not captured, or disputed as it is.
    """
    if payment.status != "captured":
        raise IllegalMove(f"payment {payment.id} is {payment.status}, must be captured")
    if _is_disputed(payment):
        raise IllegalMove(f"payment {payment.id} is disputed already")
    dispute = Dispute(
        id=world.new_id("disp"),
        payment=payment,
        amount_paise=payment.amount_paise - payment.refunded_paise,
        created_at=world.clock.now(),
        reason_code=reason_code,
        phase=phase,
    )
    world.disputes[dispute.id] = dispute
    payment.disputes.append(dispute)
    world.emit("payment.dispute.created", payment, dispute)
    return dispute


def _is_disputed(payment: Payment) -> bool:
    return any(it.status in ("open", "under_review", "lost") for it in payment.disputes)


DisputeMove = Literal["under_review", "action_required", "won", "lost", "closed"]
DISPUTE_ENDS = ("won", "lost", "closed")


def move_dispute(world: World, dispute: Dispute, to: DisputeMove) -> None:
    """
    Take a dispute to `to`; `action_required` changes nothing and only tells.

    :raises IllegalMove: it has ended.
    """
    if dispute.status in DISPUTE_ENDS:
        raise IllegalMove(f"dispute {dispute.id} is {dispute.status}, cannot become {to}")
    if to != "action_required":
        dispute.status = to
    if to == "lost":
        world.move_money("charged_back", dispute.payment, dispute.amount_paise)
    world.emit(f"payment.dispute.{to}", dispute.payment, dispute)
