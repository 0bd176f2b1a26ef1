"""The `Idempotency-Key` header, the same for every operation that has one."""

from __future__ import annotations

import re

from rest_framework.request import Request

from shop.api.errors import ApiError

MAX_CHARS = 255
PATTERN = r"^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$"


def key_of(request: Request) -> str:
    """
    The caller's key; empty without one.

    :raises ApiError: it is longer, or has other characters, than a key may.
    """
    key = request.headers.get("Idempotency-Key", "")
    if key and not re.fullmatch(PATTERN, key):
        raise ApiError(
            400,
            "idempotency_key_invalid",
            "An Idempotency-Key has at most 255 printable ASCII characters.",
        )
    return key
