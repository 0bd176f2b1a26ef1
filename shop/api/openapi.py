"""What the schema says of every operation: how it refuses, and the headers of its answers."""

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
    400: "Something in the request is wrong; `details` says what.",
    401: "No token, or one that is not valid any more.",
    403: "The caller may not do this.",
    406: "The answer is JSON, and `Accept` wants something else.",
    404: "There is none, or it belongs to somebody else.",
    409: "It does not go with how things stand; `code` and `details` say why.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used for another request.",
    429: "Too often; `Retry-After` says when to try again.",
    503: "The shop is taking a short break; `Retry-After` says when to try again.",
}


class Refusal(serializers.Serializer):
    """`error` and `message` are the same sentence, fit to be shown; `code` is for programs."""

    code = serializers.CharField()
    error = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField()


def refusals(*statuses: int) -> dict[int, OpenApiResponse]:
    """The refusals an operation has, beside those that any may have."""
    return {
        status: OpenApiResponse(Refusal, REFUSALS[status])
        for status in dict.fromkeys((*statuses, *ALWAYS))
    }


def complete(
    result: dict[str, Any], generator: object, request: object, public: bool
) -> dict[str, Any]:
    """What holds for all operations: headers of refusals, and that ids and pages begin at 1."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, headers in HEADERS_OF_REFUSALS.items():
                if answer := operation["responses"].get(status):
                    answer["headers"] = headers
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "header" and parameter["schema"]["type"] == "integer":
                    parameter["schema"]["minimum"] = 1
    return result


def _header(
    name: str, kind: type | dict[str, Any], says: str, *, on: list[int] | bool
) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=says, response=on)


NOT_MODIFIED = {304: OpenApiResponse(description="The caller has this version already.")}
IF_NONE_MATCH = _header("If-None-Match", str, "The ETag that the caller has.", on=False)
ETAG = _header("ETag", str, "The version, quoted.", on=[200, 202, 304])
RETRY_AFTER = _header(
    "Retry-After",
    int,
    "Seconds until asking again makes sense; absent when final.",
    on=[200, 202, 304],
)
LOCATION = _header("Location", str, "The checkout to follow.", on=[202])
REPLAYED = _header(
    "Idempotent-Replayed", str, "`true`: the very same request came before.", on=[202]
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    {"type": "string", "maxLength": idempotency.MAX_CHARS, "pattern": idempotency.PATTERN},
    "At most 255 printable characters, new for each request.",
    on=False,
)
