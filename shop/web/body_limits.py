"""A limit on the size of request bodies."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from shop.api.errors import INCOMPLETE_BODY, json_error

WEBHOOK_PATH = "/api/webhooks/"
CONTENT_LENGTH = re.compile("[0-9]{0,18}")


class RefuseLargeBodies:
    """
    Middleware: 413 for a body over `MAX_BODY_BYTES`, or `MAX_WEBHOOK_BYTES` for a webhook.

    With a Content-Length, nothing of a larger body is read; a chunked body is read up to the limit.
    A body within the limit is always read to its end, because the server closes a connection that
    has unread bytes, and the client's next request on it would fail.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        max_bytes = (
            settings.MAX_WEBHOOK_BYTES
            if request.path.startswith(WEBHOOK_PATH)
            else settings.MAX_BODY_BYTES
        )
        if not request.META.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" in request.META:
            if not request.META.get("wsgi.input_terminated"):
                return _refuse(411, "length_required", "The request does not state its length.")
            try:
                _read_chunks(request, max_bytes=max_bytes + 1)
            except OSError:
                return _refuse(400, "bad_request", INCOMPLETE_BODY)
        length = request.META.get("CONTENT_LENGTH", "")
        if not CONTENT_LENGTH.fullmatch(length):
            return _refuse(400, "bad_request", "The length of the request is not a number.")
        if int(length or 0) > max_bytes:
            return _refuse(413, "too_large", f"The request is larger than {max_bytes} bytes.")
        response = self.get_response(request)
        with suppress(OSError):
            request._stream.read()  # noqa: SLF001 - the stream that Django reads bodies from
        return response


def _read_chunks(request: HttpRequest, *, max_bytes: int) -> None:
    """
    Read a chunked body, and give the request a Content-Length.

    Django reads no body without one, and would verify a webhook's signature against zero bytes.
    """
    body = request.META["wsgi.input"].read(max_bytes)
    request._stream = io.BytesIO(body)  # noqa: SLF001 - as above
    request.META["CONTENT_LENGTH"] = str(len(body))


def _refuse(status_code: int, code: str, message: str) -> HttpResponse:
    """An error response that closes the connection, because a part of the body is unread."""
    response = json_error(status_code, code, message)
    response["Connection"] = "close"
    return response
