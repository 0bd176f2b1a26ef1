"""The records as JSON entities, with their keys in Razorpay's order."""

from typing import Any

from workers.standin.records import Dispute, Notes, Order, Payment, Refund

Entity = dict[str, Any]


def order_entity(order: Order, *, paid_known: bool = True) -> Entity:
    """An order. Without `paid_known`, as it was before it was paid: reads can be delayed."""
    paid_paise = order.amount_paid_paise if paid_known else 0
    return {
        "id": order.id,
        "entity": "order",
        "amount": order.amount_paise,
        "amount_paid": paid_paise,
        "amount_due": max(order.amount_paise - paid_paise, 0),
        "currency": order.currency,
        "receipt": order.receipt,
        "offer_id": None,
        "status": order.status if paid_known else "attempted",
        "attempts": order.attempts,
        "notes": notes_entity(order.notes),
        "created_at": int(order.created_at),
    }


def payment_entity(payment: Payment) -> Entity:
    failure = payment.failure
    return {
        "id": payment.id,
        "entity": "payment",
        "amount": payment.amount_paise,
        "currency": payment.currency,
        "status": payment.status,
        "order_id": payment.order.id,
        "invoice_id": None,
        "international": False,
        "method": payment.method,
        "amount_refunded": payment.refunded_paise,
        "refund_status": refund_status(payment),
        "captured": payment.captured,
        "description": None,
        "card_id": None,
        "bank": None,
        "wallet": None,
        "vpa": None,
        "email": payment.email,
        "contact": payment.contact,
        "notes": notes_entity(payment.notes),
        "fee": payment.fee_paise,
        "tax": payment.tax_paise,
        "error_code": failure and failure.code,
        "error_description": failure and failure.description,
        "error_source": failure and failure.source,
        "error_step": failure and failure.step,
        "error_reason": failure and failure.reason,
        "acquirer_data": payment.acquirer_data,
        "created_at": int(payment.created_at),
        **payment.details,
    }


def refund_status(payment: Payment) -> str | None:
    if not payment.refunded_paise:
        return None
    return "full" if payment.refunded_paise >= payment.amount_paise else "partial"


def refund_entity(refund: Refund) -> Entity:
    return {
        "id": refund.id,
        "entity": "refund",
        "amount": refund.amount_paise,
        "currency": refund.payment.currency,
        "payment_id": refund.payment.id,
        "notes": notes_entity(refund.notes),
        "receipt": refund.receipt,
        "acquirer_data": refund.acquirer_data,
        "created_at": int(refund.created_at),
        "batch_id": None,
        "status": refund.status,
        "speed_processed": refund.speed_processed,
        "speed_requested": refund.speed_requested,
    }


def dispute_entity(dispute: Dispute) -> Entity:
    lost = dispute.status == "lost"
    return {
        "id": dispute.id,
        "entity": "dispute",
        "payment_id": dispute.payment.id,
        "amount": dispute.amount_paise,
        "currency": dispute.payment.currency,
        "amount_deducted": dispute.amount_paise if lost else 0,
        "reason_code": dispute.reason_code,
        "respond_by": int(dispute.created_at) + 7 * 24 * 60 * 60,
        "status": dispute.status,
        "phase": dispute.phase,
        "created_at": int(dispute.created_at),
    }


def notes_entity(notes: Notes) -> Notes | list[Any]:
    """Empty notes are a list and others are an object, as PHP encodes them."""
    return notes or []


def collection(items: list[Entity]) -> Entity:
    """A list. `count` is the number of its items, not a total."""
    return {"entity": "collection", "count": len(items), "items": items}
