"""
Every error of the API has one shape: {code, error, message, details}.

`error` and `message` are the same sentence, fit to be shown to a buyer; `code` is for programs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from shop import accounts
from shop.accounts import EmailTaken, NoSuchBuyer, User
from shop.api.auth import SESSION_ENDED, caller_id
from shop.carts import CartError, CartItem
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.db.errors import is_locked

logger = logging.getLogger(__name__)

UNAVAILABLE_RETRY_SECONDS = 5
UNAVAILABLE_MESSAGE = "The shop is taking a short break. Please try again in a few seconds."
INCOMPLETE_BODY = "The connection closed before the whole request arrived."
NOT_FOUND = (Http404, CheckoutJob.DoesNotExist, CartItem.DoesNotExist)
CHALLENGE = 'Bearer realm="api"'  # RFC 9110 requires it with every 401


class ApiError(exceptions.APIException):
    """
    An error response with a status, a code, a sentence and details for programs.

    `top_level` holds fields that older storefronts read beside `error`.
    """

    def __init__(
        self,
        status_code: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        top_level: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code)
        self.status_code = status_code
        self.code = code
        self.message = message
        self.details = details or {}
        self.top_level = top_level or {}


def error_body(
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    top_level: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "code": code,
        "error": message,
        "message": message,
        "details": details or {},
        **(top_level or {}),
    }


def json_error(
    status_code: int, code: str, message: str, *, retry_after_seconds: int | None = None
) -> JsonResponse:
    """An error response for views and middleware outside DRF."""
    response = JsonResponse(error_body(code, message), status=status_code)
    if retry_after_seconds is not None:
        response["Retry-After"] = str(retry_after_seconds)
    return response


def post_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorator: 405 as JSON for other methods. Django's `require_POST` sends no body."""

    @wraps(view)
    def checked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if request.method == "POST":
            return view(request, **kwargs)
        response = json_error(405, "method_not_allowed", "This address can only be posted to.")
        response["Allow"] = "POST"
        return response

    return checked


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. None for an unexpected error, which becomes a 500."""
    match _as_api_exception(_unauthorized_if_ended(error, context)):
        case None:
            return None
        case ApiError() as ours:
            content = error_body(ours.code, ours.message, ours.details, ours.top_level)
            status_code = ours.status_code
        case exceptions.ValidationError() as invalid:
            content, status_code = _validation_body(invalid), invalid.status_code
        case exceptions.APIException() as theirs:
            content = error_body(_code(theirs), _message(theirs))
            status_code = theirs.status_code
    headers = {}
    if status_code == status.HTTP_401_UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(max(1, round(wait)))
    if isinstance(error, OperationalError | InterfaceError):
        headers["Retry-After"] = str(UNAVAILABLE_RETRY_SECONDS)
    set_rollback()
    return Response(content, status=status_code, headers=headers)


def _unauthorized_if_ended(error: Exception, context: dict[str, Any]) -> Exception:
    """Replace a 404 by a 401 if the caller was merged, deactivated or deleted."""
    request = context["request"]
    if isinstance(error, NOT_FOUND) and request.auth:
        try:
            accounts.require_active(caller_id(request))
        except (NoSuchBuyer, OperationalError, InterfaceError) as instead:
            return instead
    return error


def _as_api_exception(error: Exception) -> exceptions.APIException | None:
    """The HTTP error for an exception; None for an unexpected one."""
    if isinstance(error, exceptions.APIException):
        return error
    return _domain_error(error) or _common_error(error)


def _domain_error(error: Exception) -> ApiError | None:
    """The HTTP error for a refusal of the domain, with the sentence of the domain."""
    match error:
        case EmailTaken():
            sentence = "An account with this e-mail address exists. Please sign in."
            return ApiError(status.HTTP_409_CONFLICT, "email_taken", sentence)
        case CartError():
            return ApiError(400, error.code, error.message, dict(error.details))
        case start.KeyReused():
            return ApiError(status.HTTP_422_UNPROCESSABLE_ENTITY, error.code, error.message)
        case start.CannotCancel() | start.PaymentInProgress():
            return ApiError(status.HTTP_409_CONFLICT, error.code, error.message, error.details)
        case start.CheckoutRefused():
            return ApiError(400, error.code, error.message, error.details, top_level=error.details)
    return None


def _common_error(error: Exception) -> exceptions.APIException | None:
    """The HTTP error for what is missing, forbidden, cut short or unavailable."""
    match error:
        case NoSuchBuyer() | User.DoesNotExist():
            return exceptions.AuthenticationFailed(SESSION_ENDED, "token_not_valid")
        case Http404() | CheckoutJob.DoesNotExist() | CartItem.DoesNotExist():
            return ApiError(status.HTTP_404_NOT_FOUND, "not_found", "Not found.")
        case DjangoPermissionDenied():
            return exceptions.PermissionDenied()
        case UnreadablePostError():
            return ApiError(400, "bad_request", INCOMPLETE_BODY)
        case OperationalError() | InterfaceError():
            _log_unavailable(error)
            return ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "unavailable", UNAVAILABLE_MESSAGE)
    return None


class Unavailable:
    """
    Middleware: 503 with `Retry-After` for pages of the shop and of staff while Postgres is
    unavailable, or while another transaction has locked a row that they need.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        _log_unavailable(error)
        after = UNAVAILABLE_RETRY_SECONDS
        return json_error(503, "unavailable", UNAVAILABLE_MESSAGE, retry_after_seconds=after)


def _log_unavailable(error: Exception) -> None:
    reason = "a row is locked" if is_locked(error) else "the database is unavailable"
    logger.warning("%s: %s", reason, error)


def _validation_body(error: exceptions.ValidationError) -> dict[str, Any]:
    """The first error as a sentence, and all invalid fields in `details`."""
    details = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
    field, sentence = first_error(details)
    if field == "non_field_errors":
        return error_body("invalid", sentence, {"fields": details})
    return error_body("invalid", f"{field}: {sentence}", {"fields": details})


def first_error(details: Any, path: str = "") -> tuple[str, str]:
    """The first error of DRF's nested details: (dotted path of the field, sentence)."""
    while isinstance(details, dict | list) and details:
        if isinstance(details, dict):
            key, details = next(iter(details.items()))
            path = f"{path}.{key}" if path else str(key)
        else:
            details = next((item for item in details if item), details[0])
    return path, str(details)


def _code(error: exceptions.APIException) -> str:
    if isinstance(error.detail, dict) and "code" in error.detail:  # set by simplejwt
        return str(error.detail["code"])
    codes = error.get_codes()
    return codes if isinstance(codes, str) else str(first_error(codes)[1])


def _message(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.Throttled):
        return "Too many requests. Please wait a moment and try again."
    return (
        str(first_error(error.detail)[1]) if error.detail else HTTPStatus(error.status_code).phrase
    )


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return json_error(400, "bad_request", "The request could not be understood.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return json_error(404, "not_found", "Not found.")


@csrf_exempt
def no_such_address(request: HttpRequest) -> JsonResponse:
    """
    404 for unknown paths below /api/, so that Django does not redirect to the path with a slash.

    A redirected POST would lose its body and arrive as a GET.
    """
    return json_error(404, "not_found", "No such address. Addresses of the API end with a slash.")


def server_error(request: HttpRequest) -> JsonResponse:
    return json_error(500, "internal_error", "Something went wrong on our side.")
