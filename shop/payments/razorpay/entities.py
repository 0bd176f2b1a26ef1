"""Reads Razorpay's entities into the facts that `payments.gateway` defines."""

from __future__ import annotations

from typing import Any

from shop.payments.gateway import (
    DisputeFact,
    PaymentFact,
    RefundFact,
    RemoteOrder,
)
from shop.telemetry.redaction import redacted

MAX_ID = 64
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)  # errors of reading an entity
REFUND_STATUS = {"created": "pending"}  # the others have our names


def payment_fact(entity: dict[str, Any]) -> PaymentFact:
    """
    Read a payment entity of a webhook or a fetch. Unknown fields are ignored.

    :raises KeyError, TypeError, ValueError: it is not a payment entity.
    """
    status = _text(entity["status"])
    return PaymentFact(
        id=entity_id(entity["id"]),
        gateway_order_id=entity_id(entity.get("order_id") or ""),
        amount_paise=_paise(entity["amount"]),
        currency=_text(entity["currency"]),
        status=status,
        amount_refunded_paise=_paise(entity.get("amount_refunded") or 0),
        method=_text(entity.get("method") or ""),
        error_code=_text(entity.get("error_code") or ""),
        error_description=redacted(_text(entity.get("error_description") or "")),
        is_void=status == "refunded" and entity.get("captured") is False,
    )


def refund_fact(entity: dict[str, Any]) -> RefundFact:
    """Read a refund entity. :raises KeyError, TypeError, ValueError: it is not one."""
    receipt, status = entity.get("receipt"), _text(entity["status"])
    return RefundFact(
        id=entity_id(entity["id"]),
        gateway_payment_id=entity_id(entity["payment_id"]),
        amount_paise=_paise(entity["amount"]),
        status=REFUND_STATUS.get(status, status),
        receipt=entity_id(receipt) if receipt else None,
    )


def dispute_fact(entity: dict[str, Any]) -> DisputeFact:
    """Read a dispute entity. :raises KeyError, TypeError, ValueError: it is not one."""
    return DisputeFact(
        id=entity_id(entity["id"]),
        gateway_payment_id=entity_id(entity["payment_id"]),
        amount_paise=_paise(entity["amount"]),
        status=_text(entity["status"]),
        phase=_text(entity.get("phase") or ""),
        currency=_text(entity.get("currency") or "INR"),
    )


def remote_order(entity: dict[str, Any]) -> RemoteOrder:
    return RemoteOrder(
        id=entity_id(entity["id"]),
        amount_paise=_paise(entity["amount"]),
        currency=_text(entity["currency"]),
        receipt=entity.get("receipt"),
        status=_text(entity["status"]),
        created_at=int(entity["created_at"]),
    )


def _text(value: object) -> str:
    """A text that Postgres can store: JSON can hold invalid characters such as `\\ud800`."""
    if not isinstance(value, str) or "\x00" in value:
        raise TypeError(f"not a text: {value!r}")
    value.encode()
    return value


def entity_id(value: object) -> str:
    if len(text := _text(value)) > MAX_ID:
        raise ValueError(f"not an id: {value!r}")
    return text


def _paise(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise TypeError(f"not an amount: {value!r}")
    return value
