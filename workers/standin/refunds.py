"""Refunds and disputes: what may be refunded, what a repeat does, and how they end."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal

from workers.standin.account import Account, InvalidTransition
from workers.standin.records import Dispute, Notes, Payment, Refund

SIX_MONTHS_SECONDS = 183 * 24 * 60 * 60
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{10,}")


@dataclasses.dataclass(frozen=True, slots=True)
class RefundRequest:
    """The validated body of a refund. `amount_paise` of None: all that is left."""

    amount_paise: int | None = None
    speed: str = "normal"
    receipt: str | None = None
    notes: Notes = dataclasses.field(default_factory=dict)


def create(account: Account, payment: Payment, request: RefundRequest) -> Refund:
    """
    Refund `payment`. A repeat refunds again, unless the receipt is the same.

    :raises ApiError: no refund of this amount is possible, or the receipt was used.
    """
    if request.receipt and any(r.receipt == request.receipt for r in payment.refunds):
        raise account.refuse("refund_receipt_repeated")
    amount_paise = _allowed_paise(account, payment, request)
    if payment.status == "authorized":
        account.release(payment)
        return payment.refunds[-1]
    instant = request.speed == "optimum" and account.behaviour.instant_refunds
    refund = Refund(
        id=account.new_id("rfnd"),
        payment=payment,
        amount_paise=amount_paise,
        created_at=account.clock.now(),
        receipt=request.receipt,
        notes=request.notes,
        speed_requested=request.speed,
        speed_processed="instant" if instant else "normal",
        status="pending",
        acquirer_data={"arn": None},
    )
    account.refunds[refund.id] = refund
    payment.refunds.append(refund)
    payment.refunded_paise += amount_paise
    if account.behaviour.balance_paise is not None:
        account.behaviour.balance_paise -= amount_paise
    _begin(account, refund)
    return refund


def create_once(
    account: Account, payment: Payment, request: RefundRequest, *, key: str, fingerprint: str
) -> Refund:
    """
    Refund under an idempotency key: a repeat with the same body returns the same refund.

    :raises ApiError: 409, the key was used with another body; or as `create`.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise account.refuse("refund_key_wrong")
    if known := account.refunds_by_key.get(key):
        first_fingerprint, refund = known
        if fingerprint != first_fingerprint:
            raise account.refuse("refund_key_clash", status=409)
        return refund
    refund = create(account, payment, request)
    account.refunds_by_key[key] = (fingerprint, refund)
    return refund


def _allowed_paise(account: Account, payment: Payment, request: RefundRequest) -> int:
    rest_paise = payment.amount_paise - payment.refunded_paise
    amount_paise = rest_paise if request.amount_paise is None else request.amount_paise
    if payment.status == "authorized" and account.behaviour.void_authorized:
        if amount_paise != payment.amount_paise:
            raise account.refuse("refund_partial_void")
        return amount_paise
    if payment.status == "refunded" or (payment.captured and rest_paise == 0):
        raise account.refuse("refund_done")
    _refuse_blocked(account, payment)
    if amount_paise > payment.amount_paise:
        raise account.refuse("refund_above_captured")
    if amount_paise > rest_paise:
        raise account.refuse("refund_above_rest")
    balance_paise = account.behaviour.balance_paise
    if balance_paise is not None and amount_paise > balance_paise:
        raise account.refuse("refund_balance")
    return amount_paise


def _refuse_blocked(account: Account, payment: Payment) -> None:
    if payment.status != "captured":
        raise account.refuse("refund_not_captured")
    if account.clock.now() - payment.created_at > SIX_MONTHS_SECONDS:
        raise account.refuse("refund_too_old")
    if _is_disputed(payment):
        raise account.refuse("refund_disputed")


