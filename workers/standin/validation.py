"""Validate JSON bodies and query strings, with the errors of Razorpay."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from workers.standin.behaviour import Behaviour
from workers.standin.errors import ApiError, Wording, refusal
from workers.standin.records import CaptureRule, Notes, OrderRequest
from workers.standin.refunds import RefundRequest

CURRENCIES = frozenset({"INR", "USD", "EUR", "GBP", "AED", "SGD", "AUD", "CAD", "JPY", "MYR"})
MIN_INR_PAISE = 100
MAX_NOTES = 15
MAX_NOTE = 256
MAX_RECEIPT = 40
MIN_AUTOMATIC_EXPIRY_MINUTES = 12
MAX_EXPIRY_MINUTES = 7200

ORDER_FIELDS = frozenset(
    {
        "amount",
        "currency",
        "receipt",
        "notes",
        "partial_payment",
        "first_payment_min_amount",
        "payment",
        "payment_capture",
    }
)
REFUND_FIELDS = frozenset({"amount", "speed", "notes", "receipt"})
CAPTURE_FIELDS = frozenset({"amount", "currency"})
NOTES_FIELDS = frozenset({"notes"})


def parse_body(raw: bytes, *, wording: Wording) -> dict[str, Any]:
    """The JSON object; an empty body counts as `{}`. :raises ApiError: it is something else."""
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise refusal("broken_json", wording=wording) from None
    if body == []:  # an empty PHP array
        return {}
    if not isinstance(body, dict):
        raise refusal("broken_json", wording=wording)
    return body


def refuse_extra(body: Mapping[str, Any], allowed: frozenset[str], wording: Wording) -> None:
    for field in body:
        if field not in allowed:
            raise refusal("extra_field", wording=wording, field=field)


def order_request(body: dict[str, Any], behaviour: Behaviour) -> OrderRequest:
    """The body of a new order. :raises ApiError: for its first error."""
    wording = behaviour.wording
    known = ORDER_FIELDS | {"unique_receipt"} if behaviour.unique_receipt else ORDER_FIELDS
    refuse_extra(body, known, wording)
    amount_paise = amount(body.get("amount"), wording)
    unit = currency(body.get("currency"), wording)
    if unit == "INR" and amount_paise < MIN_INR_PAISE:
        raise refusal("amount_too_small", wording=wording)
    if amount_paise > behaviour.maximum_amount_paise:
        raise refusal("amount_too_large", wording=wording)
    if "first_payment_min_amount" in body and not body.get("partial_payment"):
        raise refusal("field_wrong", wording=wording, field="first_payment_min_amount")
    return OrderRequest(
        amount_paise=amount_paise,
        currency=unit,
        receipt=receipt(body.get("receipt"), wording),
        notes=notes(body.get("notes"), wording),
        capture=capture_rule(body, wording),
        partial_payment=bool(body.get("partial_payment")),
        unique_receipt=behaviour.unique_receipt and body.get("unique_receipt") is True,
    )


def amount(value: Any, wording: Wording) -> int:
    """An integer number of paise. Floats and texts are refused, even `100.0`."""
    if value is None:
        raise refusal("amount_missing", wording=wording)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refusal("amount_not_integer", wording=wording)
    if value < 0:
        raise refusal("amount_negative", wording=wording)
    return value


def currency(value: Any, wording: Wording) -> str:
    if value is None:
        raise refusal("currency_missing", wording=wording)
    if not isinstance(value, str) or value not in CURRENCIES:
        raise refusal("currency_unknown", wording=wording)
    return value


def receipt(value: Any, wording: Wording) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise refusal("receipt_not_text", wording=wording)
    if len(value) > MAX_RECEIPT:
        raise refusal("receipt_too_long", wording=wording)
    if not value.isascii():
        raise refusal("receipt_not_ascii", wording=wording)
    return value


def notes(value: Any, wording: Wording) -> Notes:
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise refusal("notes_wrong", wording=wording)
    if len(value) > MAX_NOTES:
        raise refusal("notes_too_many", wording=wording)
    for key, note in value.items():
        if isinstance(note, list | dict) or len(str(note)) > MAX_NOTE or len(key) > 255:
            raise refusal("notes_value", wording=wording)
    return value


def capture_rule(body: dict[str, Any], wording: Wording) -> CaptureRule:
    """From `payment.capture` and its options, or the older `payment_capture`."""
    rule = CaptureRule()
    legacy = body.get("payment_capture")
    if legacy is not None:
        if legacy not in (0, 1, "0", "1", True, False):
            raise refusal("field_wrong", wording=wording, field="payment_capture")
        rule = CaptureRule(automatic=bool(int(legacy)))
    payment = body.get("payment")
    if payment is None:
        return rule
    if not isinstance(payment, dict) or payment.get("capture") not in ("automatic", "manual"):
        raise refusal("field_wrong", wording=wording, field="payment.capture")
    automatic, manual = _expiry_minutes(payment.get("capture_options") or {}, wording)
    return dataclasses.replace(
        rule,
        automatic=payment["capture"] == "automatic",
        automatic_expiry_seconds=automatic and automatic * 60,
        manual_expiry_seconds=manual and manual * 60,
    )


def _expiry_minutes(options: Any, wording: Wording) -> tuple[int | None, int | None]:
    def wrong(field: str) -> ApiError:
        return refusal("field_wrong", wording=wording, field=f"payment.capture_options.{field}")

    if not isinstance(options, dict):
        raise wrong("")
    automatic = options.get("automatic_expiry_period")
    manual = options.get("manual_expiry_period")
    for name, value in (("automatic_expiry_period", automatic), ("manual_expiry_period", manual)):
        if value is not None and (not isinstance(value, int) or value > MAX_EXPIRY_MINUTES):
            raise wrong(name)
    if automatic is not None and automatic < MIN_AUTOMATIC_EXPIRY_MINUTES:
        raise wrong("automatic_expiry_period")
    if manual is not None and manual < (automatic or 0):
        raise wrong("manual_expiry_period")
    return automatic, manual


def capture_request(body: dict[str, Any], wording: Wording) -> tuple[int, str]:
    refuse_extra(body, CAPTURE_FIELDS, wording)
    return amount(body.get("amount"), wording), currency(body.get("currency"), wording)


def refund_request(body: dict[str, Any], wording: Wording) -> RefundRequest:
    refuse_extra(body, REFUND_FIELDS, wording)
    amount_paise = body.get("amount")
    if amount_paise is not None and amount(amount_paise, wording) == 0:
        raise refusal("refund_amount_blank", wording=wording)
    speed = body.get("speed", "normal")
    if speed not in ("normal", "optimum"):
        raise refusal("field_wrong", wording=wording, field="speed")
    return RefundRequest(
        amount_paise=amount_paise,
        speed=speed,
        receipt=receipt(body.get("receipt"), wording),
        notes=notes(body.get("notes"), wording),
    )


def new_notes(body: dict[str, Any], wording: Wording) -> Notes:
    """The body of a PATCH, which may contain only notes."""
    refuse_extra(body, NOTES_FIELDS, wording)
    if "notes" not in body:
        raise refusal("notes_missing", wording=wording)
    return notes(body["notes"], wording)
