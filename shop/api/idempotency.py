"""The `Idempotency-Key` header."""

from __future__ import annotations

import re

from rest_framework.request import Request

from shop.api.errors import ApiError

MAX_CHARS = 255
PATTERN = r"^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$"


def key_of(request: Request) -> str:
    """
    Return the caller's key, or an empty string without one.

    :raises ApiError: the key is too long or has other than printable ASCII characters.
    """
    key = request.headers.get("Idempotency-Key", "")
    if key and not re.fullmatch(PATTERN, key):
        raise ApiError(
            400,
            "idempotency_key_invalid",
            "An Idempotency-Key has at most 255 printable ASCII characters.",
        )
    return key
