"""Payment methods: the fields of each in a payment, and the test values that make it fail."""

import dataclasses
import random
from typing import Any

from workers.standin.records import Failure

DECLINED = Failure(
    "Your payment didn't go through as it was declined by the bank. Try another payment method "
    "or contact your bank.",
    "payment_failed",
    source="bank",
    step="payment_authorization",
)
TIMED_OUT = Failure("Payment was not completed on time.", "payment_timed_out")

_CARD_FAILURES = {
    "4100280000090000": TIMED_OUT,
    "4100280000080001": Failure(
        "Your payment could not be completed due to insufficient account balance.",
        "insufficient_fund",
        step="payment_authorization",
    ),
    "4100280000070002": Failure("Payment was cancelled by the customer.", "payment_cancelled"),
    "4100280000060003": dataclasses.replace(DECLINED, reason="card_declined"),
    "4100280000050004": dataclasses.replace(DECLINED, reason="card_declined"),
    "4100280000040005": dataclasses.replace(DECLINED, reason="card_declined"),
    "4100280000030006": dataclasses.replace(DECLINED, reason="card_disabled_for_online_payments"),
    "4100280000010008": Failure("The card number is invalid.", "card_number_invalid"),
    "4100280000020007": Failure(
        "The payment failed at the bank's gateway.",
        "gateway_technical_error",
        code="GATEWAY_ERROR",
        source="gateway",
    ),
    "4100280000000009": Failure(
        "The payment was not authenticated.", "authentication_failed", code="GATEWAY_ERROR"
    ),
}
_NETWORKS = {"4": "Visa", "5": "MasterCard", "6": "RuPay", "3": "Diners Club"}

METHODS = ("upi", "card", "netbanking", "wallet")


def failure_of(method: str, *, vpa: str = "", card_number: str = "") -> Failure | None:
    """The failure of a documented test value; None is success."""
    if method == "upi" and vpa.strip().lower() == "failure@razorpay":
        return DECLINED
    if method == "card":
        return _CARD_FAILURES.get("".join(filter(str.isdigit, card_number)))
    return None


def details_of(
    method: str, rng: random.Random, *, vpa: str = "", card_number: str = ""
) -> dict[str, Any]:
    """The fields of a payment entity for this method."""
    match method:
        case "upi":
            vpa = vpa or "success@razorpay"
            return {"vpa": vpa, "upi": {"vpa": vpa, "flow": "collect"}}
        case "card":
            return _card(rng, card_number or "4100280000001007")
        case "netbanking":
            return {"bank": "HDFC"}
        case "wallet":
            return {"wallet": "olamoney"}
        case _:
            raise ValueError(f"method={method!r}, must be one of {', '.join(METHODS)}")


def acquirer_data_of(method: str, rng: random.Random) -> dict[str, Any]:
    match method:
        case "upi":
            return {
                "rrn": _digits(rng, 12),
                "upi_transaction_id": f"{rng.getrandbits(128):032X}",
            }
        case "card":
            return {"auth_code": _digits(rng, 6)}
        case "netbanking":
            return {"bank_transaction_id": _digits(rng, 7)}
        case _:
            return {"transaction_id": None}


def _card(rng: random.Random, number: str) -> dict[str, Any]:
    digits = "".join(filter(str.isdigit, number))
    card_id = f"card_{entity_tail(rng)}"
    card = {
        "id": card_id,
        "entity": "card",
        "name": "",
        "last4": digits[-4:],
        "network": _NETWORKS.get(digits[:1], "Unknown"),
        "type": "debit",
        "issuer": "HDFC",
        "international": False,
        "emi": False,
        "sub_type": "consumer",
        "token_iin": None,
    }
    return {"card_id": card_id, "card": card}


_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def entity_tail(rng: random.Random) -> str:
    """Fourteen letters and digits: the part of an id after the underscore."""
    return "".join(rng.choices(_ALPHABET, k=14))


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))
