"""
A webhook's body as operations may read it: what is about money stays, what is about people goes.

By a list of what is shown, so that a field which Razorpay adds tomorrow is hidden until somebody
has looked at it. The bytes are kept as they came.
"""

from __future__ import annotations

import json
from typing import Any

from shop.telemetry.redaction import redacted

SHOWN = frozenset(
    [
        "entity",
        "account_id",
        "event",
        "contains",
        "created_at",
        "id",
        "amount",
        "base_amount",
        "currency",
        "base_currency",
        "status",
        "order_id",
        "invoice_id",
        "payment_id",
        "refund_id",
        "international",
        "method",
        "amount_refunded",
        "amount_paid",
        "amount_due",
        "amount_captured",
        "amount_deducted",
        "refund_status",
        "captured",
        "fee",
        "tax",
        "receipt",
        "attempts",
        "error_code",
        "error_description",
        "error_source",
        "error_step",
        "error_reason",
        "speed_requested",
        "speed_processed",
        "reason_code",
        "reason_description",
        "respond_by",
        "phase",
        "network",
        "type",
        "sub_type",
        "issuer",
        "bank",
        "wallet",
        "offer_id",
        "batch_id",
    ]
)
WHOLE = frozenset({"notes", "customer_details", "address", "billing_address", "shipping_address"})
MIN_HIDDEN_CHARS = 6  # of a text whose first and last characters may be shown


def masked(body: bytes) -> str:
    """Pretty JSON for people. What is not JSON is described, for nobody knows what is in it."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return f"{len(body)} bytes that are not JSON; they are kept as they came."
    return json.dumps(_mask(event), indent=2, ensure_ascii=False)


def _mask(value: Any, key: str = "") -> Any:
    if key in WHOLE and value:
        return "not shown"
    if isinstance(value, dict):
        return {name: _mask(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask(item, key) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if key in SHOWN:
        return redacted(value) if isinstance(value, str) else value
    return _hidden(str(value))


def _hidden(text: str) -> str:
    return f"{text[0]}*****{text[-1]}" if len(text) >= MIN_HIDDEN_CHARS else "*****"
