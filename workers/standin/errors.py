"""The errors of the API: one table of texts, in the new and the old wording."""

import dataclasses
from typing import Any, Literal

Wording = Literal["new", "old"]


class ApiError(Exception):
    """An error in Razorpay's words. `bare` errors have only a code and a description."""

    def __init__(
        self,
        description: str,
        *,
        status: int = 400,
        code: str = "BAD_REQUEST_ERROR",
        source: str = "business",
        step: str = "payment_initiation",
        reason: str = "input_validation_failed",
        field: str | None = None,
        metadata: dict[str, str] | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(description)
        self.status = status
        self.body: dict[str, Any] = {"error": {"code": code, "description": description}}
        if not bare:
            self.body["error"] |= {
                "source": source,
                "step": step,
                "reason": reason,
                "metadata": metadata or {},
            }
            if field:
                self.body["error"]["field"] = field


class NoRoute(Exception):
    """The gateway before the API has no such address: 404 without an error object."""

    BODY = {"message": "no Route matched with those values"}


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """One error in the two wordings of the documents, with its other fields."""

    new: str
    old: str | None = None
    reason: str = "input_validation_failed"
    step: str = "payment_initiation"
    source: str = "business"
    field: str | None = None


def _plain(new: str, old: str | None = None) -> Text:
    """An error with "NA" as its reason, step and source."""
    return Text(new, old, reason="NA", step="NA", source="NA")


TEXTS: dict[str, Text] = {
    # The request
    "broken_json": Text("EOF", "The request body is not valid JSON."),
    "extra_field": Text(
        "{field} is/are not required and should not be sent", reason="extra_field_sent"
    ),
    "malformed_id": Text("{id} is not a valid id"),
    "unknown_id": Text("The id provided does not exist"),
    "wrong_url": _plain("The requested URL was not found on the server."),
    # Orders
    "amount_missing": Text("amount: is required.", "The amount field is required.", field="amount"),
    "amount_not_integer": Text("The amount must be an integer.", field="amount"),
    "amount_negative": Text(
        "amount: must be no less than 0.", "The amount must be at least INR 1.00", field="amount"
    ),
    "amount_too_small": Text(
        "Order amount less than minimum amount allowed",
        "The amount must be at least INR 1.00",
        reason="amount_less_than_minimum_amount",
        step="order_creation",
        field="amount",
    ),
    "amount_too_large": Text("Amount exceeds maximum amount allowed.", field="amount"),
    "currency_missing": Text(
        "currency: is required.", "The currency field is required.", field="currency"
    ),
    "currency_unknown": Text(
        "currency: validation_failure: BAD_REQUEST_INVALID_CURRENCY.",
        "Currency is not supported",
        field="currency",
    ),
    "receipt_too_long": Text(
        "receipt: the length must be no more than 40.",
        "The receipt may not be greater than 40 characters.",
        field="receipt",
    ),
    "receipt_not_ascii": Text(
        "receipt: validation_failure: BAD_REQUEST_ENCODING_VALIDATION_FAILED.",
        field="receipt",
    ),
    "receipt_not_text": Text(
        "receipt: must be a string.", "The receipt must be a string.", field="receipt"
    ),
    "receipt_repeated": Text(
        "Duplicate request. This request has already been processed.",
        "Order receipt should be unique.",
        field="receipt",
    ),
    "notes_wrong": Text("notes: must be a map.", "The notes must be an array.", field="notes"),
    "notes_missing": Text("notes: is required.", "The notes field is required.", field="notes"),
    "notes_too_many": Text(
        "notes: the number of keys must be no more than 15.",
        "Number of fields in notes should be less than or equal to 15",
        field="notes",
    ),
    "notes_value": Text(
        "notes: values must be strings of no more than 256 characters.",
        "The notes value may not be greater than 256 characters.",
        field="notes",
    ),
    "field_wrong": Text("{field}: has a wrong value.", "The {field} is invalid.", field="{field}"),
    # Lists
    "count_too_large": Text("The count may not be greater than 100.", field="count"),
    "count_too_small": Text("The count must be at least 1.", field="count"),
    "count_not_integer": Text("The {field} must be an integer.", field="{field}"),
    "skip_negative": Text("The skip must be at least 0.", field="skip"),
    "time_out_of_range": Text("{field} must be between 946684800 and 4765046400", field="{field}"),
    # Payments
    "order_paid": Text(
        "Payment already done for this order.",
        "The order is already paid.",
        reason="order_already_paid",
        step="payment_initiation",
    ),
    "order_authorized": Text(
        "Payment blocked as another payment of this order is authorized.",
        reason="order_already_paid",
    ),
    "already_captured": _plain("This payment has already been captured"),
    "not_authorized": Text(
        "Only payments which have been authorized and not yet captured can be captured.",
        "Payment is not in authorized state.",
        step="payment_capture",
    ),
    "already_voided": Text(
        "The payment has already been either captured or voided.", step="payment_capture"
    ),
    "capture_of_paid_order": Text(
        "Your payment has been declined as the order is already paid. "
        "Please initiate the payment with a new order.",
        reason="order_already_paid",
        step="payment_capture",
    ),
    "capture_amount": Text(
        "Capture amount must be equal to the amount authorized",
        step="payment_capture",
        field="amount",
    ),
    "capture_above_due": Text(
        "Payment amount is greater than the amount due for order.", step="payment_capture"
    ),
    "capture_currency": Text(
        "Capture request currency must be same as payment currency.",
        step="payment_capture",
        field="currency",
    ),
    "capture_without_order": Text(
        "The payment cannot be captured as it has no order.", step="payment_capture"
    ),
    "operation_in_progress": Text(
        "Request failed because another payment operation is in progress."
    ),
    # Refunds
    "refund_not_captured": Text(
        "The payment status should be captured for action to be taken.", step="payment_refund"
    ),
    "refund_amount_blank": Text("Amount cannot be blank.", field="amount"),
    "refund_above_captured": Text(
        "The refund amount provided is greater than amount captured", field="amount"
    ),
    "refund_above_rest": Text(
        "The total refund amount is greater than the refund payment amount", field="amount"
    ),
    "refund_done": Text("The payment has been fully refunded already"),
    "refund_partial_void": Text("Void is not supported for partial refunds."),
    "refund_too_old": Text("The payment is older than 6 months and cannot be refunded."),
    "refund_disputed": Text(
        "The payment is disputed and cannot be refunded until the dispute is closed."
    ),
    "refund_balance": Text(
        "Your account does not have enough balance to carry out the refund operation. "
        "You can add funds to your account from your Razorpay dashboard "
        "or capture new payments.",
        "invalid request sent",
        reason="NA",
        step="NA",
        source="NA",
    ),
    "refund_receipt_repeated": Text(
        "Duplicate receipt found for this refund request.", field="receipt"
    ),
    "refund_key_wrong": Text(
        "The idempotency key must have at least 10 characters of A-Z, a-z, 0-9, - and _."
    ),
    "refund_key_clash": Text("Different request body sent with the same X-Refund-Idempotency key."),
    "refund_key_in_flight": Text(
        "Request failed because another request with the same key is in progress."
    ),
}


def refusal(
    name: str,
    *,
    wording: Wording = "new",
    status: int = 400,
    metadata: dict[str, str] | None = None,
    **words: str,
) -> ApiError:
    """The error called `name` in TEXTS, with `words` filled in."""
    text = TEXTS[name]
    description = text.old if wording == "old" and text.old else text.new
    return ApiError(
        description.format(**words),
        status=status,
        source=text.source,
        step=text.step,
        reason=text.reason,
        field=text.field.format(**words) if text.field else None,
        metadata=metadata,
    )


def unauthorized(*, key_known: bool) -> ApiError:
    """401. The text depends on whether the key is unknown, or known with a wrong secret."""
    text = "Authentication failed" if key_known else "The api key provided is invalid"
    return ApiError(text, status=401, bare=True)
