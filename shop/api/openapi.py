"""Parts of the OpenAPI schema that operations share: error responses and headers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from shop.api import idempotency

WITH_BODY = (400, 413, 415)
PRIVATE = 401
THROTTLED = 429
ALWAYS = (406, 413, 503)
_AGAIN = {
    "Retry-After": {
        "required": True, "schema": {"type": "integer"}, "description": "Seconds to wait."
    }
}  # fmt: skip
HEADERS_OF_REFUSALS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    "429": _AGAIN,
    "503": _AGAIN,
}

REFUSALS = {
    400: "The request is invalid; `details` says why.",
    401: "No token, or one that is no longer valid.",
    403: "The caller lacks the permission.",
    406: "The response is JSON, and `Accept` excludes it.",
    404: "It does not exist, or belongs to another user.",
    409: "It conflicts with the current state; `code` and `details` say why.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used for another request.",
    429: "Too many requests; `Retry-After` says when to try again.",
    503: "Temporarily unavailable; `Retry-After` says when to try again.",
}


class Refusal(serializers.Serializer):
    """`error` and `message` are the same sentence, for the buyer; `code` is for programs."""

    code = serializers.CharField()
    error = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField()


def refusals(*statuses: int) -> dict[int, OpenApiResponse]:
    """The error responses of an operation, with those that every operation can have."""
    return {
        status: OpenApiResponse(Refusal, REFUSALS[status])
        for status in dict.fromkeys((*statuses, *ALWAYS))
    }


def complete(
    result: dict[str, Any], generator: object, request: object, public: bool
) -> dict[str, Any]:
    """Postprocessing hook: add headers of errors, and the minimum 1 of ids and pages."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, headers in HEADERS_OF_REFUSALS.items():
                if response := operation["responses"].get(status):
                    response["headers"] = headers
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "header" and parameter["schema"]["type"] == "integer":
                    parameter["schema"]["minimum"] = 1
    return result


def _header(
    name: str, kind: type | dict[str, Any], description: str, *, on: list[int] | bool
) -> OpenApiParameter:
    return OpenApiParameter(
        name, kind, OpenApiParameter.HEADER, description=description, response=on
    )


NOT_MODIFIED = {304: OpenApiResponse(description="The caller has this version already.")}
IF_NONE_MATCH = _header("If-None-Match", str, "The ETag of the caller's copy.", on=False)
ETAG = _header("ETag", str, "The version, quoted.", on=[200, 202, 304])
RETRY_AFTER = _header(
    "Retry-After",
    int,
    "Seconds until the next poll; absent when the status is final.",
    on=[200, 202, 304],
)
LOCATION = _header("Location", str, "The URL of the checkout's status.", on=[202])
REPLAYED = _header(
    "Idempotent-Replayed",
    str,
    "`true`: the same request came before, and this is its result.",
    on=[202],
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    {"type": "string", "maxLength": idempotency.MAX_CHARS, "pattern": idempotency.PATTERN},
    "At most 255 printable ASCII characters, a new key for each new request.",
    on=False,
)
