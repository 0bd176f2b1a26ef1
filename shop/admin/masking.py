"""
Mask the body of a webhook for staff: fields about money are shown, personal data is hidden.

`SHOWN` lists the fields to show, so that a field which Razorpay adds is hidden until somebody adds
it here. The stored body is not changed.
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
HIDDEN_WHOLE = frozenset(
    {"notes", "customer_details", "address", "billing_address", "shipping_address"}
)
MIN_HIDDEN_CHARS = 6  # a shorter text is masked completely


def masked(body: bytes) -> str:
    """Indented JSON. A body that is not JSON is described, not shown: it may contain anything."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return f"{len(body)} bytes that are not JSON. They are stored unchanged."
    return json.dumps(_mask(event), indent=2, ensure_ascii=False)


def _mask(value: Any, key: str = "") -> Any:
    if key in HIDDEN_WHOLE and value:
        return "hidden"
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
