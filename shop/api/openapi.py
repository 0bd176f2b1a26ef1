"""What the schema says of every operation: how it refuses, and the headers of its answers."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

WITH_BODY = (400, 413, 415)
PRIVATE = 401
THROTTLED = 429

REFUSALS = {
    400: "Something in the request is wrong; `details` says what.",
    401: "No token, or one that is not valid any more.",
    403: "The caller may not do this.",
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
    """The refusals an operation has, beside 503, which any may have."""
    return {status: OpenApiResponse(Refusal, REFUSALS[status]) for status in (*statuses, 503)}


def _header(name: str, kind: type, says: str, *, on: list[int] | bool) -> OpenApiParameter:
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
    "Idempotency-Key", str, "At most 255 printable characters, new for each request.", on=False
)
