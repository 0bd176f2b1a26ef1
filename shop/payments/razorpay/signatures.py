"""HMAC over bytes, compared in constant time. The SDK's own checks want str and raise on bytes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def sign(body: bytes, *, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_genuine(body: bytes, signature: str, *, secrets: Iterable[str]) -> bool:
    """
    Whether one of `secrets` made `signature` over exactly these bytes.

    Several secrets, because Razorpay goes on signing older events with the secret of their time
    (razorpay.com/docs/webhooks/validate-test). An empty secret never verifies anything.
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
    """Whether checkout.js got this payment for this order. Give our own database's order id."""
    body = f"{gateway_order_id}|{gateway_payment_id}".encode("utf-8", "replace")
    return is_genuine(body, signature, secrets=[key_secret])