def _begin(account: Account, refund: Refund) -> None:
    behaviour = account.behaviour
    if behaviour.refund_status == "processed":
        # refund.created may already say processed, so the status changes before the event.
        _pay_out(account, refund)
        account.emit("refund.created", refund.payment, refund)
        account.emit("refund.processed", refund.payment, refund)
        return
    account.emit("refund.created", refund.payment, refund)
    if behaviour.refund_settle_seconds is not None:
        end = process if behaviour.refund_status == "pending" else fail
        account.timers.after(behaviour.refund_settle_seconds, lambda: _end(account, refund, end))
    elif behaviour.refund_status == "failed":
        fail(account, refund)


def _end(account: Account, refund: Refund, end: Callable[[Account, Refund], None]) -> None:
    if refund.status == "pending":
        end(account, refund)


def process(account: Account, refund: Refund) -> None:
    """The bank accepts it. :raises InvalidTransition: it is not pending."""
    _expect_pending(refund)
    _pay_out(account, refund)
    account.emit("refund.processed", refund.payment, refund)


def fail(account: Account, refund: Refund) -> None:
    """
    The bank refuses it, or returns it later: the shop has the money again.

    :raises InvalidTransition: it has failed, or returns money that was never captured.
    """
    if refund.status == "failed" or refund.is_release:
        raise InvalidTransition(
            f"refund {refund.id} is {refund.status}, must be pending or processed"
        )
    payment = refund.payment
    if refund.status == "processed":
        account.record_money("refunded", payment, -refund.amount_paise)
    refund.status = "failed"
    payment.refunded_paise -= refund.amount_paise
    if payment.status == "refunded":
        payment.status = "captured"
    if account.behaviour.balance_paise is not None:
        account.behaviour.balance_paise += refund.amount_paise
    account.emit("refund.failed", payment, refund)


def _pay_out(account: Account, refund: Refund) -> None:
    refund.status = "processed"
    payment = refund.payment
    account.record_money("refunded", payment, refund.amount_paise)
    if payment.refunded_paise >= payment.amount_paise:
        payment.status = "refunded"


def _expect_pending(refund: Refund) -> None:
    if refund.status != "pending":
        raise InvalidTransition(f"refund {refund.id} is {refund.status}, must be pending")


def open_dispute(account: Account, payment: Payment, *, reason_code: str, phase: str) -> Dispute:
    """
    A buyer's bank disputes the payment. It cannot be refunded while the dispute is open.

    :raises InvalidTransition: the payment is not captured, or has an open dispute.
    """
    if payment.status != "captured":
        raise InvalidTransition(f"payment {payment.id} is {payment.status}, must be captured")
    if _is_disputed(payment):
        raise InvalidTransition(f"payment {payment.id} is disputed already")
    dispute = Dispute(
        id=account.new_id("disp"),
        payment=payment,
        amount_paise=payment.amount_paise - payment.refunded_paise,
        created_at=account.clock.now(),
        reason_code=reason_code,
        phase=phase,
    )
    account.disputes[dispute.id] = dispute
    payment.disputes.append(dispute)
    account.emit("payment.dispute.created", payment, dispute)
    return dispute


def _is_disputed(payment: Payment) -> bool:
    blocking = ("open", "under_review", "lost")
    return any(dispute.status in blocking for dispute in payment.disputes)


DisputeChange = Literal["under_review", "action_required", "won", "lost", "closed"]
DISPUTE_ENDS = ("won", "lost", "closed")


def change_dispute(account: Account, dispute: Dispute, to: DisputeChange) -> None:
    """
    Set a dispute to `to`. `action_required` only sends its event.

    :raises InvalidTransition: it has ended.
    """
    if dispute.status in DISPUTE_ENDS:
        raise InvalidTransition(f"dispute {dispute.id} is {dispute.status}, cannot become {to}")
    if to != "action_required":
        dispute.status = to
    if to == "lost":
        account.record_money("charged_back", dispute.payment, dispute.amount_paise)
    account.emit(f"payment.dispute.{to}", dispute.payment, dispute)
