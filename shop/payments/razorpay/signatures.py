"""
Razorpay's signatures: HMAC over bytes, compared in constant time. The SDK's own checks take only
str and raise on bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def sign(body: bytes, *, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_genuine(body: bytes, signature: str, *, secrets: Iterable[str]) -> bool:
    """
    Whether `signature` was made with one of `secrets` over exactly these bytes.

    After a secret changes, Razorpay signs older events with the old one
    (razorpay.com/docs/webhooks/validate-test). An empty secret verifies nothing.
    """
    given = signature.encode("utf-8", "replace")
    genuine = False
    for secret in secrets:
        if secret:
            genuine |= hmac.compare_digest(sign(body, secret=secret).encode(), given)
    return genuine


def payment_is_genuine(
    *, gateway_order_id: str, gateway_payment_id: str, signature: str, key_secret: str
) -> bool:
    """
    Whether Razorpay signed this payment for this order. `gateway_order_id` must come from our own
    database, not from the browser.
    """
    body = f"{gateway_order_id}|{gateway_payment_id}".encode("utf-8", "replace")
    return is_genuine(body, signature, secrets=[key_secret])
