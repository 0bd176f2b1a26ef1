"""
Every error of the API in one shape: {code, error, message, details}.

`error` and `message` are the same sentence, fit to be shown; `code` is for programs.
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

from shop.accounts import EmailTaken, NoSuchBuyer, User
from shop.api.auth import SESSION_ENDED, refuse_ended
from shop.carts import CartError, CartItem
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.db.errors import is_locked

logger = logging.getLogger(__name__)

DATABASE_AWAY_RETRY_SECONDS = 5
SHORT_BREAK = "The shop is taking a short break. Please try again in a few seconds."
CUT_SHORT = "The request broke off before its end."
NOT_FOUND = (Http404, CheckoutJob.DoesNotExist, CartItem.DoesNotExist)
CHALLENGE = 'Bearer realm="api"'  # goes with every 401, says RFC 9110


class ApiError(exceptions.APIException):
    """An answer of ours: a status, a code, a sentence, and what a program may want to know."""

    def __init__(
        self,
        status_code: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        beside: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code)
        self.status_code = status_code
        self.code = code
        self.message = message
        self.details = details or {}
        self.beside = beside or {}  # fields that older storefronts look for beside `error`


def body(
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    beside: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "code": code,
        "error": message,
        "message": message,
        "details": details or {},
        **(beside or {}),
    }


def plain(
    status_code: int, code: str, message: str, *, retry_after_seconds: int | None = None
) -> JsonResponse:
    """The same shape for views and middleware outside DRF."""
    response = JsonResponse(body(code, message), status=status_code)
    if retry_after_seconds is not None:
        response["Retry-After"] = str(retry_after_seconds)
    return response


def post_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """405 in our shape for any other method; Django's `require_POST` answers without a body."""

    @wraps(view)
    def checked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if request.method == "POST":
            return view(request, **kwargs)
        response = plain(405, "method_not_allowed", "This address can only be posted to.")
        response["Allow"] = "POST"
        return response

    return checked


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: whatever a view raises on purpose becomes an answer."""
    match _translated(_unless_ended(error, context)):
        case None:
            return None
        case ApiError() as ours:
            content = body(ours.code, ours.message, ours.details, ours.beside)
            status_code = ours.status_code
        case exceptions.ValidationError() as invalid:
            content, status_code = _invalid(invalid), invalid.status_code
        case exceptions.APIException() as theirs:
            content = body(_code(theirs), _sentence(theirs))
            status_code = theirs.status_code
    headers = {}
    if status_code == status.HTTP_401_UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(max(1, round(wait)))
    if isinstance(error, OperationalError | InterfaceError):
        headers["Retry-After"] = str(DATABASE_AWAY_RETRY_SECONDS)
    set_rollback()
    return Response(content, status=status_code, headers=headers)


def _unless_ended(error: Exception, context: dict[str, Any]) -> Exception:
    """401 instead of 404 for a caller who was merged, switched off or deleted."""
    request = context["request"]
    if isinstance(error, NOT_FOUND) and request.auth:
        try:
            refuse_ended(request)
        except (NoSuchBuyer, OperationalError, InterfaceError) as instead:
            return instead
    return error


def _translated(error: Exception) -> exceptions.APIException | None:
    """Errors of the domain and of the world in the words of HTTP; None for a bug of ours."""
    if isinstance(error, exceptions.APIException):
        return error
    return _refusal(error) or _trouble(error)


def _refusal(error: Exception) -> ApiError | None:
    """What the domain refuses, in its own words."""
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
            return ApiError(400, error.code, error.message, error.details, beside=error.details)
    return None


def _trouble(error: Exception) -> exceptions.APIException | None:
    """What is not there, not allowed, or away."""
    match error:
        case NoSuchBuyer() | User.DoesNotExist():
            return exceptions.AuthenticationFailed(SESSION_ENDED, "token_not_valid")
        case Http404() | CheckoutJob.DoesNotExist() | CartItem.DoesNotExist():
            return ApiError(status.HTTP_404_NOT_FOUND, "not_found", "Not found.")
        case DjangoPermissionDenied():
            return exceptions.PermissionDenied()
        case UnreadablePostError():
            return ApiError(400, "bad_request", CUT_SHORT)
        case OperationalError() | InterfaceError():
            _log_unavailable(error)
            return ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "unavailable", SHORT_BREAK)
    return None


class Unavailable:
    """
    Middleware: 503 with `Retry-After` for pages of the shop and of staff while Postgres is away, or
    while another transaction holds a row that they need.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        _log_unavailable(error)
        after = DATABASE_AWAY_RETRY_SECONDS
        return plain(503, "unavailable", SHORT_BREAK, retry_after_seconds=after)


def _log_unavailable(error: Exception) -> None:
    what = "a row is locked" if is_locked(error) else "the database is away"
    logger.warning("%s: %s", what, error)


def _invalid(error: exceptions.ValidationError) -> dict[str, Any]:
    """One sentence for people, and every field that is wrong for programs."""
    details = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
    field, sentence = _first(details)
    if field == "non_field_errors":
        return body("invalid", sentence, {"fields": details})
    return body("invalid", f"{field}: {sentence}", {"fields": details})


def _first(details: Any, path: str = "") -> tuple[str, str]:
    while isinstance(details, dict | list) and details:
        if isinstance(details, dict):
            key, details = next(iter(details.items()))
            path = f"{path}.{key}" if path else str(key)
        else:
            details = next((item for item in details if item), details[0])
    return path, str(details)


def _code(error: exceptions.APIException) -> str:
    if isinstance(error.detail, dict) and "code" in error.detail:  # simplejwt's way
        return str(error.detail["code"])
    codes = error.get_codes()
    return codes if isinstance(codes, str) else str(_first(codes)[1])


def _sentence(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.Throttled):
        return "Too many requests. Please wait a moment and try again."
    return str(_first(error.detail)[1]) if error.detail else HTTPStatus(error.status_code).phrase


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return plain(400, "bad_request", "The request could not be understood.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return plain(404, "not_found", "Not found.")


@csrf_exempt
def no_such_address(request: HttpRequest) -> JsonResponse:
    """
    For whatever no other address of the API matches, so that Django never redirects to one with a
    slash: a POST would lose its body on the way, and come back as a GET of something else.
    """
    return plain(404, "not_found", "No such address. Those of the API end with a slash.")


def server_error(request: HttpRequest) -> JsonResponse:
    return plain(500, "internal_error", "Something went wrong on our side.")
